"""Tells strings that may be recorded (labels, references) from strings that may carry raw text.

A detector's output can hold anything at any place, also personal data where a label belongs. What
does not look like a label is therefore kept as a keyed hash only. The check is by shape and by
pattern: it cannot know that two plain words are somebody's name.
"""

import base64
import re
from typing import Final

MAX_LABEL_CHARS: Final = 100
MAX_LABEL_WORDS: Final = 6
# Longer ones must not begin like a sentence: a capital, then mostly small letters.
MAX_SENTENCE_LIKE_WORDS: Final = 4
# Other scripts: no list of sentence words helps there, and some put no spaces between words.
MAX_FOREIGN_WORDS: Final = 3
MAX_FOREIGN_CHARS: Final = 24
MAX_UNSPACED_CHARS: Final = 10
MAX_REF_CHARS: Final = 200

_LABEL = re.compile(r"[\w \-./:+&()\[\]#,'|%=*]+")
_REF = re.compile(r"[!-~]+")
_SENTENCE_END = re.compile(r"[.,:;]$|[.;] |, .*, ")
# Whole words that make three or more words a sentence; vendors' labels hardly ever have them.
_SENTENCE_WORDS = frozenset(
    (
        "i", "i'm", "my", "mine", "me", "you", "your", "yours", "he", "she", "him", "his",
        "her", "hers", "it", "its", "we", "us", "our", "they", "them", "their", "is", "are",
        "was", "were", "am", "be", "been", "has", "have", "had", "do", "does", "did", "will",
        "would", "can", "could", "should", "must", "the", "a", "an", "this", "that", "these",
        "those", "please", "who", "what", "when", "where", "why", "how", "because",
    )
)  # fmt: skip

# Personal data and secrets that are recognised wherever they stand, in labels and references.
_SENSITIVE = re.compile(
    r"""
      [^\s@/:]@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}                    # e-mail address
    | (?<!\d)\d{3}[-. ]\d{2}[-. ]\d{4}(?!\d)                    # SSN
    | (?<!\d)\+?(?:\d{1,3}[-. ])?\(?\d{3}\)?[-. ]?\d{3}[-. ]\d{4}(?!\d)  # telephone
    | \+\d[\d .()-]{7,}\d                                       # telephone, international
    | (?<![\w.])[1-9]\d{1,2}(?:\.\d{1,3}){3}(?![\w.])           # IPv4; 1.2.3.4 is a version
    | (?<![\w:])(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}              # IPv6
    | (?<![\w:])(?:[0-9a-f]{1,4}:){1,6}:[0-9a-f]{0,4}           # IPv6, shortened
    | (?<![0-9a-f])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![0-9a-f])  # MAC
    | (?<![a-z0-9])[a-z]{2}\d{2}(?:\ ?[a-z0-9]{4}){2,7}(?:\ ?[a-z0-9]{1,4})?(?![a-z0-9])  # IBAN
    | eyj[\w-]{8,}\.                                            # JSON web token
    | (?<![a-z0-9])(?:akia|asia|aroa|aida)[a-z0-9]{12,}         # AWS
    | (?<![a-z0-9])(?:gh[pousr]_|github_pat_|glpat-|xox[a-z]-|xapp-)[\w-]{8,}  # GitHub, Slack
    | (?<![a-z0-9])(?:sk|pk|rk)[-_](?:live|test|proj|ant|or)?[-_]?[\w-]{16,}   # OpenAI, Stripe, ...
    | (?<![a-z0-9])(?:ya29\.|sg\.|sq0[a-z]{3}-)[\w-]{16,}       # Google, SendGrid, Square
    | (?<![a-z0-9])(?:aiza|pypi-)[\w-]{30,}                     # Google, PyPI
    | (?<![a-z0-9])(?:npm_|hf_|dop_v1_|shp[a-z]{2}_|key-)[a-z0-9]{20,}  # npm, Hugging Face, ...
    | -----begin
    | ://[^/\s:@]*:[^/\s@]+@                                    # credentials in an address
    | ://[^/\s:@]*:(?!\d{1,5}(?:[/?#]|$))[^/\s@]*$             # the same, cut off; no port
    | (?:password|passwd|pwd|secret|token|api_?key|sig(?:nature)?)\s*=\s*\S    # an assignment
    | bearer\s+[\w.-]{8,}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
# More digits than any label has.
_DIGIT_RUN = re.compile(r"\d{6}")
_DATE = re.compile(
    r"(?<!\d)(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?!\d)"
)
_SHORT_PHONE = re.compile(r"(?<!\d)\d{3}[-. ]\d{4}(?!\d)")
_HEX_TOKEN = re.compile(r"(?<![A-Za-z])(?=[a-fA-F]*\d)[0-9a-fA-F]{12,}(?![A-Za-z])")
_SEGMENT = re.compile(r"[A-Za-z0-9+/=]{16,}")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_CAMEL_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SSN_DIGITS = re.compile(r"(?!000|666|9)\d{3}(?!00)\d{2}(?!0000)\d{4}")


def _luhn(digits: str) -> bool:
    """Checksum of payment card numbers, ISO/IEC 7812-1 annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if place % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def _has_card(text: str) -> bool:
    return any(_luhn(re.sub(r"\D", "", match.group())) for match in _CARD.finditer(text))


def _is_random(text: str) -> bool:
    """Whether a part of the text looks drawn at random: many short runs of case and digits.

    Labels are made of words: `PackageHallucinationDetector` has words of 9 letters on average,
    a base64 key runs of about 2.
    """
    if _HEX_TOKEN.search(text):
        return True
    for segment in _SEGMENT.findall(text):
        words = _CAMEL_WORD.findall(segment)
        if words and len(segment) / len(words) < 3.5:
            return True
    return False


def recordable_label(text: str) -> bool:
    """Whether a string of unknown origin has a label's shape and nothing personal or secret in it.

    At most 100 characters and 6 words (fewer in other scripts), no sentence, no e-mail address,
    telephone, SSN, card, IBAN, IP address, key, token, date or long run of digits.
    """
    if not 0 < len(text) <= MAX_LABEL_CHARS or not _LABEL.fullmatch(text):
        return False
    words = text.split()
    if len(words) > MAX_LABEL_WORDS or text != " ".join(words) or _SENTENCE_END.search(text):
        return False
    if len(words) > MAX_SENTENCE_LIKE_WORDS and _begins_a_sentence(words):
        return False
    if not text.isascii() and not _short_foreign(text, len(words)):
        return False
    if len(words) > 2 and not _SENTENCE_WORDS.isdisjoint(word.casefold() for word in words):
        return False
    digits = sum(map(str.isdigit, text))
    if digits > 8 or (not any(map(str.isalpha, text)) and not (text.isdecimal() and digits < 4)):
        return False
    return not (
        _DIGIT_RUN.search(text)
        or _DATE.search(text)
        or _SHORT_PHONE.search(text)
        or _SENSITIVE.search(text)
        or _is_random(text)
    )


def _begins_a_sentence(words: list[str]) -> bool:
    small = sum(word[0].islower() for word in words[1:])
    return words[0][0].isupper() and small > (len(words) - 1) / 2


def _short_foreign(text: str, words: int) -> bool:
    if words > MAX_FOREIGN_WORDS or len(text) > MAX_FOREIGN_CHARS:
        return False
    return all(len(run) <= MAX_UNSPACED_CHARS for run in _UNSPACED.findall(text))


def _hides_text(reference: str) -> bool:
    """Whether an identifier is a sentence with its spaces replaced, or text in base64."""
    words = [word.casefold() for word in re.split(r"[+_.~-]+", reference) if word]
    if len(words) > 4 and sum(word in _SENTENCE_WORDS for word in words) > 1:
        return True
    for found in _BASE64.findall(reference):
        padded = found.rstrip("=").translate({45: "+", 95: "/"})
        raw = base64.b64decode(padded[: len(padded) // 4 * 4])
        text = raw.decode("utf-8", "ignore")
        if text.count(" ") > 1 and len(text) > len(raw) * 0.9 and text.isprintable():
            return True
    return False


def recordable_ref(text: str) -> bool:
    """Whether an identifier or URI (raw_ref, route, version) may be stored.

    At most 200 visible ASCII characters without spaces, no personal data and no secret by pattern,
    no sentence with its spaces replaced and no text in base64.
    Long numbers and hashes are what identifiers are made of and pass, card numbers and SSNs do not.
    """
    if not 0 < len(text) <= MAX_REF_CHARS or not _REF.fullmatch(text):
        return False
    return not (
        _SENSITIVE.search(text)
        or _has_card(text)
        or _SSN_DIGITS.fullmatch(text)
        or _hides_text(text)
    )
