"""`python -m deploy.vllm.four_bits --model DIR --prompts train.jsonl --out DIR`: AWQ for vLLM.

Weights of the base model as 4-bit integers in groups of 128, with the scales found by AWQ
(activation-aware weight quantization, Lin et al. 2024) on prompts of a training data set. Adapters
are loaded beside it as beside the base itself. Wants an environment of its own with llmcompressor,
which needs an older transformers than Pillars: `pip install llmcompressor`. Then:
`python -m deploy.vllm --model OUT --quantization awq`.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_CANNOT: Final = 3
_GROUP: Final = 128  # weights that share a scale


def main() -> int:
    """Quantize; write the folder."""
    parser = argparse.ArgumentParser(prog="python -m deploy.vllm.four_bits", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--prompts", type=Path, required=True, help="train.jsonl of a data set")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--samples", type=int, default=256, help="prompts to calibrate on")
    parser.add_argument("--length", type=int, default=512, help="longest prompt in tokens")
    options = parser.parse_args()
    if options.out.exists():
        print(f"{options.out} is there already: name another folder.", file=sys.stderr)
        return _CANNOT
    try:
        chats = list(itertools.islice(read_chats(options.prompts), options.samples))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{options.prompts} holds no prompts ({type(error).__name__}).", file=sys.stderr)
        return _CANNOT
    try:
        quantize(options.model, chats, options.out, options.length)
    except ImportError as error:
        print(f"{error.name} is not installed: pip install llmcompressor.", file=sys.stderr)
        return _CANNOT
    return 0


def read_chats(path: Path) -> Iterator[list[dict[str, str]]]:
    """The prompts of a data set's samples."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["prompt"]


def quantize(model: Path, chats: list[list[dict[str, str]]], out: Path, length: int) -> None:
    """Write `out` as vLLM reads it (compressed-tensors)."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(model)
    oneshot(
        model=loaded,
        tokenizer=tokenizer,
        dataset=_loader(tokenizer, chats, length),
        recipe=[
            AWQModifier(),
            QuantizationModifier(ignore=["lm_head"], config_groups={"weights": _scheme(loaded)}),
        ],
        num_calibration_samples=len(chats),
        max_seq_length=length,
        output_dir=str(out),
    )
    tokenizer.save_pretrained(out)


def _scheme(model: Any) -> dict[str, Any]:
    """4 bits, asymmetric, in groups that divide the model's layers."""
    group = _GROUP
    while model.config.hidden_size % group or model.config.intermediate_size % group:
        group //= 2
    weights = {
        "num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": group,
    }  # fmt: skip
    return {"targets": ["Linear"], "weights": weights}


def _loader(tokenizer: Any, chats: list[list[dict[str, str]]], length: int) -> Any:
    """One prompt at a time: no padding is calibrated on."""
    from torch.utils.data import DataLoader

    texts = [
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        for chat in chats
    ]
    rows = [
        tokenizer(
            text, add_special_tokens=False, truncation=True, max_length=length, return_tensors="pt"
        )
        for text in texts
    ]
    return DataLoader([dict(row) for row in rows], batch_size=1, collate_fn=lambda rows: rows[0])


if __name__ == "__main__":
    sys.exit(main())
