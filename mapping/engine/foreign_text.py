"""Reads texts of detectors that have no file: verdicts, labels, lines, tables, structures.

Answers with structures in the form of JSON wherever there is one, so that they are read by the same
rules. A text that is written for people yields nothing.
"""

import csv
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from mapping.engine import foreign_words as words
from mapping.engine.bare import pieces_of
from mapping.engine.formats import parse_text

_MAX_CHARS: Final = 200_000
_MAX_LINES: Final = 5_000
_MAX_PIECES_CHARS: Final = 1_000
_MAX_PREFIX: Final = 200
_MAX_VALUE: Final = 300
_MAX_STARTS: Final = 3  # places at which a structure is looked for in a line

_TOKENS: Final = re.compile(
    r"<\|start_header_id\|>\w{1,20}<\|end_header_id\|>|<\|[^|<>\s]{1,40}\|>|</?s>|\[/?INST\]|\ufeff|```"
)
_FENCED: Final = re.compile(r"```[\w-]{0,20}[ \t]*\n(.*?)```", re.DOTALL)
# Not the beginning of a longer name: `unsafe-yaml-use` is a label.
_FIRST_WORD: Final = re.compile(r"\s*([A-Za-z]{4,10})\b(?!-\w)[\s:,.]*(?:[-\u2013\u2014]\s+)?")
_LIST_SIGN: Final = re.compile(r"(?:[-*•●]\s+|\d{1,3}[.)]\s+|#+\s+)")
_PAIR: Final = re.compile(r"\s*[\"']?([^\W\d_][\w .\-/]{0,59}?)[\"']?\s*[:=]\s*(\S.{0,200}|)")
_WORD_PAIR: Final = re.compile(
    r"\b([A-Za-z_][\w.-]{0,40})=(\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'|[^\s,;]+)"
)
_ROW: Final = re.compile(
    r"[\"']?([^\W\d_][\w .\-/]{0,59}?)[\"']?[\s:|,=]+"
    r"(\d\.\d{1,20}|[01]|\d{1,3}(?:\.\d+)?%)\s*\|?"
)
_SIGNED: Final = re.compile(
    r"(?:[-*•]\s+)?(✅|❌|✓|✗|✔|✘|(?:PASS|FAIL)(?:ED)?\b)[\s:]+"
    r"(\S[^(\n]{0,80}?)\s*(?:\((.*)\))?\s*"
)
_CODE: Final = re.compile(r"([A-Z]{1,3}\d{1,3}): .*")  # `S14: Code Interpreter Abuse`
_VAGUE: Final = ("other", "failure")  # ERROR: at the start of a line is the level of a log
_OPENING: Final = re.compile(r"(?:[A-Za-z_][\w.]{0,80}(?=\())?([(\[{<])")
_NOTE: Final = re.compile(r"\s+\([^()]{0,60}\)$")
_RULER: Final = re.compile(r"[\s+|:=-]+")
_BOLD: Final = re.compile(r"\*\*|__|`")


class TextFound(NamedTuple):
    """What a text holds."""

    structures: list[Any]
    verdict: bool | None = None  # True: something was found; False: nothing, said of the whole
    word: str = ""  # of the verdict
    labels: tuple[str, ...] = ()
    contradicts: bool = False  # labels after a verdict of `safe`


_NOTHING: Final = TextFound([])


def read_text(text: str, *, whole: bool) -> TextFound:
    """A text that is no structure itself. `whole`: it is the output, so it may be a bare label."""
    if len(text) > _MAX_CHARS:
        return _NOTHING
    plain = _TOKENS.sub(" ", text).strip()
    if not plain:
        return _NOTHING
    return (
        _verdict(plain)
        or _structures(text if "```" in text else plain)
        or (None if _is_cut_off(plain) else _lines(plain) or (_labels(plain) if whole else None))
        or _NOTHING
    )


def _is_cut_off(text: str) -> bool:
    """Whether the text begins like a structure and does not end like one: its rest is content."""
    opening = _OPENING.match(text)
    return opening is not None and text[-1] != {"(": ")", "[": "]", "{": "}"}.get(opening[1], ">")


def _verdict(text: str) -> TextFound | None:
    """`safe`, `unsafe`, or a verdict with labels after it: `unsafe\\nS1,S2`."""
    stripped = text.strip("\"'#* ")
    if words.says_safe(stripped):
        return TextFound([], False)
    if words.is_plain_unsafe(stripped):
        return TextFound([], True, words.plain(stripped))
    first = _FIRST_WORD.match(text) if len(text) <= _MAX_PIECES_CHARS else None
    if first is None or first[1].casefold() not in ("safe", "unsafe", "flagged", "blocked"):
        return None
    rest = text[first.end() :].strip("[]'\" ")
    pieces = [_CODE.sub(r"\1", piece.strip("'\". ")) for piece in pieces_of(rest)]
    labels = [words.label_of(piece) for piece in pieces]
    known = tuple(label for label in labels if label is not None)
    if not known or len(known) != len(labels):
        return None
    if first[1].casefold() == "safe":
        return TextFound([], None, "", known, contradicts=True)
    return TextFound([], True, words.plain(first[1]), known)


def _structures(text: str) -> TextFound | None:
    """Structures in fences, and those that end a line or the text after a prefix of a log."""
    found = [parse_text(body) for body in _FENCED.findall(text)]
    found = [one for one in found if isinstance(one, dict | list)]
    if not found and ("{" in text or "[" in text):
        lines = text.splitlines()[:_MAX_LINES]
        whole = _after_prefix(text, 1)
        if whole is None and len(lines) > 1:
            found = [one for line in lines if (one := _after_prefix(line)) is not None]
        if whole is None and not found:
            whole = _after_prefix(text)
        found = found if whole is None else [whole]
    return TextFound(found) if found else None


def _after_prefix(text: str, starts: int = _MAX_STARTS) -> Any:
    """A structure that goes to the end of a text, after a few words; None if there is none."""
    start = 0
    for _ in range(starts):
        places = [place for sign in "{[" if (place := text.find(sign, start)) >= 0]
        if not places or min(places) > _MAX_PREFIX:
            return None
        start = min(places)
        body = text[start:].rstrip()
        if body[-1:] in ("}", "]") and isinstance(value := parse_text(body), dict | list):
            return value
        start += 1
    return None


def _lines(text: str) -> TextFound | None:
    lines = [_BOLD.sub("", line).strip() for line in text.splitlines()[:_MAX_LINES]]
    lines = [line for line in lines if line]
    structures = (
        list(_signed(lines)) or _table(lines) or _rows(lines) or _word_pairs(text) or _pairs(lines)
    )
    return TextFound(structures) if structures else None


def _signed(lines: list[str]) -> Iterator[dict[str, Any]]:
    """`❌ Toxicity (score: 0.9)`: a sign, a name, and perhaps more about it."""
    for line in lines:
        match = _SIGNED.fullmatch(line)
        if match is not None and words.label_of(match[2]) is not None:
            record: dict[str, Any] = {}
            for piece in (match[3] or "").split(", "):
                pair = _PAIR.fullmatch(piece)
                if pair is not None and words.role_of(words.normal(pair[1])) in (
                    "score",
                    "severity",
                ):
                    record[pair[1]] = _value(pair[2])
            yield record | {"label": match[2], "verdict": words.plain(match[1])}


def _table(lines: list[str]) -> list[Any]:
    """Rows under a header that names a label, a score or a verdict; in Markdown, ASCII or CSV."""
    sign = "|" if sum("|" in line for line in lines) > 1 else ","
    rows = [line for line in lines if sign in line and not _RULER.fullmatch(line)]
    if len(rows) < 2:
        return []
    if sign == "|":
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    else:
        try:
            cells = list(csv.reader(rows))
        except csv.Error:
            return []
    head = [words.normal(cell) for cell in cells[0]]
    roles = {words.role_of(name) for name in head}
    named = bool(roles & {"label", "weak label"})
    scored = any(name.endswith("score") for name in head) or roles & {"score", "good", "bad"}
    if not (named or scored) or len(head) < 2 or not all(words.label_of(cell) for cell in cells[0]):
        return []
    return [
        {key: _value(cell) for key, cell in zip(cells[0], row, strict=True)}
        for row in cells[1:]
        if len(row) == len(head)
    ]


def _without_sign(line: str) -> str:
    """A line without the sign or number of a list's item."""
    sign = _LIST_SIGN.match(line)
    return line if sign is None else line[sign.end() :]


def _rows(lines: list[str]) -> list[Any]:
    """`hate 0.93`, a label and a score in every line."""
    scores: dict[str, Any] = {}
    for line in lines:
        match = _ROW.fullmatch(_without_sign(line))
        if match is None:
            return []
        label = words.label_of(match[1])
        if label is None or words.role_of(words.normal(label)) != "other":
            return []
        scores[label] = _value(match[2])
    return [{"scores": scores}] if scores else []


def _pairs(lines: list[str]) -> list[Any]:
    """`category: hate` and so on, a record for each time that a name comes again."""
    if len(lines) == 1:
        lines = re.split(r",\s+|;\s*", lines[0].strip("[]"))
    records: list[dict[str, Any]] = [{}]
    strange = 0
    for line in lines:
        match = _PAIR.fullmatch(_without_sign(line).rstrip(","))
        if match is None:
            strange += 1
            continue
        key, value = match[1].strip(), match[2].strip()
        if key in records[-1]:
            records.append({})
        records[-1][key] = _value(value)
    if strange:  # between sentences, a name that every tool uses counts, others do not
        records = [
            {k: v for k, v in one.items() if words.role_of(words.normal(k)) not in _VAGUE}
            for one in records
        ]
    return [one for one in records if one]


def _word_pairs(text: str) -> list[Any]:
    """`label=hate score=0.93` in a log line."""
    found = []
    for line in text.splitlines()[:_MAX_LINES]:
        record = {key: _value(value.strip("\"'")) for key, value in _WORD_PAIR.findall(line)}
        roles = {words.role_of(words.normal(key)) for key in record}
        if len(record) > 1 and roles & {"label", "weak label", "word", "bad", "good"}:
            found.append(
                {k: v for k, v in record.items() if words.role_of(words.normal(k)) not in _VAGUE}
            )
    return [one for one in found if one]


def _value(text: str) -> Any:
    """A cell or the right side of a pair: a boolean, or the text without quotes and notes."""
    if len(text) <= _MAX_VALUE:
        text = _NOTE.sub("", text)
    text = text.strip().strip("\"'").rstrip(",")
    known = {"true": True, "false": False, "null": None, "none": None, "n/a": None}
    return known.get(text.casefold(), text)


def _labels(text: str) -> TextFound | None:
    """A bare label, or several joined by a sign."""
    if len(text) > _MAX_PIECES_CHARS:
        return None
    if words.says_little(text):
        return None
    pieces = [words.label_of(piece) for piece in pieces_of(text.strip("\"'# "))]
    labels = tuple(piece for piece in pieces if piece is not None)
    return TextFound([], None, "", labels) if labels and len(labels) == len(pieces) else None
