"""Whether the stack has an inference worker of its own, and what it is told."""

from pathlib import Path

import pytest

from deploy.local import inference
from deploy.local.inference import adapter_dir, inference_worker, is_configured, missing_packages
from deploy.local.state import REPOSITORY, StateDir

needs_model = pytest.mark.skipif(
    bool(missing_packages()), reason="the extra `model` is not installed"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inference:\n  backend: vllm\n", True),
        ("inference:\n  backend: none\n", False),
        ("inference:\n  timeout_ms: 400\n", False),
        ("server: {}\n", False),
        ("", False),
        ("- not\n- a section\n", False),
        ("a: [", False),
    ],
)
def test_a_server_of_ones_own_is_used(text: str, expected: bool, tmp_path: Path) -> None:
    path = tmp_path / "pillars.yaml"
    path.write_text(text)
    assert is_configured({"PILLARS_CONFIG": str(path)}) is expected
    assert is_configured({"PILLARS_CONFIG": str(path), "PILLARS__INFERENCE__BACKEND": "tgi"})


def test_the_shipped_configuration_names_none() -> None:
    assert not is_configured({"PILLARS_CONFIG": str(REPOSITORY / "pillars.yaml")})


@needs_model
def test_the_worker_and_who_asks_it_are_told_the_same(state: StateDir, tmp_path: Path) -> None:
    adapter = tmp_path / "mapper-3"
    worker = inference_worker(state, {"PILLARS_ADAPTER_DIR": str(adapter)})
    assert worker is not None
    told = worker.environment()
    words = worker.program().argv
    assert told["PILLARS__INFERENCE__URL"].endswith(f":{words[words.index('--port') + 1]}")
    assert told["PILLARS__INFERENCE__ADAPTER"] == "mapper-3"
    assert told["PILLARS__INFERENCE__ADAPTERS"] == words[words.index("--adapters") + 1]
    assert told["PILLARS__INFERENCE__API_KEY"] == told["PILLARS_INFERENCE_API_KEY"] != ""
    assert not any(worker.key in word for word in words)
    assert (state.path / "inference.json").stat().st_mode & 0o777 == 0o600
    again = inference_worker(state, {"PILLARS_ADAPTER_DIR": str(adapter)})
    assert again == worker
    assert inference_worker(state, {"PILLARS__INFERENCE__BACKEND": "none"}) is None


def test_without_the_packages_there_is_none(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_PACKAGES", ("a-package-that-is-not-there",))
    assert missing_packages() == ["a-package-that-is-not-there"]
    assert inference_worker(state, {}) is None


def test_the_newest_shipped_adapter_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_SHIPPED_ADAPTERS", tmp_path)
    assert adapter_dir({}) is None
    for name in ("mapper-0.9.1", "mapper-0.10.0", "mapper-0.2.0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    assert adapter_dir({}) == (tmp_path / "mapper-0.10.0").resolve()
    assert adapter_dir({"PILLARS_ADAPTER_DIR": "/elsewhere"}) == Path("/elsewhere")
