"""Which weights are taken, and which are refused, without loading any."""

import json
from pathlib import Path

import pytest

from mapping.worker.weights import (
    WeightsError,
    adapter_in,
    base_in,
    check_memory,
    sha256_of,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    return tmp_path


def test_a_base_is_known_by_its_note_or_by_its_weights(folder: Path) -> None:
    base = base_in(folder)
    assert (base.name, base.sha256) == (folder.name, sha256_of(folder / "model.safetensors"))
    note = {"name": "SmolLM2-135M-Instruct", "sha256": "ab" * 32}
    (folder / "pillars-base.json").write_text(json.dumps(note))
    base = base_in(folder)
    assert (base.name, base.sha256) == ("SmolLM2-135M-Instruct", "ab" * 32)


def test_what_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="holds no adapter"):
        adapter_in(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no \.safetensors"):
        base_in(folder)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"no config\.json"):
        base_in(folder)


def test_an_adapters_digest_changes_with_its_weights(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"one")
    first = adapter_in(tmp_path)
    assert first.name == tmp_path.name
    (tmp_path / "adapter_model.safetensors").write_bytes(b"two")
    assert adapter_in(tmp_path).sha256 != first.sha256


def test_a_machine_without_the_memory_is_told_so(folder: Path, tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  900000 kB\nMemAvailable:  300000 kB\n")
    with pytest.raises(WeightsError, match=r"not enough memory .* 292 MB are free"):
        check_memory(base_in(folder), meminfo)
    meminfo.write_text("MemAvailable:  3000000 kB\n")
    check_memory(base_in(folder), meminfo)
    check_memory(base_in(folder), tmp_path / "not-there")
