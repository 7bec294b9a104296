"""Which category a detector of invented labels has: told by the answer's first part."""

from typing import Final

from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING

_CATEGORIES: Final = {
    "PII": "pii",
    "SECRET": "secrets",
    "PROMPT_INJECTION": "prompt-injection",
    "JAILBREAK": "prompt-injection",
    "BIAS": "bias",
    "QUALITY": "quality",
    "SECURITY": "security",
    "AGENT": "agent",
}
ANY: Final = tuple(sorted({*_CATEGORIES.values(), "content-safety"}))


def category_of(answer: str) -> str | None:
    """None for what detectors of every category say: no finding, nothing that fits, OTHER."""
    first = answer.partition(".")[0]
    if answer in (NOT_A_FINDING, NONE_OF_THESE) or first == "OTHER":
        return None
    return _CATEGORIES.get(first, "content-safety")
