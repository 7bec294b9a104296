"""Real vLLM beside our own worker, where PILLARS_VLLM_PYTHON names an environment that has it."""

import os
from pathlib import Path

import pytest

from deploy.local.inference import adapter_dir
from deploy.local.state import REPOSITORY
from mapping.worker.weights import packaged_base
from tests.bench.parity import best, chooser_for, questions, tokens, vllm
from tests.worker.running import RunningWorker

PYTHON = os.environ.get("PILLARS_VLLM_PYTHON", "")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON, reason="PILLARS_VLLM_PYTHON names no environment with vLLM"),
]


def test_both_read_the_same_tokens_and_choose_the_same(tmp_path: Path) -> None:
    base = packaged_base(REPOSITORY / ".pillars" / "models")
    adapter = adapter_dir({})
    assert adapter is not None
    asked = questions(12)
    worker = RunningWorker("--model-dir", str(base.folder), "--adapter", str(adapter)).start()
    try:
        with vllm(PYTHON, base, adapter, tmp_path / "vllm.log") as url:
            for one in asked:
                ours = tokens(worker.url, base, adapter, one)
                assert ours == tokens(url, base, adapter, one)
            mine = chooser_for(base, adapter, "embedded", worker.url).choose(asked, salt="a")
            theirs = chooser_for(base, adapter, "vllm", url).choose(asked, salt="a")
    finally:
        worker.stop()
    assert [best(one) for one in mine] == [best(one) for one in theirs]
    gaps = [
        abs(value - other.log_probs[name])
        for one, other in zip(mine, theirs, strict=True)
        for name, value in one.log_probs.items()
        if value > -3.0
    ]
    assert sum(gaps) / len(gaps) < 0.05
    assert max(gaps) < 0.3
