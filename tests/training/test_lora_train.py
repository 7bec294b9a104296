"""The trainer learns, survives kill -9 and a cancel, and does the same in one process or in two."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.local.processes import random_port, wait_until
from deploy.local.state import REPOSITORY
from tests.training.lora_fixture import train, words, write_base, write_data
from training.lora.refusals import CANCELLED, DONE, FAILED

SECONDS = 240.0
TIMES = ("seconds", "seconds_left", "tokens_per_second")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("lora") / "base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("lora") / "data", train=64, validation=24)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def metrics(run: Path, kind: str) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without what the clock said."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in one.items() if name not in TIMES}
        for one in lines if one["kind"] == kind
    ]  # fmt: skip


def numbers(line: dict[str, Any]) -> dict[str, float]:
    """A line's fields that are numbers."""
    return {name: value for name, value in line.items() if name != "kind"}


def start(arguments: list[str], **environment: str) -> "subprocess.Popen[bytes]":
    """The trainer in a process of its own."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "platform")])
    return subprocess.Popen(
        [sys.executable, "-m", "training.lora", "train", *arguments],
        cwd=REPOSITORY, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def test_it_learns_what_detectors_of_the_same_words_mean(
    base: Path, data: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = tmp_path / "run"
    changes = ["learning_rate=2e-3", "rank=32", "schedule=constant", "epochs=25"]
    changes += ["evaluate_every=25", "log_every=5"]
    assert train(words(data, base, run, *changes)) == DONE
    seen = metrics(run, "evaluation")
    assert [one["step"] for one in seen] == [0, 25, 50, 75, 100]
    assert seen[0]["accuracy"] <= 0.6
    assert seen[-1]["accuracy"] >= 0.9
    assert seen[-1]["loss"] < seen[0]["loss"] / 10
    steps = metrics(run, "step")
    assert [one["step"] for one in steps] == list(range(5, 101, 5))
    assert steps[-1]["loss"] < steps[0]["loss"] / 10

    told = json.loads((run / "run.json").read_text())
    assert (told["outcome"], told["base"]["name"], told["seed"]) == ("done", "base", 0)
    assert str(base.parent) not in json.dumps(told)
    card = json.loads((run / "adapter" / "training.json").read_text())
    assert card["chosen"]["accuracy"] == max(one["accuracy"] for one in seen)
    assert card["data_set"] == json.loads((data / "manifest.json").read_text())["digest"]
    # What was kept is what PEFT reads, and it answers as the evaluation said.
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), run / "adapter"
    )
    assert accuracy(model, base, data) == card["chosen"]["accuracy"]


def accuracy(model: Any, base: Path, data: Path) -> float:
    """Of a model as transformers has it, on the validation rows, one by one."""
    from training.lora.rows import read
    from training.lora.tokens import encode, tokenizer_of

    rows = read(data).validation
    samples = encode(tokenizer_of(base, model.config.vocab_size), rows, 512)
    right = 0
    with torch.no_grad():
        for one in samples:
            logits = model(torch.from_numpy(one.tokens)[None]).logits[0, -1]
            right += one.offered[int(logits[list(one.offered)].argmax())] in one.right
    return right / len(rows)


def test_a_killed_run_goes_on_to_the_same_curve(base: Path, data: Path, tmp_path: Path) -> None:
    changes = ["epochs=8", "dropout=0.1", "checkpoint_every=3", "evaluate_every=5", "log_every=2"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(words(data, base, killed, *changes))
    wait_until(lambda: reached(killed, 8) or process.poll() is not None, SECONDS, pause=0.005)
    process.kill()
    assert process.wait(20) == -signal.SIGKILL
    last = metrics(killed, "step")[-1]["step"]
    assert 8 <= last < 32
    assert json.loads((killed / "run.json").read_text())["outcome"] == "running"

    assert train([*words(data, base, killed, *changes), "--resume"]) == DONE
    assert train(words(data, base, whole, *changes)) == DONE
    for kind in ("step", "evaluation"):
        assert metrics(killed, kind) == metrics(whole, kind)
    assert any("Resumed after step" in one["text"] for one in metrics(killed, "message"))
    adapters = [one / "adapter" / "adapter_model.safetensors" for one in (killed, whole)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    kept = sorted(one.name for one in (killed / "checkpoints").iterdir())
    assert len(kept) <= 3
    assert "step-32" in kept


def reached(run: Path, step: int) -> bool:
    """Whether a run has told of this step."""
    path = run / "metrics.jsonl"
    return path.exists() and f'"kind": "step", "step": {step},' in path.read_text()


def test_a_cancelled_run_keeps_a_checkpoint_and_goes_on(
    base: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    changes = ["epochs=4", "checkpoint_every=1000"]
    run.mkdir()
    (run / "cancel").touch()
    assert train(words(data, base, run, *changes)) == CANCELLED
    assert not (run / "cancel").exists()
    assert json.loads((run / "run.json").read_text())["outcome"] == "cancelled"
    assert (run / "checkpoints" / "step-1").is_dir()

    def terminate() -> None:
        wait_until(lambda: reached(run, 3), SECONDS, pause=0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=terminate)
    sender.start()
    assert train([*words(data, base, run, *changes), "--resume"]) == CANCELLED
    sender.join()
    assert train([*words(data, base, run, *changes), "--resume"]) == DONE
    steps = [one["step"] for one in metrics(run, "step")]
    assert steps == list(range(1, 17))


def test_two_processes_do_what_one_does_with_twice_the_passes(
    base: Path, data: Path, tmp_path: Path
) -> None:
    changes = ["max_steps=3", "batch_tokens=512", "checkpoint_every=100"]
    one, two = tmp_path / "one", tmp_path / "two"
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(random_port())}
    started = [
        start(words(data, base, two, *changes), RANK=rank, LOCAL_RANK=rank, **shared)
        for rank in ("0", "1")
    ]
    assert train(words(data, base, one, *changes, "accumulation=2")) == DONE
    outputs = [process.communicate(timeout=SECONDS)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    for kind in ("step", "evaluation"):
        for mine, theirs in zip(metrics(one, kind), metrics(two, kind), strict=True):
            assert numbers(theirs) == pytest.approx(numbers(mine), rel=1e-3)


def test_it_stops_when_held_out_rows_gain_no_more(base: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # So small a rate that nothing is learned.
    changes = ["learning_rate=1e-30", "epochs=9", "evaluate_every=1", "early_stop=2"]
    assert train(words(data, base, run, *changes)) == DONE
    assert json.loads((run / "run.json").read_text())["outcome"] == "stopped_early"
    assert len(metrics(run, "evaluation")) == 3
    assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    changes = [
        "learning_rate=0.1",
        "alpha=1e6",
        "precision=fp16",
        "evaluate_every=100",
        "log_every=3",
    ]
    assert train(words(data, base, run, *changes)) == FAILED
    assert "The loss of step 2 is no number" in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["outcome"] == "failed"
    assert [one.name for one in (run / "checkpoints").iterdir()] == ["step-0"]


def test_half_precision_and_recomputed_activations_change_little(
    base: Path, data: Path, tmp_path: Path
) -> None:
    found = {}
    for name, changes in {
        "plain": [], "recomputed": ["gradient_checkpointing=on", "attention=sdpa"],
        "fp16": ["precision=fp16"], "unpacked": ["packing=false", "batch_tokens=2048"],
    }.items():  # fmt: skip
        run = tmp_path / name
        assert train(words(data, base, run, "epochs=2", "max_rows=12", *changes)) == DONE
        found[name] = metrics(run, "step")
    for mine, theirs in zip(found["plain"], found["recomputed"], strict=True):
        assert numbers(theirs) == pytest.approx(numbers(mine), rel=1e-4)
    # One step over all twelve rows, whether packed or not.
    first = found["plain"][0]["loss"]
    assert found["unpacked"][0]["loss"] == pytest.approx(first, rel=1e-4)
    assert found["fp16"][0]["loss"] == pytest.approx(first, rel=0.02)
    assert found["fp16"][1]["loss"] == pytest.approx(found["plain"][1]["loss"], rel=0.05)


def test_the_time_of_a_step_is_told(base: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    begun = time.monotonic()
    assert train(words(data, base, run, "max_steps=2")) == DONE
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [one for one in lines if one["kind"] == "step"][-1]
    assert 0 < last["tokens_per_second"] < 10**7
    assert 0 < last["seconds"] < time.monotonic() - begun
    assert last["seconds_left"] == 0
