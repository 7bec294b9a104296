"""How vLLM is started: `python -m deploy.vllm`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.state import REPOSITORY


def a_model(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return folder


def an_adapter(folder: Path, rank: object) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.vllm", *map(str, words), "--print"],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "PILLARS_INFERENCE_API_KEY": "not-for-others"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_adapters_their_rank_and_no_key_in_sight(tmp_path: Path) -> None:
    model = a_model(tmp_path / "llama")
    an_adapter(tmp_path / "adapters" / "mapper-lora-0.1.0", 16)
    an_adapter(tmp_path / "adapters" / "mapper-lora-0.2.0", 40)
    found = run("--model", model, "--adapters", tmp_path / "adapters", "--quantization", "fp8")
    assert found.returncode == 0, found.stderr
    for wanted in (
        "--max-lora-rank 64", "--quantization fp8", "--host 127.0.0.1", "--served-model-name llama",
        '"name": "mapper-lora-0.2.0"', "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
        "--logprobs-mode raw_logprobs",
    ):  # fmt: skip
        assert wanted in found.stdout
    assert "not-for-others" not in found.stdout + found.stderr


def test_without_adapters_nobody_may_load_any(tmp_path: Path) -> None:
    found = run("--model", a_model(tmp_path / "llama"))
    assert "lora" not in found.stdout.lower()


@pytest.mark.parametrize(
    ("config", "words", "says"),
    [
        ({}, ["--quantization", "awq"], "not in 4 bits"),
        ({"quantization_config": {"quant_method": "awq"}}, [], "say so with --quantization"),
        ({"quantization_config": {"quant_method": "awq"}}, ["--quantization", "fp8"], "already"),
        ({}, ["--adapters", "/nowhere/adapters"], "no such folder"),
    ],
)
def test_what_vllm_would_fail_on_later_is_refused_now(
    tmp_path: Path, config: dict[str, object], words: list[str], says: str
) -> None:
    found = run("--model", a_model(tmp_path / "llama", **config), *words)
    assert found.returncode == 3
    assert says in found.stderr
    assert found.stdout == ""


def test_an_adapter_without_a_rank_or_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    an_adapter(tmp_path / "adapters" / "broken", None)
    model = a_model(tmp_path / "llama")
    assert "states no rank" in run("--model", model, "--adapters", tmp_path / "adapters").stderr
    assert "holds no model" in run("--model", tmp_path).stderr
