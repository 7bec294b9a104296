"""How fast an adapter is trained: ``python -m tests.bench.lora_speed`` (docs/training.md).

The shape of Llama-3-8B with random weights, which are as fast as any. On one GPU as it is; on
several ``accelerate launch -m tests.bench.lora_speed`` or ``torchrun``. On a CPU a toy shape shows
that it works. Prints one JSON line a case.

Tokens are those of samples, prompts included; filler at the ends of rows is not counted, though its
time is. FLOP are the model's own, without what checkpointing computes again, for each token:
4 x (weights of the linear layers) + 6 x (weights of the adapter) + 6 x layers x (width of the
queries) x (length of the token's sample: halved by causality, once forward and twice backward), and
4 x (weights of the last layer) for each answer, because it reads no other place.
"""

import argparse
import json
import random
import sys
import time
from typing import Any

import numpy as np
import torch

from training.lora import packing
from training.lora.base import adapter_parameters, needs_checkpointing, with_adapter
from training.lora.batches import Layout, ahead
from training.lora.profiles import Profile, profile
from training.lora.stepper import Stepper
from training.lora.tokens import Sample

MEASURED_PEAK = 790e12  # bf16 products on an H200, as measured
NOMINAL_PEAK = 989e12
SHAPES: dict[str, dict[str, int]] = {
    "llama3-8b": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    },
    "smollm2-135m": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    },
    "toy": {
        "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 192,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    },
}  # fmt: skip


def main(words: list[str] | None = None) -> list[dict[str, Any]]:
    """Run each case; what was printed."""
    options = _options(words)
    from accelerate import Accelerator

    gpu = torch.cuda.is_available()
    accelerator = Accelerator(cpu=not gpu)
    shape = options.shape or ("llama3-8b" if gpu else "toy")
    chosen = profile(options.profile, options.changes)
    if not gpu:
        chosen = chosen.model_copy(update={"precision": "fp32", "compile": "off"})
    found = []
    for kind in options.attention or [chosen.attention]:
        for compiled in options.compile or [chosen.compile]:
            case = chosen.model_copy(update={"attention": kind, "compile": compiled})
            found.append({"shape": shape, **_measure(case, shape, options, accelerator)})
            if accelerator.is_main_process:
                print(json.dumps(found[-1]), flush=True)
    return found


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape", choices=sorted(SHAPES), help="default: llama3-8b on a GPU, or toy"
    )
    parser.add_argument("--profile", default="default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--attention", nargs="*", choices=("auto", "sdpa", "flex", "varlen"))
    parser.add_argument("--compile", nargs="*", choices=("auto", "on", "off"))
    parser.add_argument("--steps", type=int, default=20, help="that are timed")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before, and for compiling")
    parser.add_argument(
        "--lengths", type=int, nargs=2, default=(200, 500), metavar=("FROM", "TO"),
        help="tokens of a sample",
    )  # fmt: skip
    return parser.parse_args(words)


def _measure(
    case: Profile, shape: str, options: argparse.Namespace, accelerator: Any
) -> dict[str, Any]:
    device = accelerator.device
    model = _model(case, shape, device)
    config = model.get_base_model().config
    # Before the stepper: it decides by the memory that is free now.
    recomputes = needs_checkpointing(config, case, device)
    stepper = Stepper(model, case, accelerator, checkpointing=recomputes)
    wanted = options.steps + options.warm_up
    plan, samples = _material(case, shape, options, accelerator.num_processes, wanted)
    layout = Layout(
        samples, filler=0, max_length=case.max_length, batch_tokens=case.batch_tokens,
        fixed=stepper.compiled, pinned=device.type == "cuda",
    )  # fmt: skip
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def make(step: packing.Step) -> tuple[packing.Step, list[Any]]:
        mine = step.passes[accelerator.process_index :: accelerator.num_processes]
        return step, [layout.batch(packs) for packs in mine]

    begun, loss = 0.0, torch.zeros(())
    for number, (step, batches) in enumerate(ahead(make, plan)):
        if number == options.warm_up:
            _wait(device)
            begun = time.monotonic()
        loss, _ = stepper.step(batches, step.samples, case.learning_rate)
    _wait(device)
    seconds = time.monotonic() - begun
    timed = plan[options.warm_up :]
    facts = _facts(case, config, timed, samples, seconds, accelerator.num_processes)
    return {
        **facts, "attention": stepper.attention, "compiled": stepper.compiled,
        "checkpointing": recomputes, "loss": round(float(loss), 4),
        "peak_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
        if device.type == "cuda" else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }  # fmt: skip


def _model(case: Profile, shape: str, device: torch.device) -> Any:
    """Random weights, made where they will stay: 16 GB would take long any other way."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch._dynamo.reset()
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=8192, use_cache=False)
    before = torch.get_default_dtype()
    torch.set_default_dtype({"bf16": torch.bfloat16, "fp16": torch.float16}.get(
        case.precision, torch.float32
    ))  # fmt: skip
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    for weight in model.parameters():
        weight.requires_grad_(False)
    return with_adapter(model, case)


def _material(
    case: Profile, shape: str, options: argparse.Namespace, processes: int, steps: int
) -> tuple[list[packing.Step], list[Sample]]:
    chance = np.random.default_rng(0)
    low, high = options.lengths
    tokens = case.batch_tokens * case.accumulation * processes * steps
    count = 2 * tokens // (low + high) + 64
    vocabulary = SHAPES[shape]["vocab_size"]
    samples = [
        Sample(chance.integers(0, vocabulary, length), (5,), (3, 4, 5, 6))
        for length in chance.integers(low, high + 1, count)
    ]
    lengths = [len(one.tokens) for one in samples]
    plan = packing.plan(
        lengths, epochs=2, max_length=case.max_length, batch_tokens=case.batch_tokens,
        packing=case.packing, passes_a_step=case.accumulation * processes, seed=0, max_steps=steps,
    )  # fmt: skip
    random.Random(0).shuffle(plan)
    return plan, samples


def _facts(
    case: Profile, config: Any, plan: list[packing.Step], samples: list[Sample], seconds: float,
    processes: int,
) -> dict[str, Any]:  # fmt: skip
    tokens = sum(step.tokens for step in plan)
    answers = sum(step.samples for step in plan)
    numbers = [n for step in plan for one in step.passes for pack in one for n in pack]
    lengths = np.array([len(samples[number].tokens) for number in numbers], dtype=np.float64)
    flop = flop_of(config, case.rank, tokens, answers, float((lengths**2).sum()))
    rate = flop / seconds / processes
    passes = sum(len(step.passes) for step in plan)
    rows = sum(len(one) for step in plan for one in step.passes)
    return {
        "processes": processes, "batch_tokens": case.batch_tokens, "max_length": case.max_length,
        "steps": len(plan), "passes": passes, "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1),
        "tokens_per_second_per_process": round(tokens / seconds / processes, 1),
        "mean_length": round(float(lengths.mean()), 1),
        "filled": round(tokens / (rows * case.max_length), 4) if case.packing else None,
        "gflop_per_token": round(flop / tokens / 1e9, 3),
        "model_tflops": round(rate / 1e12, 3),
        "share_of_measured_peak": round(rate / MEASURED_PEAK, 4),
        "share_of_nominal_peak": round(rate / NOMINAL_PEAK, 4),
    }  # fmt: skip


def flop_of(config: Any, rank: int, tokens: int, answers: int, squares: float) -> float:
    """The model's floating-point operations. `squares`: of the samples' lengths, summed."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    queries = config.num_attention_heads * size
    keys = config.num_key_value_heads * size
    layer = config.hidden_size * (2 * queries + 2 * keys + 3 * config.intermediate_size)
    linear = config.num_hidden_layers * layer
    head = config.vocab_size * config.hidden_size
    adapter = adapter_parameters(config, rank)
    attention = 6 * config.num_hidden_layers * queries * squares
    return (4 * linear + 6 * adapter) * tokens + attention + 4 * head * answers


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main(sys.argv[1:])
