"""From rows to token ids, by the base model's own chat template, checked before training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from mapping.resolver.prompt import LETTERS
from training.lora.refusals import Refused
from training.lora.rows import Row

_CHUNK: Final = 1024
# Weights are often padded to a round number of tokens; a tokenizer of another model misses more.
_MOST_MISSING: Final = 0.02


class Sample(NamedTuple):
    """A row as the model reads it: the answer's letter would be the next token."""

    tokens: np.ndarray  # int64, of the prompt
    right: tuple[int, ...]  # tokens of the right letters
    offered: tuple[int, ...]  # tokens of all options' letters, in order


def tokenizer_of(base: Path, vocabulary: int) -> Any:
    """The tokenizer in a base model's folder. Raises Refused if it does not fit this model.

    `vocabulary`: rows of the model's embedding.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Refused(f"{base} holds no tokenizer that can be read: {_first_line(error)}") from None
    size = len(tokenizer)
    if size > vocabulary or vocabulary - size > _MOST_MISSING * vocabulary:
        raise Refused(
            f"The tokenizer in {base} has {size} tokens and the model {vocabulary}: it belongs to "
            "another model."
        )
    if not getattr(tokenizer, "chat_template", None):
        raise Refused(
            f"The tokenizer in {base} has no chat template: take the instruction-tuned model, not "
            "its plain base."
        )
    return tokenizer


def letter_tokens(tokenizer: Any) -> dict[str, int]:
    """Token of each letter where an answer begins. Raises Refused if a letter is no single one."""
    found = {one: list(tokenizer.encode(one, add_special_tokens=False)) for one in LETTERS}
    split = [letter for letter, ids in found.items() if len(ids) != 1]
    tokens = {letter: ids[0] for letter, ids in found.items() if ids}
    if split or len(set(tokens.values())) != len(LETTERS):
        raise Refused(
            f"This tokenizer has no token of its own for {', '.join(split) or 'each letter'}: the "
            "answer could not be read in one step. Choose another base model."
        )
    return tokens


def filler_token(tokenizer: Any) -> int:
    """What fills the ends of rows; it is never attended to by a sample."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    return 0


def encode(tokenizer: Any, rows: Sequence[Row], max_length: int) -> list[Sample]:
    """Samples of rows, in order. Raises Refused for one that is longer than `max_length`."""
    letters = letter_tokens(tokenizer)
    samples: list[Sample] = []
    for at in range(0, len(rows), _CHUNK):
        part = rows[at : at + _CHUNK]
        texts = [
            tokenizer.apply_chat_template(
                list(row.prompt), add_generation_prompt=True, tokenize=False
            )
            for row in part
        ]
        if at == 0:
            _check_boundary(tokenizer, texts[0], letters[part[0].letters[0]], part[0].letters[0])
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
        for row, ids in zip(part, encoded, strict=True):
            if len(ids) > max_length:
                raise Refused(
                    f"The row {row.id} has {len(ids)} tokens, and max_length is {max_length}: "
                    "set it higher."
                )
            offered = tuple(letters[letter] for letter in LETTERS[: len(row.names)])
            right = tuple(letters[letter] for letter in row.letters)
            samples.append(Sample(np.array(ids, dtype=np.int64), right, offered))
    return samples


def _check_boundary(tokenizer: Any, text: str, token: int, letter: str) -> None:
    """The letter must be one token of its own also behind the prompt."""
    alone = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    together = list(tokenizer(text + letter, add_special_tokens=False)["input_ids"])
    if together != [*alone, token]:
        raise Refused(
            "With this chat template the answer's letter melts into the prompt's last token: "
            "choose another base model."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
