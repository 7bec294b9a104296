"""Rows of a data set folder, checked before anything is trained on them.

A row is a chat whose answer is a letter; several letters may be right. The folder's manifest holds
the SHA-256 of each split's file: a file that has changed since is refused.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from mapping.resolver.prompt import LETTERS
from training.lora.refusals import Refused

FORMAT: Final = 1
_ROLES: Final = ("system", "user")


class Row(NamedTuple):
    """A sample: what is asked, what may be answered, and what is right."""

    id: str
    detector: str
    prompt: tuple[dict[str, str], ...]  # messages
    names: tuple[str, ...]  # options in the order of their letters
    letters: tuple[str, ...]  # the right ones, which share the probability


class DataSet(NamedTuple):
    """A data set folder that has passed all checks."""

    name: str
    digest: str
    edition: str
    train: list[Row]
    validation: list[Row]


def read(folder: Path) -> DataSet:
    """The training and validation rows. Raises Refused, which names file, line and fault."""
    manifest = _manifest(folder)
    rows = {split: _split(folder, manifest, split) for split in ("train", "validation")}
    shared = {row.detector for row in rows["train"]} & {row.detector for row in rows["validation"]}
    if shared - {""}:
        raise Refused(
            f"The data set leaks: {', '.join(sorted(shared - {''})[:3])} stand in both training and "
            "validation rows. Build it again."
        )
    return DataSet(
        str(manifest.get("name", folder.name)),
        str(manifest["digest"]),
        str(manifest.get("edition", "")),
        rows["train"],
        rows["validation"],
    )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise Refused(f"{folder} is no data set: there is no manifest.json.") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read: {error}.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise Refused(f"{path}: format {found!r} is unknown here; this trainer reads {FORMAT}.")
    if not isinstance(manifest.get("digest"), str) or not isinstance(manifest.get("splits"), dict):
        raise Refused(f"{path}: digest and splits must be there. Build the data set again.")
    return manifest


def _split(folder: Path, manifest: dict[str, Any], split: str) -> list[Row]:
    stated = manifest["splits"].get(split)
    if not isinstance(stated, dict) or not {"file", "rows", "sha256"} <= stated.keys():
        raise Refused(f"{folder / 'manifest.json'}: the split {split} is not described.")
    path = folder / Path(str(stated["file"])).name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None
    if hashlib.sha256(content).hexdigest() != stated["sha256"]:
        raise Refused(
            f"{path} is not the file that the manifest names: its SHA-256 differs. It was changed "
            "after the data set was built, or damaged: build it again."
        )
    rows = list(_rows(path, content))
    if len(rows) != stated["rows"]:
        raise Refused(f"{path} has {len(rows)} rows, and the manifest says {stated['rows']}.")
    if not rows:
        raise Refused(f"{path} has no rows: the {split} split must have some.")
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
    return Row(str(content["id"]), str(content.get("detector") or ""), prompt, names, letters)
