"""What tests of onboarding's pages share: forms to send, and what a page says."""

import html
import re
from typing import Any

from django.test import Client

from mapping.onboarding.draft import Draft
from mapping.onboarding.table import PAGE_ROWS

FIRST = "/admin/changes/changeset/add-detector/"
SECOND = f"{FIRST}labels/"
HEAD = {
    "detector": "zebra-guard", "vendor": "ACME: a & b", "category": "content-safety",
    "detector_versions": "any", "source": "https://example.org/labels",
}  # fmt: skip
LIST = "label,description\nEMAIL_ADDRESS,An e-mail address of a person\nBank-Account,\nZX-81,\n"
THREAT = "Menaces v2,Threats of violence against a person\n"
NOTHING = "no_issue,Nothing was found\n"


def first(client: Client, **fields: Any) -> str:
    """The answer to the first form."""
    answer = client.post(FIRST, {**HEAD, **fields})
    assert answer.status_code == 200
    return answer.content.decode()


def state_of(page: str) -> str:
    """The signed state on a page of the table."""
    match = re.search(r'name="state" value="([^"]+)"', page)
    assert match, errors(page)
    return html.unescape(match.group(1))


def errors(page: str) -> list[str]:
    """What a page says is wrong."""
    found = re.findall(r'(?s)(?:class="pl-errors"[^>]*>|role="alert">)(.*?)</div>', page)
    return [html.unescape(" ".join(re.sub(r"<[^>]+>", " ", one).split())) for one in found]


def labels_of(page: str) -> dict[str, str]:
    """Labels of the table, and what is chosen for each."""
    return {row.label: row.chosen for row in Draft.restored(state_of(page)).rows}


def second(client: Client, page: str, chosen: dict[str, Any], **fields: Any) -> Any:
    """Send the table: `chosen` by label, or (choice, reason)."""
    draft = Draft.restored(state_of(page))
    sent: dict[str, Any] = {
        "state": state_of(page), "page": "1", "go": "submit", "into": "new",
        "title": "Add zebra-guard", "reason": "A customer uses it.",
    }  # fmt: skip
    for index, row in enumerate(draft.rows[:PAGE_ROWS]):
        choice = chosen.get(row.label, row.chosen)
        sent[f"chosen-{index}"], sent[f"reason-{index}"] = (
            choice if isinstance(choice, tuple) else (choice, "")
        )
    return client.post(SECOND, {**sent, **fields})


def row_of(page: str, label: str) -> str:
    """The text of a label's row, without its list of choices."""
    found = re.search(rf'(?s)<span class="pl-mono">{re.escape(label)}</span>(.*?)<select', page)
    assert found
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found.group(1))).split())
