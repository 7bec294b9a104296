r"""Regular expressions of invented detectors, and texts that they match.

A small dialect, which Python's `re` reads too: literals, `\d`, `\.`, classes such as `[A-Z0-9]`,
groups with alternatives, and the quantifiers `{n}`, `{m,n}` and `?`. Texts are of ranges that
nobody has (see privacy.py), their checksums are right.
"""

import random
import re
import string
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

_DIGITS: Final = string.digits


class Pattern(NamedTuple):
    """A recogniser as its vendor would write it. `check`: completes a text's checksum."""

    name: str
    says: str
    regex: str  # what the invented detector states
    example: str  # narrower: matches nothing that anybody has
    check: str = ""  # a key of CHECKS


def _luhn(text: str, chance: random.Random) -> str:
    """Last digit by ISO/IEC 7812-1 annex B."""
    body = text[:-1]
    return next(body + digit for digit in _DIGITS if luhn(body + digit))


def luhn(text: str) -> bool:
    """Whether the digits of a text have a right Luhn checksum."""
    total = 0
    for place, digit in enumerate(reversed([int(one) for one in text if one.isdigit()])):
        number = digit * (2 if place % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def _iban(text: str, chance: random.Random) -> str:
    """Check digits by ISO 7064 MOD 97-10."""
    body = text[4:] + text[:2]
    left = 98 - int("".join(str(int(one, 36)) for one in body + "00")) % 97
    return f"{text[:2]}{left:02d}{text[4:]}"


def iban(text: str) -> bool:
    """Whether an IBAN's check digits are right."""
    return int("".join(str(int(one, 36)) for one in text[4:] + text[:4])) % 97 == 1


CHECKS: Final[Mapping[str, Callable[[str, random.Random], str]]] = {"luhn": _luhn, "iban": _iban}

PATTERNS: Final[Mapping[str, tuple[Pattern, ...]]] = {
    "PII.Contact.Email": (
        Pattern(
            "email regex",
            "at sign between a box and a domain",
            r"[a-z0-9._]{1,64}@[a-z0-9.-]{1,200}",
            r"[a-z]{3,8}\.[a-z]{3,8}@example\.(com|org|net)",
        ),
    ),
    "PII.Contact.Phone": (
        Pattern(
            "us phone regex",
            "ten digits in three groups",
            r"\(?[0-9]{3}\)?[-. ][0-9]{3}[-. ][0-9]{4}",
            r"\([2-9]0[1-9]\) 555-01\d{2}",
        ),
        Pattern(
            "phone e164",
            "plus sign and up to fifteen digits",
            r"\+\d{8,15}",
            r"\+1[2-9]0[1-9]55501\d{2}",
        ),
    ),
    "PII.Contact.Address": (
        Pattern(
            "zip plus four", "five digits, a dash and four more", r"\d{5}-\d{4}", r"00000-00\d{2}"
        ),
    ),
    "PII.Contact.URL": (
        Pattern(
            "http link",
            "scheme, host and path",
            r"https?://[a-z0-9./-]{4,200}",
            r"https://www\.example\.(com|org)/[a-z]{3,8}",
        ),
    ),
    "PII.Contact.SocialHandle": (
        Pattern(
            "at handle regex",
            "at sign and a short name",
            r"@[A-Za-z0-9_]{1,15}",
            r"@example_[a-z]{3,6}",
        ),
    ),
    "PII.Identifier.SSN": (
        Pattern(
            "ssn dashes",
            "nine digits as three, two and four",
            r"\d{3}-\d{2}-\d{4}",
            r"000-\d{2}-\d{4}",
        ),
        Pattern("ssn plain nine", "US social number without dashes", r"\d{9}", r"000\d{6}"),
    ),
    "PII.Identifier.TaxID": (
        Pattern(
            "itin regex",
            "US number for taxpayers, beginning with nine",
            r"9\d{2}-\d{2}-\d{4}",
            r"9\d{2}-[0-3]\d-\d{4}",
        ),
        Pattern("ein regex", "two digits, a dash and seven", r"\d{2}-\d{7}", r"00-\d{7}"),
    ),
    "PII.Identifier.Passport": (
        Pattern("passport regex", "a letter and eight digits", r"[A-Z]\d{8}", r"X0000\d{4}"),
    ),
    "PII.Identifier.DriverLicense": (
        Pattern(
            "licence regex",
            "one letter and seven digits of a driving permit",
            r"[A-Z]\d{7}",
            r"X000\d{4}",
        ),
    ),
    "PII.Identifier.Vehicle": (
        Pattern(
            "vin regex",
            "seventeen letters and digits without I, O and Q",
            r"[A-HJ-NPR-Z0-9]{17}",
            r"0{11}[A-HJ-NPR-Z]{2}\d{4}",
        ),
    ),
    "PII.Identifier.NationalID": (
        Pattern(
            "citizen no regex", "eleven digits that a state gives out", r"\d{11}", r"0{7}\d{4}"
        ),
    ),
    "PII.Identifier.Account": (
        Pattern(
            "customer no regex", "letters CUST and six digits", r"CUST-?\d{6}", r"CUST-00\d{4}"
        ),
    ),
    "PII.Device.IPAddress": (
        Pattern(
            "ipv4 regex",
            "four numbers with dots",
            r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}",
            r"(192\.0\.2|198\.51\.100|203\.0\.113)\.[1-9]\d",
        ),
        Pattern(
            "ipv6 regex",
            "groups of hex digits with colons",
            r"[0-9a-f]{1,4}(:{1,2}[0-9a-f]{1,4}){2,7}",
            r"2001:db8::[0-9a-f]{2,4}",
        ),
    ),
    "PII.Device.MACAddress": (
        Pattern(
            "mac regex",
            "six pairs of hex digits",
            r"[0-9A-F]{2}(:[0-9A-F]{2}){5}",
            r"00:00:5E:00:53:[0-9A-F]{2}",
        ),
    ),
    "PII.Device.HardwareID": (
        Pattern(
            "imei regex",
            "fifteen digits of a handset with a checksum",
            r"\d{15}",
            r"0{10}\d{5}",
            "luhn",
        ),
    ),
    "PII.Financial.CreditCard": (
        Pattern(
            "card regex luhn",
            "sixteen digits with a right Luhn checksum",
            r"[3-6]\d{15}",
            r"411111\d{10}",
            "luhn",
        ),
        Pattern(
            "pan regex",
            "sixteen digits in groups of four",
            r"\d{4}( \d{4}){3}",
            r"5555 5555 55\d{2} \d{4}",
            "luhn",
        ),
    ),
    "PII.Financial.CardSecurity": (
        Pattern(
            "cvv regex",
            "three or four digits after the letters CVV",
            r"CVV:? ?\d{3,4}",
            r"CVV: 0\d{2}",
        ),
        Pattern(
            "expiry regex",
            "month and year with a slash",
            r"(0[1-9]|1[0-2])/\d{2}",
            r"(0[1-9]|1[0-2])/0\d",
        ),
    ),
    "PII.Financial.BankAccount": (
        Pattern(
            "iban regex",
            "country, two check digits and up to thirty characters",
            r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}",
            r"XX000000\d{12}",
            "iban",
        ),
        Pattern("aba regex", "nine digits that route a US transfer", r"[0-3]\d{8}", r"0{5}\d{4}"),
    ),
    "PII.Financial.CryptoWallet": (
        Pattern(
            "eth regex", "0x and forty hex digits", r"0x[0-9a-fA-F]{40}", r"0x0{36}[0-9a-f]{4}"
        ),
    ),
    "PII.Health.RecordNumber": (
        Pattern("mrn regex", "letters MRN and seven digits", r"MRN:? ?\d{7}", r"MRN: 000\d{4}"),
    ),
    "PII.Health.Condition": (
        Pattern(
            "icd regex",
            "letter, two digits, a dot and one more, which codes an illness",
            r"[A-Z]\d{2}\.\d",
            r"Z00\.\d",
        ),
    ),
    "PII.Health.Provider": (
        Pattern("npi regex", "ten digits of a US provider of care", r"[12]\d{9}", r"10{5}\d{4}"),
    ),
    "PII.Temporal.Date": (
        Pattern(
            "iso date regex",
            "year, month and day with dashes",
            r"\d{4}-\d{2}-\d{2}",
            r"2000-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])",
        ),
    ),
    "PII.Person.DateOfBirth": (
        Pattern(
            "dob regex",
            "date after the word born",
            r"born:? \d{4}-\d{2}-\d{2}",
            r"born 2000-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])",
        ),
    ),
    "PII.Person.Age": (
        Pattern(
            "age regex",
            "one to three digits and the words years old",
            r"\d{1,3} years old",
            r"[2-8]\d years old",
        ),
    ),
    "PII.Location.Coordinates": (
        Pattern(
            "latlon regex",
            "two decimal degrees with a comma",
            r"-?\d{1,2}\.\d{3,6},-?\d{1,3}\.\d{3,6}",
            r"0\.\d{4},0\.\d{4}",
        ),
    ),
    "SECRET.CloudCredential": (
        Pattern(
            "cloud key regex",
            "AKIA and sixteen capitals or digits",
            r"AKIA[A-Z0-9]{16}",
            r"AKIA[A-Z0-9]{9}EXAMPLE",
        ),
    ),
    "SECRET.ApiKey": (
        Pattern(
            "vendor token regex",
            "prefix of a service and twenty characters",
            r"svc_[a-z0-9]{20,40}",
            r"svc_[a-z0-9]{16}example",
        ),
    ),
    "SECRET.SessionToken": (
        Pattern(
            "jwt regex",
            "three parts of base64 with two dots",
            r"[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}",
            r"example\.[a-z0-9]{8}\.example",
        ),
    ),
    "SECRET.PrivateKey": (
        Pattern(
            "pem regex",
            "header line of a private key",
            r"-----BEGIN (RSA|EC|OPENSSH) PRIVATE KEY-----",
            r"-----BEGIN (RSA|EC|OPENSSH) PRIVATE KEY-----",
        ),
    ),
    "SECRET.Password": (
        Pattern(
            "pwd assignment regex",
            "value assigned to passwd or pwd",
            r"(passwd|pwd)=[^ ]{1,40}",
            r"(passwd|pwd)=example\d{2}",
        ),
    ),
    "SECRET.ConnectionString": (
        Pattern(
            "dsn regex",
            "database scheme with user and password before the host",
            r"postgres://[a-z]{1,20}:[^@ ]{1,40}@[a-z0-9.-]{1,100}",
            r"postgres://user:example\d{2}@db\.example\.com",
        ),
    ),
    "SECRET.Webhook": (
        Pattern(
            "hook regex",
            "https address with hook in it and a token at its end",
            r"https://hooks\.[a-z.]{3,40}/[a-z0-9]{8,40}",
            r"https://hooks\.example\.com/[a-z0-9]{8}",
        ),
    ),
}


def matching(pattern: Pattern, chance: random.Random) -> str:
    """A text that the pattern matches, of ranges that nobody has."""
    text = generate(pattern.example, chance)
    return CHECKS[pattern.check](text, chance) if pattern.check else text


def generate(regex: str, chance: random.Random) -> str:
    """A text that a regular expression of the dialect matches. Raises ValueError for others."""
    text, rest = _alternatives(regex, 0, chance)
    if rest != len(regex):
        raise ValueError(f"The expression is not closed at {rest}.")
    return text


def _alternatives(regex: str, at: int, chance: random.Random) -> tuple[str, int]:
    """One of the alternatives up to the end or `)`, and where that is."""
    found = [""]
    while at < len(regex) and regex[at] != ")":
        if regex[at] == "|":
            found.append("")
            at += 1
            continue
        start = at
        _, at = _atom(regex, start, chance)
        low, high, after = _times(regex, at)
        for _ in range(chance.randint(low, high)):
            found[-1] += _atom(regex, start, chance)[0]
        at = after
    return chance.choice(found), at


def _atom(regex: str, at: int, chance: random.Random) -> tuple[str, int]:
    here = regex[at]
    if here == "(":
        text, end = _alternatives(regex, at + 1, chance)
        if end >= len(regex):
            raise ValueError(f"The group at {at} is not closed.")
        return text, end + 1
    if here == "[":
        end = regex.index("]", at)
        return chance.choice(_members(regex[at + 1 : end])), end + 1
    if here == "\\":
        return (chance.choice(_DIGITS) if regex[at + 1] == "d" else regex[at + 1]), at + 2
    if here in "*+^$.?{":
        raise ValueError(f"{here!r} at {at} is not of the dialect.")
    return here, at + 1


def _members(body: str) -> str:
    """The characters of a class; of a negated one, small letters that are not in it."""
    if body.startswith("^"):
        return "".join(one for one in string.ascii_lowercase if one not in body)
    return re.sub(
        r"(.)-(.)", lambda two: "".join(map(chr, range(ord(two[1]), ord(two[2]) + 1))), body
    )


def _times(regex: str, at: int) -> tuple[int, int, int]:
    """How often an atom stands, and where its quantifier ends."""
    if regex[at : at + 1] == "?":
        return 0, 1, at + 1
    found = re.compile(r"\{(\d+)(,(\d*))?\}").match(regex, at)
    if found is None:
        return 1, 1, at
    low = int(found[1])
    high = low if found[2] is None else int(found[3] or low)
    return low, high, found.end()
