"""Real vLLM beside our own worker, where PILLARS_VLLM_PYTHON names an environment that has it.

PILLARS_VLLM_BASE names a folder with the shipped adapter's base model; without it, the packaged one
is converted.
"""

import os
import shutil
import time
from pathlib import Path

import pytest

from deploy.local.inference import adapter_dir
from deploy.local.state import REPOSITORY
from mapping.inference import HttpChooser
from mapping.inference.answers import choice_of
from mapping.inference.transport import Transport
from mapping.resolver.prompt import LETTERS, build_prompt
from mapping.resolver.types import Choice
from mapping.worker.weights import Base, base_in, packaged_base
from tests.bench.parity import Question, best, chooser_for, framework, questions, tokens, vllm
from tests.worker.running import KEY, RunningWorker

PYTHON = os.environ.get("PILLARS_VLLM_PYTHON", "")
BASE = os.environ.get("PILLARS_VLLM_BASE", "")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not PYTHON, reason="PILLARS_VLLM_PYTHON names no environment with vLLM"),
]


def test_both_read_the_same_tokens_and_choose_the_same(tmp_path: Path) -> None:
    base = base_in(Path(BASE)) if BASE else packaged_base(REPOSITORY / ".pillars" / "models")
    adapter = adapter_dir({})
    assert adapter is not None
    asked = questions(12)
    worker = RunningWorker("--model-dir", str(base.folder), "--adapter", str(adapter)).start()
    trained = framework(base.folder, adapter, asked, "float32")
    try:
        with vllm(PYTHON, base, adapter, tmp_path / "vllm.log") as url:
            for one, (expected, _) in zip(asked, trained, strict=True):
                assert tokens(worker.url, base, adapter, one) == expected
                assert tokens(url, base, adapter, one) == expected
            mine = chooser_for(base, adapter, "embedded", worker.url).choose(asked, salt="a")
            theirs = chooser_for(base, adapter, "vllm", url).choose(asked, salt="a")
            again = loaded_again(base, adapter, url, tmp_path).choose(asked, salt="a")
    finally:
        worker.stop()
    assert [best(one) for one in mine] == [best(one) for one in theirs]
    for others in (theirs, again):
        check_near(mine, others)
    check_near([as_choice(*one) for one in zip(asked, trained, strict=True)], theirs)


def loaded_again(base: Base, adapter: Path, url: str, place: Path) -> HttpChooser:
    """The same adapter under another name and path, loaded while vLLM runs."""
    copy = Path(shutil.copytree(adapter, place / "mapper-again"))
    server = Transport(url, api_key=KEY, connections=1, timeout_seconds=60)
    body = {"lora_name": copy.name, "lora_path": str(copy)}
    assert server.tell("/v1/load_lora_adapter", body, deadline=time.monotonic() + 60)[0] == 200
    server.close()
    return chooser_for(base, copy, "vllm", url)


def as_choice(question: Question, reading: tuple[list[int], list[float]]) -> Choice:
    """The framework's log-probabilities, over the options alone as ours are."""
    names = build_prompt(*question).names
    told = dict(zip(LETTERS, reading[1], strict=False))
    return choice_of(told, LETTERS[: len(names)], names, masked=False)


def check_near(ours: list[Choice], theirs: list[Choice]) -> None:
    """Mean under 0.05 and none over 0.3 nats, of the options that count."""
    gaps = [
        abs(value - other.log_probs[name])
        for one, other in zip(ours, theirs, strict=True)
        for name, value in one.log_probs.items()
        if value > -3.0
    ]
    assert sum(gaps) / len(gaps) < 0.05
    assert max(gaps) < 0.3
