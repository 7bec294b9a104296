"""What a model says of each option: the letters' log-probabilities where the answer begins."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from mapping.resolver.prompt import LETTERS
from mapping.resolver.types import Prompt
from mapping.worker.environment import prepare_environment
from training.lora import base as bases
from training.lora.model import answer_logits, encode, letter_ids
from training.lora.profiles import Profile
from training.lora.refusals import Refused
from training.lora.rows import Row
from training.lora.tokens import filler_token, letter_tokens, tokenizer_of

Array = np.ndarray[Any, Any]
SLOTS: Final = len(LETTERS)
_BATCH: Final = 64


class Reader:
    """A base model with an adapter, or without one, that is asked and not trained."""

    def __init__(self, base: str, cache: Path, adapter: Path | None, precision: str) -> None:
        """`base`: see bases.find. `precision`: bf16, fp16, fp32. Raises Refused."""
        prepare_environment()
        found = bases.find(base, cache)
        config = bases.config_of(found)
        self._tokenizer = tokenizer_of(found.folder, int(config.vocab_size))
        letter_tokens(self._tokenizer)
        self._tokenizer.pad_token_id = filler_token(self._tokenizer)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        profile = Profile(name="reading", precision=precision)
        self._model = bases.load(found, profile, device)
        if adapter is not None:
            self._model = _adapted(self._model, adapter)

    def read(self, rows: Sequence[Row]) -> Array:
        """Rows x 26, as of `read`."""
        prompts = [
            Prompt(row.prompt[0]["content"], row.prompt[1]["content"], row.names) for row in rows
        ]
        return read(self._tokenizer, self._model, prompts)


def _adapted(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise Refused(f"The adapter in {adapter} cannot be used: {error}") from None


@torch.no_grad()
def read(tokenizer: Any, model: Any, prompts: Sequence[Prompt]) -> Array:
    """Log-probabilities of the letters in the whole vocabulary: prompts x 26, unused ones NaN."""
    training = model.training
    model.eval()
    device = str(model.device)
    tokens = letter_ids(tokenizer)
    found = np.full((len(prompts), SLOTS), np.nan, dtype=np.float32)
    for numbers in _batches(prompts):
        part = [prompts[number] for number in numbers]
        logits = answer_logits(model, *encode(tokenizer, part, device))
        logs = logits.log_softmax(-1)[:, tokens].cpu().numpy()
        for number, row in zip(numbers, logs, strict=True):
            used = len(prompts[number].names)
            found[number, :used] = row[:used]
    model.train(training)
    return found


def _batches(prompts: Sequence[Prompt]) -> Iterator[list[int]]:
    """Prompts of about one length together: little is filled up."""
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number].user))
    for at in range(0, len(order), _BATCH):
        yield order[at : at + _BATCH]
