"""`python -m tests.bench.parity --python ENV/bin/python`: real vLLM beside our own worker.

Serves the same base model and LoRA adapter with both and asks them through the same client. Prints
whether the prompts' tokens are the same, how far the log-probabilities are apart, and how long a
letter takes against JSON generated under a schema. ENV is an environment with vLLM; without
`--adapter` the shipped adapter is served.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from deploy.local.inference import adapter_dir
from deploy.local.processes import random_port, wait_until
from deploy.local.state import REPOSITORY
from mapping.inference import HttpChooser, InferenceOptions
from mapping.resolver.prompt import LETTERS, build_prompt, options_for
from mapping.resolver.types import Choice, LabelQuestion, Option
from mapping.worker.weights import Base, packaged_base
from tests.worker.running import KEY, RunningWorker

Question = tuple[LabelQuestion, list[Option]]
_START_SECONDS = 300.0


def main() -> None:
    """Start both, ask both, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.parity", description=__doc__)
    parser.add_argument("--python", required=True, help="of an environment with vLLM")
    parser.add_argument("--adapter", type=Path, help="a LoRA adapter for SmolLM2-135M-Instruct")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--cache-dir", type=Path, default=REPOSITORY / ".pillars" / "models")
    options = parser.parse_args()
    base = packaged_base(options.cache_dir)
    asked = questions(options.questions)
    with tempfile.TemporaryDirectory() as scratch:
        adapter = options.adapter or adapter_dir({})
        adapter = adapter or random_adapter(Path(scratch) / "mapper-random", base.name)
        print(f"adapter: {adapter.name}")
        worker = RunningWorker("--model-dir", str(base.folder), "--adapter", str(adapter)).start()
        try:
            with vllm(options.python, base, adapter, Path(scratch) / "vllm.log") as url:
                compare(base, adapter, worker, url, asked)
        finally:
            worker.stop()


def compare(
    base: Base, adapter: Path, worker: RunningWorker, url: str, asked: Sequence[Question]
) -> None:
    """Ask the same of both."""

    print(f"{len(asked)} questions, {len(asked[0][1])} options and more")
    same = sum(
        tokens(worker.url, base, adapter, one) == tokens(url, base, adapter, one) for one in asked
    )
    print(f"same prompt tokens: {same} of {len(asked)}")
    own = chooser_for(base, adapter, "embedded", worker.url)
    other = chooser_for(base, adapter, "vllm", url)
    writing = chooser_for(base, adapter, "vllm", url, "json")
    ours = measure("embedded worker, letter", own, asked)
    theirs = measure("vLLM, letter", other, asked)
    written = measure("vLLM, JSON under a schema", writing, asked[: len(asked) // 2])
    print_gaps(ours, theirs)
    agree = sum(best(a) == best(b) for a, b in zip(theirs, written, strict=False))
    print(f"JSON names the letter's best option: {agree} of {len(written)}")


def chooser_for(
    base: Base, adapter: Path, backend: Any, url: str, reading: Any = "letters"
) -> HttpChooser:
    """Our client, patient enough for a slow machine."""
    return HttpChooser(
        InferenceOptions(
            backend=backend,
            url=url,
            model=base.name,
            adapter=adapter.name,
            api_key=KEY,
            reading=reading,
            timeout_seconds=300,
            breaker_failures=100,
            salt_key=b"k",
        )
    )


def print_gaps(ours: Sequence[Choice], theirs: Sequence[Choice]) -> None:
    """How far two readings of the same questions are apart."""
    pairs = list(zip(ours, theirs, strict=True))
    everything = [
        (value, abs(value - b.log_probs[name]))
        for a, b in pairs
        for name, value in a.log_probs.items()
    ]
    for name, least in (("all options", -math.inf), ("options over 5 %", math.log(0.05))):
        gaps = [gap for value, gap in everything if value > least]
        print(f"apart, {name}: mean {statistics.mean(gaps):.3f}, largest {max(gaps):.3f}")
    print(f"mass apart: largest {max(abs(a.mass - b.mass) for a, b in pairs):.4f}")
    print(f"same best option: {sum(best(a) == best(b) for a, b in pairs)} of {len(pairs)}")


def best(choice: Choice) -> str:
    """The most probable option."""
    return max(choice.log_probs, key=choice.log_probs.__getitem__)


def measure(name: str, chooser: HttpChooser, asked: Sequence[Question]) -> list[Choice]:
    """Ask one after another; print how long it took."""
    for one in asked[:3]:
        chooser.choose([one], salt="bench")
    choices, seconds = [], []
    for one in asked:
        started = time.perf_counter()
        choices += chooser.choose([one], salt="bench")
        seconds.append(time.perf_counter() - started)
    seconds.sort()
    middle, high = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.95)]
    print(f"{name}: p50 {middle * 1000:.0f} ms, p95 {high * 1000:.0f} ms")
    return choices


def tokens(url: str, base: Base, adapter: Path, question: Question) -> list[int]:
    """What a server's own tokenizer makes of a prompt."""
    prompt = build_prompt(*question)
    body = {
        "model": adapter.name,
        "messages": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ],
        "max_tokens": 1,
        "temperature": 0,
        "return_token_ids": True,
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return list(json.load(response)["prompt_token_ids"])


def framework(
    base: Path, adapter: Path, asked: Sequence[Question], dtype: str
) -> list[tuple[list[int], list[float]]]:
    """What the training framework says: (tokens of the prompt, log-probabilities of its letters).

    transformers and PEFT as the trainer uses them: the adapter beside the weights, not merged, the
    tokenizer's own chat template. `dtype`: float32 or bfloat16 throughout.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    model = PeftModel.from_pretrained(plain, str(adapter)).eval()
    found = []
    for one in asked:
        prompt = build_prompt(*one)
        chat = [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        letters = [tokenizer(one)["input_ids"][-1] for one in LETTERS[: len(prompt.names)]]
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, -1].float()
        found.append((list(ids), torch.log_softmax(logits, -1)[letters].tolist()))
    return found


def questions(count: int) -> list[Question]:
    """Labels of the taxonomy in their own words, each among seven others."""
    file = REPOSITORY / "pillars-detectors" / "taxonomy" / "2026.11.yaml"
    taxonomy = yaml.safe_load(file.read_text("utf-8"))
    chance = random.Random(7)
    names = sorted(taxonomy["labels"])
    asked = []
    for name in chance.sample(names, count):
        spoken = name.rpartition(".")[2].upper()
        meaning = str(taxonomy["labels"][name]["meaning"])
        shortlist = chance.sample([one for one in names if one != name], 7)
        question = LabelQuestion("bench", spoken, meaning)
        asked.append((question, options_for([name, *shortlist], taxonomy)))
    return asked


def random_adapter(folder: Path, base: str) -> Path:
    """A LoRA adapter whose answers mean nothing, as PEFT writes it."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(7)
    weights = {}
    for layer in range(30):
        for name, size in (("q_proj", 576), ("v_proj", 192)):
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{place}.lora_A.weight"] = torch.randn(16, 576) * 0.03
            weights[f"{place}.lora_B.weight"] = torch.randn(size, 16) * 0.03
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 16,
        "lora_alpha": 32,
        "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": base,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@contextmanager
def vllm(python: str, base: Base, adapter: Path, log: Path) -> Iterator[str]:
    """vLLM on a port of its own."""
    port = random_port()
    url = f"http://127.0.0.1:{port}"
    lora = json.dumps({"name": adapter.name, "path": str(adapter), "base_model_name": base.name})
    command = [
        *(python, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"),
        *("--port", str(port), "--model", str(base.folder), "--served-model-name", base.name),
        *("--enable-lora", "--max-lora-rank", "16", "--max-loras", "2"),
        *("--lora-modules", lora),
        *("--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "8"),
        *("--max-logprobs", "128", "--api-key", KEY, "--generation-config", "vllm"),
    ]
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "HF_HUB_OFFLINE": "1",
        # Threads that spin while they wait starve on a busy machine.
        "OMP_WAIT_POLICY": "passive",
        "KMP_BLOCKTIME": "0",
        "PYTHONPATH": "",
    }
    started = time.monotonic()
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        ready: Callable[[], bool] = lambda: _answers(url) or server.poll() is not None  # noqa: E731
        wait_until(ready, _START_SECONDS, pause=0.5)
        if not _answers(url):
            sys.exit(f"vLLM did not start:\n{log.read_text()[-3000:]}")
        print(f"vLLM is up after {time.monotonic() - started:.0f} s")
        yield url
    finally:
        server.terminate()
        server.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main()
