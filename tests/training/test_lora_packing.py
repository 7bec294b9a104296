"""Packing is an arrangement alone: it changes no answer, no loss and no gradient."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from training.lora import attention
from training.lora.batches import Batch, Layout, ahead
from training.lora.linear import speed_up
from training.lora.packing import best_fit_decreasing, passes_of, plan
from training.lora.profiles import profile
from training.lora.stepper import rate_at
from training.lora.tokens import Sample

LENGTHS = (30, 17, 50, 8, 41, 23)
ROW = 64


def adapted() -> Any:
    """A small Llama whose adapter does something, float32."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    settings = LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", use_rslora=True, task_type="CAUSAL_LM"
    )
    model = get_peft_model(LlamaForCausalLM(config), settings)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    chance = np.random.default_rng(1)
    return [Sample(chance.integers(1, 400, length), (5,), (4, 5, 6)) for length in LENGTHS]


def layout(samples: list[Sample], *, fixed: bool = False) -> Layout:
    return Layout(
        samples, filler=0, max_length=ROW, batch_tokens=3 * ROW, fixed=fixed, pinned=False
    )


def answers(model: Any, batch: Batch, kind: str) -> torch.Tensor:
    """Logits where the answers begin, by number of the sample."""
    inner = model.get_base_model()
    attention.use(inner, kind)
    states = inner.model(
        input_ids=batch.ids, position_ids=batch.positions, use_cache=False,
        **attention.inputs(kind, batch.owners, batch.bounds, batch.longest),
    ).last_hidden_state  # fmt: skip
    found = inner.lm_head(states.flatten(0, 1).index_select(0, batch.places))
    return found[torch.tensor(batch.numbers).argsort()]


def alone(model: Any, samples: list[Sample]) -> torch.Tensor:
    """The same by transformers' own way: one sample at a time, logits of every place."""
    attention.use(model.get_base_model(), "sdpa")
    return torch.stack([model(torch.tensor(one.tokens)[None]).logits[0, -1] for one in samples])


@pytest.mark.parametrize(
    ("kind", "fixed"), [("sdpa", 0), ("varlen", 0), ("varlen", 1), ("flex", 1)]
)
def test_packed_samples_are_read_as_if_they_were_alone(
    samples: list[Sample], kind: str, fixed: int
) -> None:
    model = adapted()
    passes = passes_of(LENGTHS, range(len(LENGTHS)), ROW, 3 * ROW, True)
    assert [len(one) for one in passes] == [3]  # of six samples, in three rows
    batch = layout(samples, fixed=bool(fixed)).batch(passes[0])
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        packed = answers(model, batch, kind)
        torch.testing.assert_close(packed, alone(model, samples), atol=1e-5, rtol=1e-5)
        # Without the bounds of samples it is not so: the comparison sees contamination.
        blind = batch._replace(owners=torch.zeros_like(batch.owners))
        if kind != "varlen":
            assert (answers(model, blind, kind) - packed).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["sdpa", "varlen"])
def test_neighbours_in_a_row_change_nothing(samples: list[Sample], kind: str) -> None:
    model = adapted()
    (packs,) = passes_of(LENGTHS, range(len(LENGTHS)), ROW, 3 * ROW, True)
    others = [
        one if number == 1 else one._replace(tokens=(one.tokens * 7) % 399 + 1)
        for number, one in enumerate(samples)
    ]
    with torch.no_grad():
        first = answers(model, layout(samples).batch(packs), kind)
        second = answers(model, layout(others).batch(packs), kind)
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])


def test_the_faster_product_is_pefts_in_value_and_gradient(samples: list[Sample]) -> None:
    slow, fast = adapted(), adapted()
    assert speed_up(fast) == 14
    found = []
    for model, kind in ((slow, "sdpa"), (fast, "varlen")):
        passes = passes_of(LENGTHS, range(len(LENGTHS)), ROW, 3 * ROW, kind == "varlen")
        logits = [answers(model, layout(samples).batch(packs), kind) for packs in passes]
        sum(one.log_softmax(-1)[:, 5].sum() for one in logits).backward()
        found.append({
            name: one.grad for name, one in model.named_parameters() if one.requires_grad
        })  # fmt: skip
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-3, msg=name)


def test_auto_takes_the_kernel_that_agrees_with_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    device, heads = torch.device("cpu"), (4, 2, 16)
    assert attention.agrees(device, torch.float32, heads)
    # A kernel that runs samples into each other is found out.
    right = attention._by_sample
    monkeypatch.setattr(
        attention, "_by_sample",
        lambda q, k, v, bounds, scale: right(q, k, v, torch.tensor([0, 64]), scale),
    )  # fmt: skip
    assert not attention.agrees(device, torch.float32, heads)


def test_rows_are_filled_well_and_nothing_is_lost() -> None:
    chance = random.Random(0)
    lengths = [chance.randint(80, 500) for _ in range(500)]
    packs = best_fit_decreasing(lengths, range(500), 2048)
    assert sorted(number for pack in packs for number in pack) == list(range(500))
    assert all(sum(lengths[number] for number in pack) <= 2048 for pack in packs)
    assert sum(lengths) / (2048 * len(packs)) > 0.97
    with pytest.raises(ValueError, match="sample 0 has 3 tokens, and a row has 2"):
        best_fit_decreasing([3], [0], 2)


def test_a_plan_takes_each_sample_once_an_epoch_whoever_computes_it() -> None:
    lengths = [50 + number % 37 for number in range(100)]
    settings: dict[str, Any] = {
        "epochs": 2, "max_length": 256, "batch_tokens": 512, "packing": True, "seed": 3,
    }  # fmt: skip
    steps = plan(lengths, passes_a_step=4, **settings)
    for epoch in (0, 1):
        numbers = [
            number
            for step in steps if step.epoch == epoch
            for one in step.passes for pack in one for number in pack
        ]  # fmt: skip
        assert sorted(numbers) == list(range(100))
    assert steps == plan(lengths, passes_a_step=4, **settings)
    assert steps[0].passes != plan(lengths, passes_a_step=4, **settings | {"seed": 4})[0].passes
    assert plan(lengths, passes_a_step=4, max_steps=3, **settings) == steps[:3]
    # Of 100 samples that are 4 variations each of 25 labels, an epoch takes one of each label.
    groups = [[number, number + 25, number + 50, number + 75] for number in range(25)]
    for step in plan(lengths, passes_a_step=4, variations=groups, **settings):
        for number in (n for one in step.passes for pack in one for n in pack):
            assert number // 25 == step.epoch


def test_layout_ahead_hands_on_errors_and_ends() -> None:
    assert list(ahead(lambda one: one * 2, range(20))) == [one * 2 for one in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda one: 1 / one, [1, 0]))
    few = ahead(lambda one: [one], range(10**9))
    assert next(few) == [0]
    few.close()  # returns although much is left


def test_the_rate_warms_up_and_falls() -> None:
    chosen = profile("default", ["warm_up=0.1"])
    rates = [rate_at(chosen, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(2e-5)
    assert max(rates) == rates[9] == pytest.approx(2e-4)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-6
