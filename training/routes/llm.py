"""What the routes with a language model share: model, adapter, prompts, names as tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from mapping.engine.propose import words
from mapping.resolver.prompt import build_prompt
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion, Option
from mapping.worker.model import MixedLinear, fast_bfloat16
from training.lora.model import load, plain, with_adapter
from training.routes.base import Array, Route, Settings

SYSTEM: Final = (
    "A safety detector reported a label. Name the kind of finding that it stands for, "
    "from the general to the special."
)
_OUTPUT_LAYER: Final = "lm_head"


class LanguageRoute(Route):
    """A base model with a new adapter. Reads its weights from `base` once, on `device`."""

    def __init__(
        self, texts: Mapping[str, str], taxonomy: Mapping[str, Any], base: Path, device: str,
        settings: Settings,
    ) -> None:  # fmt: skip
        super().__init__(texts, taxonomy)
        self.device = device
        self.settings = settings
        self.tokenizer, model = load(base, device)
        self.model: Any = with_adapter(plain(model), settings.seed)
        self.pad: int = int(self.tokenizer.pad_token_id)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The model with its adapter."""
        return (self.model,)

    @property
    def causal(self) -> Any:
        """The model with its output layer, whether it still has an adapter or not."""
        inner = getattr(self.model, "get_base_model", None)
        return inner() if inner else self.model

    def for_serving(self) -> None:
        """The adapter is merged; linear layers multiply in bfloat16 where the processor does."""
        self.model = self.model.merge_and_unload().eval().requires_grad_(False)
        if self.device == "cpu" and fast_bfloat16():
            for module in list(self.model.modules()):
                for name, child in list(module.named_children()):
                    if isinstance(child, nn.Linear) and name != _OUTPUT_LAYER:
                        setattr(module, name, MixedLinear(child))

    def prompt(self, question: LabelQuestion) -> list[int]:
        """Tokens of a chat that asks about a label and offers no options."""
        return self.chat(SYSTEM, self.asked(question))

    @staticmethod
    def asked(question: LabelQuestion) -> str:
        """The lines of the project's prompt that come before the options."""
        lines = build_prompt(question, [Option(NONE_OF_THESE, "")]).user.split("\n")
        return "\n".join(lines[:-1])

    def chat(self, system: str, user: str) -> list[int]:
        """Tokens up to where the answer begins."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "system", "content": system}, {"role": "user", "content": user}],
            add_generation_prompt=True,
            tokenize=False,
        )
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def completions(self) -> list[list[int]]:
        """Each answer's name in words as tokens, ended."""
        end = [int(self.tokenizer.eos_token_id)]
        return [
            list(self.tokenizer(name_text(name), add_special_tokens=False)["input_ids"]) + end
            for name in self.names
        ]


def name_text(name: str) -> str:
    """A canonical label as a model writes it: `PII.Contact.Email` is `pii contact email`."""
    if name == NOT_A_FINDING:
        return "no finding"
    if name == NONE_OF_THESE:
        return "none of these"
    return " ".join(words(name)) or name


def batches(count: int, size: int) -> list[range]:
    """Rows in parts."""
    return [range(at, min(count, at + size)) for at in range(0, count, size)]


def in_shortlists(scores: Array, shortlists: Array) -> Array:
    """Of scores of all answers those of the shortlists."""
    import numpy as np

    return np.take_along_axis(scores, shortlists, axis=1).astype(np.float32)


def no_nan(values: torch.Tensor) -> torch.Tensor:
    """FloatingPointError for values that are none: they would be taken for answers."""
    if not bool(torch.isfinite(values).all()):
        raise FloatingPointError("The model's states are no numbers.")
    return values
