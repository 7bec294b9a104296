"""What is wrong with a data set, gathered by kind so that a thousand faults are one line."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

Level: TypeAlias = Literal["error", "warning"]
_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of fault. `examples`: identities of samples, or names; never their texts."""

    level: Level
    code: str
    message: str
    count: int
    examples: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "level": self.level, "code": self.code, "message": self.message,
            "count": self.count, "examples": list(self.examples),
        }  # fmt: skip


# Code -> level, and what to say. In the order in which they are reported.
KINDS: Final[dict[str, tuple[Level, str]]] = {
    "format": (
        "error",
        "Samples have another form than training.datasets.rows.Sample. Build the set anew.",
    ),
    "identity": ("error", "Samples share an id. Build the set anew."),
    "target": ("error", "Answers are not in the taxonomy's edition. Take the edition they are of."),
    "letters": ("error", "Letters and completion are not those of the answers among the options."),
    "prompt": ("error", "Prompts are not what this version asks about these labels and options."),
    "poisoned": (
        "error",
        "Labels are answered otherwise than the detector files or the taxonomy do. Find out who "
        "changed them; do not train on this.",
    ),
    "contradiction": (
        "error",
        "One detector's label with one description has several answers. Keep one of them.",
    ),
    "leakage": ("error", "Detectors or vendors are on more than one side of the splits."),
    "invented": ("error", "Samples that are no detector's are validated or tested on."),
    "manifest": ("error", "The manifest counts other samples or detectors than there are."),
    "control": ("error", "Texts hold control characters."),
    "raw": ("error", "Texts hold what looks like somebody's data or a secret. Take them out."),
    "length": ("error", "Prompts are longer than a model is trained on (estimated tokens)."),
    "source": ("error", "Labels are said to be of detector files that do not have them."),
    "unlearnt": ("warning", "Answers of the taxonomy that no training sample has."),
    "unseen": ("warning", "Answers that only invented and taxonomy samples teach."),
    "untested": ("warning", "Answers that neither validation nor test asks for."),
    "absent": ("warning", "Detectors of the files that no side has."),
    "duplicate": ("warning", "Samples are the same as another one of their side."),
    "normalised": ("warning", "Labels differ from another of their side by spelling alone."),
    "ambiguous": (
        "warning",
        "Labels without a description have other answers at other detectors. Models can only "
        "learn how likely each is.",
    ),
    "shared": (
        "warning",
        "Validation and test have labels with the same description as a vendor that is learnt "
        "from: they are easier than unseen ones.",
    ),
}


@dataclass(slots=True)
class Findings:
    """Collects faults."""

    _found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, code: str, *examples: str) -> None:
        """One fault for each of the examples."""
        self._found.setdefault(code, []).extend(examples)

    def extend(self, code: str, examples: Iterable[str]) -> None:
        """As `add`, of what may be none."""
        for one in examples:
            self.add(code, one)

    def all(self) -> list[Finding]:
        """Errors first."""
        return [
            Finding(level, code, message, len(found), tuple(found[:_EXAMPLES]))
            for code, (level, message) in KINDS.items()
            if (found := self._found.get(code))
        ]
