"""Rows of a data set folder, checked before anything is trained on them.

A row is a chat whose answer is a letter; several letters may be right. ``training.datasets.store``
verifies every file; here is seen to it that the rows can be learnt from.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from mapping.resolver.prompt import LETTERS
from training.datasets import store
from training.lora.refusals import Refused

_ROLES: Final = ("system", "user")


class Row(NamedTuple):
    """A sample: what is asked, what may be answered, and what is right."""

    id: str
    detector: str
    prompt: tuple[dict[str, str], ...]  # messages
    names: tuple[str, ...]  # options in the order of their letters
    letters: tuple[str, ...]  # the right ones, which share the probability
    answers: tuple[str, ...]  # what is right, offered or not


class DataSet(NamedTuple):
    """A data set folder that has passed all checks."""

    name: str
    digest: str
    edition: str
    train: list[Row]
    validation: list[Row]


def read(folder: Path) -> DataSet:
    """The training and validation rows; there may be none of the latter.

    Raises Refused, which names file, line and fault.
    """
    try:
        stored = store.load(folder)
    except store.StoreError as error:
        raise Refused(str(error)) from None
    manifest = stored.manifest
    rows = {split: _split(folder, manifest, split) for split in ("train", "validation")}
    if not rows["train"]:
        raise Refused(f"{folder} has no training rows: build another data set.")
    shared = {row.detector for row in rows["train"]} & {row.detector for row in rows["validation"]}
    if shared - {""}:
        raise Refused(
            f"The data set leaks: {', '.join(sorted(shared - {''})[:3])} stand in both training "
            "and validation rows. Build it again."
        )
    return DataSet(
        str(manifest["name"]), stored.digest, str(manifest["edition"]),
        rows["train"], rows["validation"],
    )  # fmt: skip


def read_test(folder: Path) -> tuple[str, list[Row]]:
    """The data set's digest, and the rows that its test asks. Raises Refused."""
    try:
        stored = store.load(folder)
    except store.StoreError as error:
        raise Refused(str(error)) from None
    return stored.digest, _split(folder, stored.manifest, "test")


def variations(rows: Sequence[Row]) -> list[list[int]]:
    """Numbers of rows that ask the same label in other ways: epoch e takes one of each."""
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(re.sub(r"#\d+", "", row.id), []).append(number)
    return list(groups.values())


def _split(folder: Path, manifest: Any, split: str) -> list[Row]:
    stated = manifest["splits"][split]
    path = folder / stated["file"]
    rows = list(_rows(path, path.read_bytes()))
    if len(rows) != stated["rows"]:
        raise Refused(f"{path} has {len(rows)} rows, and the manifest says {stated['rows']}.")
    return rows


def _rows(path: Path, content: bytes) -> Iterator[Row]:
    seen: set[str] = set()
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = _row(json.loads(line, parse_constant=_no_number))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            fault = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise Refused(f"{path.name}, line {number}: {fault}.") from None
        if row.id in seen:
            raise Refused(f"{path.name}, line {number}: the id {row.id} was there before.")
        seen.add(row.id)
        yield row


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no value")


def _row(content: dict[str, Any]) -> Row:
    prompt = tuple(
        {"role": str(one["role"]), "content": one["content"]} for one in content["prompt"]
    )
    if tuple(one["role"] for one in prompt) != _ROLES:
        raise ValueError("the prompt must be a system and a user message")
    if not all(isinstance(one["content"], str) and one["content"].strip() for one in prompt):
        raise ValueError("a message of the prompt is empty")
    names, letters = tuple(content["names"]), tuple(content["letters"])
    if not 0 < len(names) <= len(LETTERS) or len(set(names)) != len(names):
        raise ValueError(f"names must be 1 to {len(LETTERS)} different options")
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError("an option has no name")
    offered = LETTERS[: len(names)]
    if not letters or len(set(letters)) != len(letters):
        raise ValueError("letters must be there, each once")
    if not all(isinstance(one, str) and len(one) == 1 and one in offered for one in letters):
        raise ValueError(f"letters {', '.join(map(str, letters))} are not among the options")
    answer = content["completion"]
    if len(answer) != 1 or answer[0]["role"] != "assistant" or answer[0]["content"] not in letters:
        raise ValueError("the completion is none of the right letters")
    answers = tuple(content["answers"])
    if not answers or not all(isinstance(one, str) and one for one in answers):
        raise ValueError("answers must be there")
    detector = str(content.get("detector") or "")
    return Row(str(content["id"]), detector, prompt, names, letters, answers)
