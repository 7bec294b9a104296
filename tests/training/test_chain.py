"""From detector files to an answering model, by the commands that an engineer types."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.worker.running import KEY, RunningWorker

pytest.importorskip("torch", reason="the extra `model` is not installed")

from tests.support.small_llama import write_adapter, write_base

pytestmark = [pytest.mark.django_db, pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture
def base(tmp_path: Path, settings: Any, platform: Path) -> Path:
    """A small Llama with random weights is the base model; its server is a real worker."""
    return write_base(tmp_path / "tiny")


@pytest.fixture
def worker(base: Path, tmp_path: Path, settings: Any) -> Iterator[RunningWorker]:
    # As on a stack that has just been set up: it serves an adapter that nobody registered.
    first = write_adapter(tmp_path / "mapper-lora-0.1.0", base)
    running = RunningWorker(
        *("--model-dir", str(base), "--adapter", str(first)),
        *("--adapters", str(tmp_path / "adapters"), "--threads", "1"),
    )
    config = settings.CONFIG
    inference = config.inference.model_copy(
        update={
            "url": running.url, "model": "tiny", "adapter": first.name, "timeout_ms": 5_000,
            "api_key": type(config.inference.api_key)(KEY),
            "adapters": str(tmp_path / "adapters"),
        }
    )  # fmt: skip
    # A model of random weights adds nothing to retrieval: what it shows is the way, not quality.
    training = config.training.model_copy(
        update={
            "base": str(base),
            "gate_min_f1": 0.2,
            "gate_min_parent": 0.2,
            "gate_max_ece": 0.5,
            "gate_max_p95_ms": 60_000,
        }
    )
    settings.CONFIG = config.model_copy(update={"inference": inference, "training": training})
    running.start()
    yield running
    running.stop()


def said(*words: str) -> Any:
    """A command's JSON."""
    out = StringIO()
    call_command(*words, "--json", stdout=out, stderr=StringIO())
    return json.loads(out.getvalue())


def test_build_train_evaluate_approve_promote(
    worker: RunningWorker, platform: Path, ann: Any, bob: Any, capfd: Any
) -> None:
    call_command(
        "build_dataset", "--name", "chain", "--synthetic", "0", "--variations", "1",
        "--validation", "0.04", "--test", "0.04", stdout=StringIO(), stderr=StringIO(),
    )  # fmt: skip
    run = said(
        "train", "--profile", "tiny", "--dataset", "chain", "--by", "ann", "--set", "max_rows=64",
        "--set", "evaluation_rows=32",
    )  # fmt: skip
    assert run["state"] == "succeeded"

    capfd.readouterr()
    found = said("evaluate", "--by", "ann")
    assert "it/s" not in capfd.readouterr().err  # no library draws its own progress
    assert found["state"] == "evaluated"
    folder = platform / "models" / "mapper-lora-0.2.0"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["protocol"] == "held-out detectors"
    assert evaluation["schema_valid"] == 1.0
    assert evaluation["seen_by_encoder"] == 0
    assert 0 < evaluation["described"]["accepted"] <= 1
    assert f"{evaluation['described']['ece']:.3f}" in (folder / "README.md").read_text()

    # Whoever trained it does not approve it, and nothing unapproved is promoted.
    with pytest.raises(CommandError, match="Somebody else approves it"):
        said("approve_model", "mapper-lora@v0.2.0", "--by", "ann")
    with pytest.raises(CommandError, match="No version is approved"):
        said("promote")
    said("approve_model", "mapper-lora@v0.2.0", "--by", "bob")
    assert said("promote", "--by", "ann")["state"] == "live"

    status, models = worker.ask("GET", "/v1/models")
    assert status == 200
    assert "mapper-lora-0.2.0" in {one["id"] for one in models["data"]}

    # A run that has not ended well is not judged, and neither is one of another base.
    facts = json.loads((run_folder := Path(platform / "runs" / run["id"])).joinpath("run.json")
                       .read_text())  # fmt: skip
    (run_folder / "run.json").write_text(json.dumps(facts | {"outcome": "cancelled"}))
    with pytest.raises(CommandError, match="has not ended well"):
        said("evaluate", run["id"], "--by", "ann")
    other = {"name": "another", "sha256": "0" * 64}
    (run_folder / "run.json").write_text(json.dumps(facts | {"base": other}))
    with pytest.raises(CommandError, match="other weights"):
        said("evaluate", run["id"], "--by", "ann")
