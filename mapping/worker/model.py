"""The model in memory: tokens in, log-probabilities of the next token out.

Numbers. Where the processor multiplies bfloat16, the linear layers do; everything between them (the
residual stream, norms, attention) and the last layer stay in float32. Measured against float32
throughout, that is three times as fast and moves a letter's log-probability by 0.05 on average;
bfloat16 throughout is no faster and moves it by 0.13.

One question at a time. Batching several gains a tenth of the time on a CPU, and moves answers by
up to 0.23, by which questions happen to come together. Alone, the same tokens give the same bits.
"""

import copy
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from mapping.resolver.prompt import LETTERS, SYSTEM
from mapping.worker.weights import Adapter, Base, WeightsError

Precision: TypeAlias = Literal["auto", "bf16", "fp32"]
Message: TypeAlias = dict[str, str]
_FAST_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_OUTPUT_LAYER: Final = "lm_head"


class LetterModel:
    """A causal language model, its tokenizer, and the kept state of the system prompt.

    Not thread-safe: one thread reads.
    """

    def __init__(self, base: Base, adapter: Adapter | None, precision: Precision = "auto") -> None:
        self.base = base
        self.adapter = adapter
        self.precision = _chosen(precision)
        self._tokenizer = AutoTokenizer.from_pretrained(base.folder)
        self._model = _load(base, adapter, self.precision)
        self.vocabulary: int = int(self._model.config.vocab_size)
        self.longest: int = int(self._model.config.max_position_embeddings)
        self.letter_tokens = self._letter_tokens()
        self._prefix = self._common_prefix()
        self._kept = self._keep(self._prefix)

    @property
    def name(self) -> str:
        """What a request must ask for."""
        return self.adapter.name if self.adapter else self.base.name

    @property
    def fingerprint(self) -> str:
        """Changes with the weights and with how they are multiplied."""
        parts = [self.base.sha256, self.adapter.sha256 if self.adapter else "", self.precision]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def tokens_of(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a chat whose next message is the assistant's."""
        return self._encode(self._render(messages))

    def text_of(self, token: int) -> str:
        """A token as text."""
        return str(self._tokenizer.decode([token]))

    @torch.inference_mode()
    def log_probs(self, tokens: Sequence[int], wanted: Sequence[int]) -> tuple[int, list[float]]:
        """(most probable next token, log-probabilities of the wanted ones) in one forward pass."""
        cache, left = None, list(tokens)
        length = len(self._prefix)
        if len(left) > length and left[:length] == self._prefix:
            cache, left = copy.deepcopy(self._kept), left[length:]
        output = self._model(
            torch.tensor([left]), cache=cache, use_cache=cache is not None, logits_to_keep=1
        )
        scores = torch.log_softmax(output.logits[0, -1].float(), -1)
        return int(scores.argmax()), [float(scores[token]) for token in wanted]

    def _render(self, messages: Sequence[Message]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, tokenize=False
            )
        )

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _letter_tokens(self) -> dict[str, int]:
        found = {letter: self._encode(letter) for letter in LETTERS}
        if any(len(tokens) != 1 for tokens in found.values()):
            raise WeightsError("This model's tokenizer splits letters: choose another base model.")
        return {letter: tokens[0] for letter, tokens in found.items()}

    def _common_prefix(self) -> list[int]:
        """What every prompt of ours begins with."""
        first, second = (
            self.tokens_of([{"role": "system", "content": SYSTEM}, {"role": "user", "content": c}])
            for c in "AB"
        )
        count = next(
            i for i, pair in enumerate(zip(first, second, strict=False)) if len({*pair}) > 1
        )
        return first[:count]

    @torch.inference_mode()
    def _keep(self, tokens: list[int]) -> DynamicCache:
        cache = DynamicCache()
        self._model(torch.tensor([tokens]), cache=cache, use_cache=True, logits_to_keep=1)
        return cache


class MixedLinear(nn.Module):
    """A linear layer that multiplies in bfloat16 and hands on what it was given."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().to(torch.bfloat16), requires_grad=False)
        bias = None if layer.bias is None else layer.bias.detach().to(torch.bfloat16)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        """States x weights, in the states' type."""
        return functional.linear(states.to(torch.bfloat16), self.weight, self.bias).to(states.dtype)


def fast_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bfloat16 itself."""
    try:
        text = cpuinfo.read_text("utf-8", errors="replace")
    except OSError:
        return False
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return bool(found and _FAST_FLAGS & set(found.group(1).split()))


def _chosen(precision: Precision) -> str:
    if precision != "auto":
        return precision
    return "bf16" if fast_bfloat16() else "fp32"


def _load(base: Base, adapter: Adapter | None, precision: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    if adapter:
        from peft import PeftModel

        # The weights are read into `model` itself: nothing of PEFT is left when it answers.
        adapted = PeftModel.from_pretrained(model, str(adapter.folder))
        model = adapted.merge_and_unload(safe_merge=True)
    if precision == "bf16":
        _use_mixed_layers(model)
    return model.eval().requires_grad_(False)


def _use_mixed_layers(model: nn.Module) -> None:
    """All linear layers but the last one: letters' log-probabilities need its full precision."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and name != _OUTPUT_LAYER:
                setattr(module, name, MixedLinear(child))
