"""Servers side by side: real workers with a tiny model, through the whole of `/map`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapping.resolver.artifacts import SHIPPED
from mapping.resolver.calibrate import Calibrator
from tests.bench import servers
from tests.training.small_set import small_set
from tests.worker.running import KEY, RunningWorker
from training.datasets.store import Stored, save
from training.held_out.questions import held_out
from training.held_out.through_map import spread

pytest.importorskip("torch", reason="the extra `model` is not installed")

from tests.support.small_llama import write_adapter, write_base

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorker]:
    """Serves two adapters on one tiny base."""
    place = tmp_path_factory.mktemp("servers")
    base = write_base(place / "tiny")
    for seed in (1, 2):
        write_adapter(place / "adapters" / f"mapper-{seed}", base, seed=seed)
    running = RunningWorker(
        *("--model-dir", str(base), "--adapters", str(place / "adapters"), "--threads", "1")
    )
    try:
        running.start()
        for name in ("mapper-1", "mapper-2"):
            body = {"lora_name": name, "lora_path": name}
            assert running.ask("POST", "/v1/load_lora_adapter", body)[0] == 200
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    built = small_set()
    return save(tmp_path_factory.mktemp("sets"), built.files, built.manifest)


def read(bench: servers.Bench, worker: RunningWorker, adapter: str) -> servers.Reading:
    server = servers.Server("embedded", worker.url)
    with servers.client_of(server, "tiny", adapter, KEY) as chooser:
        return bench.read(server, chooser)


def test_one_server_is_no_distance_from_itself_and_another_model_is_some(
    worker: RunningWorker, data_set: Stored
) -> None:
    asked = held_out(data_set.rows("test"), data_set.taxonomy()["labels"])
    calibrator = Calibrator.load(SHIPPED / "calibrators" / "model.json")
    bench = servers.Bench(spread(asked, 24), calibrator)
    first, again, other = (
        read(bench, worker, name) for name in ("mapper-1", "mapper-1", "mapper-2")
    )
    made = servers.report([first, again, other])
    for row in made["servers"]:
        assert row["rows"] == 24
        assert row["read_without_asking"] < 12
        assert row["without_the_model"] == 0
        assert row["figures"]["all"]["schema_valid"] == 1
        assert 0 < row["figures"]["all"]["accepted"] <= row["figures"]["all"]["hit_at_5"] <= 1
    assert servers.furthest({"servers": made["servers"][:2]}) == 0
    assert made["servers"][1]["apart"] == {
        "same_label": 1, "same_answer": 1, "confidence_apart_mean": 0,
        "confidence_apart_largest": 0,
    }  # fmt: skip
    assert made["servers"][2]["apart"]["confidence_apart_mean"] > 0


def test_the_command_prints_and_writes_what_it_found(
    worker: RunningWorker,
    data_set: Stored,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--server", f"embedded={worker.url}"] * 2
    words += ["--model", "tiny", "--adapter", "mapper-1", "--rows", "6"]
    file = tmp_path / "report.json"
    argv = ["servers", str(data_set.folder), *words, "--json", str(file)]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setenv("PILLARS_INFERENCE_API_KEY", KEY)
    assert servers.main() == 0
    assert json.loads(file.read_text())["data_set"] == data_set.digest
    out = capsys.readouterr().out
    assert "| embedded, all, points apart | | +0.00 |" in out
    assert "same label 100.00%" in out
    monkeypatch.setattr(sys, "argv", [*argv, "--within", "-1"])
    assert servers.main() == 1
