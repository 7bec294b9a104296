"""A run judged by the server that its version will be promoted on: a real worker process.

The worker speaks vLLM's dialect, so that vLLM's own client asks it too: with letters' tokens that
it learns from two chats, and digests that it takes from the configuration.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from mapping.inference import HttpChooser
from mapping.resolver.types import ChooserError, LabelQuestion, Option
from mapping.serving import deploy
from mapping.serving.deploy import DeployError
from tests.support.threads import together
from tests.worker.running import KEY, RunningWorker
from training.locks import hold

pytest.importorskip("torch", reason="the extra `model` is not installed")

from mapping.worker.weights import base_in, sha256_of
from tests.support.small_llama import write_adapter, write_base
from training.asked import asked, asks_server
from training.evaluating import LOCK, EvaluationError, version_of_run

pytestmark = [pytest.mark.django_db, pytest.mark.stack, pytest.mark.timeout(600)]
Configure = Callable[..., None]
QUESTION = (LabelQuestion("d", "EMAIL"), [Option("a", "an e-mail address"), Option("b", "none")])
# A model of random weights adds nothing to retrieval: what it shows is the way, not quality.
LOW_GATES = {
    "gate_min_f1": 0.2, "gate_min_parent": 0.2, "gate_max_ece": 0.5, "gate_max_p95_ms": 60_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="module")
def worker(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorker]:
    folder = tmp_path_factory.mktemp("server")
    running = RunningWorker(
        "--model-dir", str(base), "--adapters", str(folder / "adapters"), "--threads", "1"
    )
    yield running.start()
    running.stop()


@pytest.fixture
def adapters(worker: RunningWorker) -> Path:
    return Path(worker.words[worker.words.index("--adapters") + 1])


@pytest.fixture
def configure(
    worker: RunningWorker, base: Path, adapters: Path, settings: Any, platform: Path
) -> Configure:
    """configure(backend="vllm"): the worker is the server, asked by that client."""

    def use(**changed: Any) -> None:
        config = settings.CONFIG
        inference = config.inference.model_copy(
            update={
                "url": worker.url, "model": "tiny", "timeout_ms": 5_000,
                "api_key": type(config.inference.api_key)(KEY), "adapters": str(adapters),
                "backend": "embedded", "model_digest": "", **changed,
            }
        )  # fmt: skip
        training = config.training.model_copy(update={"base": str(base), **LOW_GATES})
        settings.CONFIG = config.model_copy(update={"inference": inference, "training": training})

    use()
    return use


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of random weights."""
    return write_adapter(tmp_path_factory.mktemp("trained") / "adapter", base)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the data set is kept that the first test has built."""
    return tmp_path_factory.mktemp("kept") / "datasets"


@pytest.fixture
def run(platform: Path, base: Path, configure: Configure, trained: Path, kept: Path) -> Path:
    """A finished run."""
    datasets = platform / "datasets"
    shutil.rmtree(datasets)
    if kept.exists():
        shutil.copytree(kept, datasets)
    else:
        call_command(
            "build_dataset", "--name", "chain", "--synthetic", "0", "--variations", "1",
            "--validation", "0.04", "--test", "0.04", stdout=StringIO(), stderr=StringIO(),
        )  # fmt: skip
        shutil.copytree(datasets, kept)
    (manifest,) = datasets.glob("*/manifest.json")
    digest = json.loads(manifest.read_text())["digest"]
    folder = platform / "runs" / "one"
    shutil.copytree(trained, folder / "adapter")
    known = base_in(base)
    facts = {
        "outcome": "done", "data_set": digest, "environment": {"python": "3.11"},
        "base": {"name": known.name, "sha256": known.sha256},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def said(*words: str) -> Any:
    """A command's JSON."""
    out = StringIO()
    call_command(*words, "--json", stdout=out, stderr=StringIO())
    return json.loads(out.getvalue())


def packed(platform: Path, number: str, file: str) -> Any:
    return json.loads((platform / "models" / f"mapper-lora-{number}" / f"{file}.json").read_text())


def figures(evaluation: Any) -> Any:
    """All but times."""
    return {name: value for name, value in evaluation.items() if name != "latency_ms"}


def nothing_left(adapters: Path) -> bool:
    """Neither loaded, nor files, nor noted for a restart."""
    note = adapters / ".served.json"
    noted = json.loads(note.read_text()) if note.is_file() else {}
    return not deploy.loaded() and not noted and not list(adapters.glob("for-a-while-*"))


def test_a_servers_figures_calibrator_and_gate(
    configure: Configure, run: Path, platform: Path, adapters: Path, base: Path, ann: Any, bob: Any
) -> None:
    said("evaluate", "--by", "ann")  # in this process: the server is of the embedded kind
    said("evaluate", "--by", "ann", "--server")
    configure(backend="vllm")
    said("evaluate", "--by", "ann")
    assert nothing_left(adapters)

    here = figures(packed(platform, "0.1.0", "evaluation"))
    digests = {
        "base_digest": base_in(base).sha256,
        "adapter_digest": sha256_of(run / "adapter" / "adapter_model.safetensors"),
        "prompt": packed(platform, "0.1.0", "manifest")["prompt"],
    }
    for number, backend in (("0.1.0", "embedded"), ("0.2.0", "embedded"), ("0.3.0", "vllm")):
        assert figures(packed(platform, number, "evaluation")) == here
        assert packed(platform, number, "calibrator")["identity"] == {
            "backend": backend, "logprob_mode": "raw", "base": "tiny",
            "adapter": f"mapper-lora-{number}", **digests,
        }  # fmt: skip

    # Each is promoted on the kind of server that it was evaluated on, and on no other.
    for number, own, other in (("0.2.0", "embedded", "vllm"), ("0.3.0", "vllm", "embedded")):
        version = f"mapper-lora@v{number}"
        said("approve_model", version, "--by", "bob")
        configure(backend=other)
        with pytest.raises(CommandError, match=r"(?s)calibrator.*kind of server"):
            said("promote", version, "--by", "ann")
        configure(backend=own)
        assert said("promote", version, "--by", "ann")["state"] == "live"
        deploy.unload(name=f"mapper-lora-{number}")


def test_what_cannot_be_judged_is_refused_and_leaves_nothing(
    configure: Configure, run: Path, platform: Path, adapters: Path, ann: Any,
    worker: RunningWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refused(match: str, **inference: Any) -> None:
        configure(**{"backend": "vllm", **inference})
        with pytest.raises(CommandError, match=match):
            said("evaluate", "--by", "ann")
        configure()
        assert nothing_left(adapters)
        assert not (platform / "models").exists() or not list((platform / "models").iterdir())

    refused("cannot be reached", url="http://127.0.0.1:9")
    refused("embedded worker and by vLLM alone", backend="tgi")
    refused(r"set inference\.adapters", adapters="")
    refused("The run was trained on tiny .* serve another", model="another")
    refused("The run was trained on tiny .* serve tiny", model_digest="0" * 64)
    # It takes the files, and the worker looks elsewhere.
    refused("refuses 'for-a-while-.*inside the folder", adapters=str(tmp_path / "elsewhere"))

    # The adapter is taken away while it is asked.
    salts, choose = [], HttpChooser.choose

    def lost_at_the_third(self: HttpChooser, questions: Any, *, salt: str) -> Any:
        salts.append(salt)
        if len(salts) == 3:
            (one,) = deploy.loaded()
            deploy.unload(name=one.name)
        return choose(self, questions, salt=salt)

    monkeypatch.setattr(HttpChooser, "choose", lost_at_the_third)
    refused("answered with status 404")
    assert len(salts) == 3


def test_of_two_evaluations_of_a_run_one_is_refused_at_once(
    configure: Configure, run: Path, platform: Path, adapters: Path, base: Path, ann: Any
) -> None:
    configure(backend="vllm")

    def attempt() -> str:
        try:
            return str(version_of_run(
                run=run, weights=base_in(base), directory=settings.KNOWLEDGE_DIR, server=True
            ).name)  # fmt: skip
        except EvaluationError as error:
            return str(error)

    refused, made = sorted(together([attempt, attempt], seconds=400))
    assert made == "mapper-lora@v0.1.0"
    assert refused.startswith(f"Run one is being evaluated by process {os.getpid()} on ")
    assert "stop that process; then try again" in refused
    assert nothing_left(adapters)
    assert [one.name for one in (platform / "models").iterdir()] == ["mapper-lora-0.1.0"]
    with hold(platform / LOCK, "run one"), pytest.raises(CommandError, match="is being evaluated"):
        said("evaluate", "--by", "ann")


def test_a_killed_processes_adapter_goes_with_the_next(
    configure: Configure, trained: Path, adapters: Path, worker: RunningWorker
) -> None:
    left = deploy.for_a_while(trained)
    name = left.__enter__().name  # and never left
    assert (adapters / name).is_dir()
    with deploy.for_a_while(trained) as again:
        assert again.name == name
        assert [one.name for one in deploy.loaded()] == [name]
    assert nothing_left(adapters)


def test_what_fails_at_the_end_is_told(
    configure: Configure, trained: Path, base: Path, adapters: Path
) -> None:
    """`/map` answers without a model that gives no answer; an evaluation must not."""

    def ask_what_is_gone() -> None:
        with asked(
            adapter=trained, base=base_in(base), name="mapper-lora-9.9.9", server=True
        ) as chooser:
            assert chooser.identity is not None
            assert chooser.identity.adapter == "mapper-lora-9.9.9"
            (one,) = deploy.loaded()
            deploy.unload(name=one.name)
            with suppress(ChooserError):
                chooser.choose([QUESTION], salt="x")

    with pytest.raises(ChooserError, match="status 404"):
        ask_what_is_gone()
    assert nothing_left(adapters)


def test_a_server_that_dies_meanwhile(
    configure: Configure, trained: Path, worker: RunningWorker, adapters: Path
) -> None:
    def die() -> None:
        with deploy.for_a_while(trained):
            worker.signal(signal.SIGKILL)
            worker.stop()
            raise ValueError("of the evaluation")

    try:
        with pytest.raises(ValueError, match="of the evaluation"):  # what went wrong is told
            die()
        with pytest.raises(DeployError, match="cannot be reached"):
            deploy.loaded()
    finally:
        worker.start()
    # It was noted for a restart; its files are gone.
    assert not deploy.loaded()
    assert not list(adapters.glob("for-a-while-*"))


def test_who_is_asked_by_default(configure: Configure) -> None:
    for backend, server in (("embedded", False), ("none", False), ("vllm", True), ("tgi", True)):
        configure(backend=backend)
        assert asks_server() is server
        assert asks_server(True)
        assert not asks_server(False)
