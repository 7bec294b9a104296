"""llama.cpp's own server beside our own worker, where PILLARS_LLAMA_SERVER names its program."""

import math
import os
from pathlib import Path

import pytest

from deploy.local.inference import adapter_dir
from deploy.local.state import REPOSITORY
from mapping.worker.weights import packaged_base, packaged_file
from tests.bench.quantized import best, chooser_for, llama_server, questions
from tests.worker.running import RunningWorker
from training.quantize.lora_gguf import convert

SERVER = os.environ.get("PILLARS_LLAMA_SERVER", "")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not SERVER, reason="PILLARS_LLAMA_SERVER names no llama-server"),
]


def test_the_converted_adapter_says_what_the_worker_says(tmp_path: Path) -> None:
    """The packaged base is the same 4-bit file in both; the adapter is the converted one there."""
    base = packaged_base(REPOSITORY / ".pillars" / "models")
    adapter = adapter_dir({})
    assert adapter is not None
    converted = tmp_path / f"{adapter.name}.gguf"
    convert(adapter, base.folder, converted)
    asked = [(one.question, one.options) for one in questions(12)]
    with llama_server(Path(SERVER), packaged_file(), converted) as (url, _):
        theirs = chooser_for("llamacpp", url, "base", adapter.name).choose(asked, salt="a")
    worker = RunningWorker(
        "--model-dir", str(base.folder), "--adapter", str(adapter), "--precision", "fp32"
    ).start()
    try:
        chooser = chooser_for("embedded", worker.url, base.name, adapter.name)
        ours = chooser.choose(asked, salt="a")
    finally:
        worker.stop()
    gaps = [
        abs(value - other.log_probs[name])
        for one, other in zip(ours, theirs, strict=True)
        for name, value in one.log_probs.items()
        if value > math.log(0.05)
    ]
    assert sum(best(a) == best(b) for a, b in zip(ours, theirs, strict=True)) >= len(asked) - 1
    assert sum(gaps) / len(gaps) < 0.15
