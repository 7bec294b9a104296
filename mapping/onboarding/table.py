"""The table of labels on its page: what is offered for each row, and what a form says of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from mapping.onboarding.draft import (
    LEAVE_OUT,
    NEEDS_REASON,
    NOT_A_FINDING,
    UNMAPPED,
    Choice,
    Draft,
)
from mapping.onboarding.proposing import Candidate, Proposals
from mapping.resolver.types import NONE_OF_THESE, LabelQuestion
from mapping.resolver.types import NOT_A_FINDING as NO_FINDING

PAGE_ROWS: Final = 100
REASON_CHARS: Final = (5, 200)  # least and most, as in a detector file
_WORDS: Final = {"exact": "name", "alias": "alias", "lexical": "likeness"}
# Answers of retrieval that are no label; they are chosen with a reason, as in _OTHERS.
_NO_LABELS: Final = {NO_FINDING: "not a finding", NONE_OF_THESE: "no canonical label"}
_OTHERS: Final = {
    NOT_A_FINDING: "Not a finding (say why)",
    UNMAPPED: "Unmapped (say why)",
    LEAVE_OUT: "Leave this label out",
}


@dataclass(slots=True)
class TableRow:
    """A row as the template shows it."""

    index: int
    choice: Choice
    proposals: list[tuple[str, str]]  # canonical label and the reason, or its probability
    sure: int | None  # per cent that retrieval's first one is right; None where a name decides
    options: SafeString
    error: str


@dataclass(slots=True)
class Table:
    """The rows of one page of a draft."""

    draft: Draft
    taxonomy: Mapping[str, Any]
    proposals: Proposals
    errors: dict[int, str] = field(default_factory=dict)
    page: int = 1

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-len(self.draft.rows) // PAGE_ROWS)

    def indices(self, page: int | None = None) -> range:
        """Rows of a page."""
        start = ((page or self.page) - 1) * PAGE_ROWS
        return range(start, min(start + PAGE_ROWS, len(self.draft.rows)))

    def take(self, data: Mapping[str, str], page: int) -> None:
        """Take over what a form says of the rows of a page. What it does not say stays."""
        for index in self.indices(page):
            row = self.draft.rows[index]
            row.chosen = data.get(f"chosen-{index}", row.chosen)
            row.reason = " ".join(data.get(f"reason-{index}", row.reason).split())

    def check(self, *, undecided: bool) -> None:
        """Find what is wrong with the rows. `undecided`: rows without a choice are all right."""
        known = self.taxonomy["labels"]
        for index, row in enumerate(self.draft.rows):
            if row.chosen in NEEDS_REASON:
                least, most = REASON_CHARS
                if not least <= len(row.reason) <= most:
                    self.errors[index] = f"Say why, in {least} to {most} characters."
            elif not row.chosen:
                if not undecided:
                    self.errors[index] = "Choose a canonical label, or say that there is none."
            elif row.chosen != LEAVE_OUT and row.chosen not in known:
                self.errors[index] = "That is no label of the taxonomy. Choose another."
        if self.errors and not any(index in self.errors for index in self.indices()):
            self.page = min(self.errors) // PAGE_ROWS + 1

    def pages_with_errors(self) -> list[int]:
        """Numbers of the pages that hold a row with an error."""
        return sorted({index // PAGE_ROWS + 1 for index in self.errors})

    def rows(self) -> list[TableRow]:
        """The rows of the page."""
        shown = [(index, self.draft.rows[index]) for index in self.indices()]
        proposed = self.proposals.propose(
            LabelQuestion(self.draft.detector, row.label, row.description, self.draft.category)
            for _, row in shown
        )
        return [
            TableRow(
                index,
                row,
                [(_NO_LABELS.get(c.canonical, c.canonical), _reason(c)) for c in candidates],
                None if confidence is None else round(100 * confidence),
                _own_options(row, [c.canonical for c in candidates if "." in c.canonical]),
                self.errors.get(index, ""),
            )
            for (index, row), (candidates, _, confidence) in zip(shown, proposed, strict=True)
        ]

    def all_options(self) -> SafeString:
        """Every canonical label, by branch: the same for each row, so made once."""
        branches: dict[str, list[str]] = {}
        for name in sorted(self.taxonomy["labels"]):
            if not name.startswith("OTHER.") or name == "OTHER.Safe":
                branches.setdefault(name.split(".")[0], []).append(name)
        return format_html_join(
            "", '<optgroup label="{}">{}</optgroup>',
            ((branch, _options(names)) for branch, names in branches.items()),
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """How many rows are decided and how many not."""
        chosen = [row.chosen for row in self.draft.rows]
        others = sum(one in _OTHERS for one in chosen)
        undecided = chosen.count("")
        return {
            "rows": len(chosen),
            "mapped": len(chosen) - others - undecided,
            "others": others,
            "undecided": undecided,
        }


def _reason(candidate: Candidate) -> str:
    if candidate.percent is not None:
        return f"{candidate.percent} %"
    words = _WORDS[candidate.reason]
    return f"{words} {candidate.share:.2f}" if candidate.reason == "lexical" else words


def _own_options(row: Choice, proposed: Iterable[str]) -> SafeString:
    """The choice so far, the proposals and the other ways; all labels come after them."""
    first = [row.chosen] if row.chosen and row.chosen not in _OTHERS else []
    names = list(dict.fromkeys([*first, *proposed]))
    return format_html(
        '<option value=""{}>Choose…</option>{}<optgroup label="No canonical label">{}</optgroup>',
        SafeString("" if row.chosen else " selected"),
        format_html('<optgroup label="Proposed">{}</optgroup>', _options(names, row.chosen))
        if names
        else "",
        _options(_OTHERS, row.chosen, _OTHERS),
    )


def _options(
    names: Iterable[str], chosen: str = "", titles: Mapping[str, str] | None = None
) -> SafeString:
    titles = titles or {}
    return format_html_join(
        "", '<option value="{}"{}>{}</option>',
        (
            (name, SafeString(" selected" if name == chosen else ""), titles.get(name, name))
            for name in names
        ),
    )  # fmt: skip
