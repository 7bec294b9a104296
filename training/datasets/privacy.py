"""Finds what looks like somebody's data or a real secret in texts that may hold neither.

Ranges that nobody has are let through: example domains (RFC 2606), documentation addresses
(RFC 5737, 3849, 7042), 555-01xx telephones, test card numbers, Social Security areas 000 and 9xx
with groups below 50, IBANs of the country XX, and keys that say `example`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from training.datasets.patterns import luhn


class _Kind(NamedTuple):
    regex: re.Pattern[str]
    reserved: Callable[[str], bool]


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _card(text: str) -> bool:
    """Whether it is no card: another checksum, leading zeros, or a test number."""
    digits = _digits(text)
    return not luhn(digits) or digits.startswith(("0000", "411111", "55555555", "10000"))


def _marked(text: str) -> bool:
    return "example" in text.casefold()


_KINDS: Final[Mapping[str, _Kind]] = {
    "e-mail address": _Kind(
        re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII),
        lambda text: text.casefold().endswith(("example.com", "example.org", "example.net")),
    ),
    "card number": _Kind(re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.])"), _card),
    "Social Security number": _Kind(
        re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
        lambda text: text.startswith("000") or (text[0] == "9" and text[4] < "5"),
    ),
    "telephone number": _Kind(
        re.compile(r"(?<![\w-])(?:\+\d{8,15}|\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4})(?![\w-])"),
        lambda text: _digits(text)[-7:-2] == "55501",
    ),
    "IP address": _Kind(
        re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"),
        lambda text: (
            text.startswith(("192.0.2.", "198.51.100.", "203.0.113.", "127.", "169.254.", "0."))
            or max(map(int, text.split("."))) > 255
            or max(map(int, text.split("."))) < 10
        ),  # a version
    ),
    "MAC address": _Kind(
        re.compile(r"(?<![\w:])[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}(?![\w:])"),
        lambda text: text.upper().startswith("00:00:5E:00:53"),
    ),
    "IBAN": _Kind(
        re.compile(r"(?<!\w)[A-Z]{2}\d{2}[A-Z0-9]{11,30}(?!\w)"),
        lambda text: text.startswith("XX") or sum(map(str.isdigit, text)) < 8,
    ),
    "private key": _Kind(
        re.compile(r"-----BEGIN [A-Z ]*KEY-----\s*[A-Za-z0-9+/=]{16,}"), lambda _text: False
    ),
    "key or token": _Kind(
        re.compile(
            # Each has a figure somewhere; `hf_classifier_check_output` is a label.
            r"(?<![A-Za-z0-9])(?=[\w.-]*\d)(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,}"
            r"|glpat-[\w-]{16,}|xox[a-z]-[\w-]{16,}|sk-[\w-]{20,}|AIza[\w-]{30,}|hf_\w{20,}"
            r"|npm_\w{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"
        ),
        _marked,
    ),
    "password": _Kind(
        re.compile(r"://[^/\s:@]*:[^/\s@]+@|(?:passwd|pwd|password)=[^\s\[\]{},;:]{4,}"), _marked
    ),
}


def raw_looking(text: str) -> Iterator[str]:
    """Kinds of data in a text that look real. The text itself is never given on."""
    for kind, (regex, reserved) in _KINDS.items():
        if any(not reserved(found.group()) for found in regex.finditer(text)):
            yield kind
