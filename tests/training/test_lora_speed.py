"""The measurement of training speed runs at a toy size, and counts as docs/training.md says."""

import pytest
from transformers import LlamaConfig

from tests.bench.lora_speed import SHAPES, flop_of, main


def test_the_measurement_runs() -> None:
    words = [
        "--steps",
        "2",
        "--warm-up",
        "1",
        "--lengths",
        "20",
        "60",
        "--attention",
        "varlen",
        "sdpa",
    ]
    changes = ["--set", "max_length=128", "--set", "batch_tokens=512"]
    varlen, sdpa = main([*words, *changes])
    assert (varlen["attention"], sdpa["attention"]) == ("varlen", "sdpa")
    assert varlen["loss"] == pytest.approx(sdpa["loss"], rel=1e-3)
    assert varlen["tokens_per_second"] > 0
    assert 0.8 < varlen["filled"] <= 1
    assert varlen["steps"] == 2


@pytest.mark.parametrize(("length", "expected"), [(256, 30.5), (2048, 31.9)])
def test_flop_of_the_8b_shape_are_those_computed_by_hand(length: int, expected: float) -> None:
    """With the last layer at every token, as plain trainers have it."""
    config = LlamaConfig(**SHAPES["llama3-8b"])
    found = flop_of(config, 16, length, length, length**2)
    assert found / length / 1e9 == pytest.approx(expected, abs=0.06)
    # With one answer a sample, the last layer costs next to nothing.
    assert (found - flop_of(config, 16, length, 1, length**2)) / length / 1e9 == pytest.approx(
        2.1, abs=0.05
    )
