"""The same tokens and numbers from the training framework and from the worker, over HTTP.

A tiny Llama with random weights says what matters here: the template, the tokens, the merge of the
adapter and the precision. tests/inference/test_vllm.py holds the shipped model against vLLM too.
Tolerances, in nats of a letter's log-probability: 1e-4 in float32 (the merge adds the adapter to
the weights before it multiplies), 0.1 on average where the worker multiplies in bfloat16.
"""

import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest

from mapping.resolver.prompt import LETTERS, build_prompt
from tests.bench.parity import framework, questions
from tests.worker.running import RunningWorker

pytest.importorskip("torch", reason="the extra `model` is not installed")

from tests.support.small_llama import write_adapter, write_base

pytestmark = pytest.mark.stack
FLOAT32_LARGEST = 1e-4
BFLOAT16_MEAN = 0.1
Readings = list[tuple[list[int], list[float]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    write_base(folder / "tiny")
    write_adapter(folder / "mapper-1", folder / "tiny")
    return folder


def served(made: Path, precision: str) -> Readings:
    """What the worker says of the same prompts, loaded as a promotion loads it."""
    # A folder of its own: a worker takes up what one before it has served from the same.
    adapters = made / precision
    shutil.copytree(made / "mapper-1", adapters / "mapper-1")
    worker = RunningWorker(
        *("--model-dir", str(made / "tiny"), "--adapters", str(adapters)),
        *("--precision", precision),
        *("--threads", "1"),
    )
    try:
        worker.start()
        body = {"lora_name": "mapper-1", "lora_path": "mapper-1"}
        assert worker.ask("POST", "/v1/load_lora_adapter", body)[0] == 200
        cards = {card["id"]: card for card in worker.ask("GET", "/v1/models")[1]["data"]}
        letters = cards["mapper-1"]["letter_token_ids"]
        return [read(worker, letters, one) for one in questions(6)]
    finally:
        worker.stop()


def read(worker: RunningWorker, letters: dict[str, int], question: Any) -> Any:
    prompt = build_prompt(*question)
    body = {
        "model": "mapper-1", "max_tokens": 1, "temperature": 0, "logprobs": True,
        "messages": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ],
        "logprob_token_ids": [letters[one] for one in LETTERS[: len(prompt.names)]],
        "return_token_ids": True,
    }  # fmt: skip
    status, answer = worker.ask("POST", "/v1/chat/completions", body)
    assert status == 200, answer
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return answer["prompt_token_ids"], [one["logprob"] for one in top]


def gaps(ours: Readings, theirs: Readings) -> list[float]:
    assert [tokens for tokens, _ in ours] == [tokens for tokens, _ in theirs]
    return [
        abs(a - b)
        for (_, mine), (_, other) in zip(ours, theirs, strict=True)
        for a, b in zip(mine, other, strict=True)
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_worker_says_what_the_training_framework_says(made: Path, dtype: str) -> None:
    trained = framework(made / "tiny", made / "mapper-1", questions(6), dtype)
    found = gaps(served(made, {"float32": "fp32", "bfloat16": "bf16"}[dtype]), trained)
    assert len(found) >= 6 * 8
    if dtype == "float32":
        assert max(found) < FLOAT32_LARGEST
    else:
        assert 0 < statistics.mean(found) < BFLOAT16_MEAN
