"""A version promoted on a real worker: loaded beside the one that answers, asked, rolled back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mapping.inference import HttpChooser
from mapping.resolver.types import LabelQuestion, Option
from tests.support import model_versions as made
from tests.worker.running import KEY, RunningWorker

pytest.importorskip("torch", reason="the extra `model` is not installed")

from mapping.worker.weights import base_in
from tests.support.small_llama import write_adapter, write_base
from training.registry import Base, Ingredients, ModelName, build
from training.registry.adapter import shapes_in

pytestmark = [pytest.mark.django_db, pytest.mark.stack]
QUESTION = (LabelQuestion("d", "EMAIL"), [Option("a", "an e-mail address"), Option("b", "none")])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "tiny")


@pytest.fixture
def worker(base: Path, tmp_path: Path, settings: Any, platform: Path) -> Iterator[RunningWorker]:
    running = RunningWorker(
        *("--model-dir", str(base), "--adapters", str(tmp_path / "adapters"), "--threads", "1"),
    )
    try:
        running.start()
        inference = settings.CONFIG.inference.model_copy(
            update={
                "url": running.url, "model": "tiny", "timeout_ms": 5_000,
                "api_key": type(settings.CONFIG.inference.api_key)(KEY),
                "adapters": str(tmp_path / "adapters"),
            }
        )  # fmt: skip
        settings.CONFIG = settings.CONFIG.model_copy(update={"inference": inference})
        yield running
    finally:
        running.stop()


def registered(number: str, base: Path, work: Path, ann: Any, bob: Any, **identity: str) -> Any:
    """A version whose calibrator was fitted for what this worker says of it."""
    from training.services import approve, register_version

    name = ModelName.parse(f"mapper-lora@v{number}")
    given = made.ingredients(work / number, name, figures=made.evaluation())
    adapter = write_adapter(work / number / "trained", base, seed=int(number.split(".")[1]))
    known = base_in(base)
    calibrator = json.loads(given.calibrator.read_text())
    calibrator["identity"] |= {
        "adapter_digest": made.sha256_of(adapter / "adapter_model.safetensors"),
        "base": known.name, "base_digest": known.sha256, **identity,
    }  # fmt: skip
    (adapter / "calibrator.json").write_text(json.dumps(calibrator))
    (adapter / "run.json").write_text(json.dumps({"data_set": made.data_set_digest()}))
    changed = {
        "adapter": adapter, "calibrator": adapter / "calibrator.json",
        "training": adapter / "run.json", "base": Base(known.name, known.sha256),
        "shapes": shapes_in(base),
    }  # fmt: skip
    fields = {field: getattr(given, field) for field in Ingredients.__dataclass_fields__}
    package = build(Ingredients(**{**fields, **changed}), name, work / "packed")
    version = register_version(folder=package.folder, author=ann)
    return approve(version=version, person=bob)


def answer() -> dict[str, float]:
    """Of what is live now, by the chooser that /map would use."""
    from mapping.chooser import inference_options
    from mapping.serving.in_force import read_serving

    options = inference_options(read_serving().live)
    assert options is not None
    chooser = HttpChooser(options)
    try:
        return chooser.choose([QUESTION], salt="x")[0].log_probs
    finally:
        chooser.close()


def test_promoted_on_a_worker_and_rolled_back(
    worker: RunningWorker, base: Path, ann: Any, bob: Any, tmp_path: Path,
    django_capture_on_commit_callbacks: Any,
) -> None:  # fmt: skip
    from mapping.serving import deploy
    from training.errors import VersionError
    from training.promotion import promote, rollback
    from training.selectors import live_version

    first, second = (
        registered(number, base, tmp_path / "work", ann, bob) for number in ("0.2.0", "0.3.0")
    )
    for version in (first, second):
        with django_capture_on_commit_callbacks(execute=True):
            promote(version=version, reason="", actor="user:ann")
    assert [one.name for one in deploy.loaded()] == ["mapper-lora-0.2.0", "mapper-lora-0.3.0"]
    of_second = answer()
    with django_capture_on_commit_callbacks(execute=True):
        assert rollback(reason="", actor="user:ann") == first
    of_first = answer()
    assert of_first != of_second  # two adapters with other weights
    with django_capture_on_commit_callbacks(execute=True):
        promote(version=second, reason="", actor="user:ann")
    assert answer() == of_second  # to the bit

    # A calibrator that was fitted for another meaning of the numbers: it is not let through.
    other = registered("0.4.0", base, tmp_path / "work", ann, bob, logprob_mode="masked")
    with pytest.raises(VersionError, match="otherwise than its calibrator was fitted for"):
        promote(version=other, reason="", actor="user:ann")
    assert live_version() == second
    worker.stop()
    with pytest.raises(VersionError, match="Nothing was rolled back"):
        rollback(reason="", actor="user:ann")
    assert live_version() == second
