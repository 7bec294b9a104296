"""What onboarding proposes in the admin: by the models that come with Pillars, or without them."""

import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from mapping import resolvers
from tests.changes.onboarding import (
    LIST,
    NOTHING,
    SECOND,
    THREAT,
    first,
    labels_of,
    row_of,
    state_of,
)

pytestmark = pytest.mark.django_db


class TestWhatIsProposed:
    def test_candidates_have_probabilities(self, curator: Client) -> None:
        page = first(curator, label_list=LIST + THREAT)
        row = row_of(page, "Menaces v2")
        shares = [int(share) for share in re.findall(r"[A-Z_]+\.\S+ (\d+) %", row)]
        assert 2 <= len(shares) <= 5
        assert shares == sorted(shares, reverse=True)
        assert 50 < shares[0] <= sum(shares) <= 101
        sure = re.search(r"the first is right with (\d+) %", row)
        assert sure
        assert int(sure[1]) >= 100 * settings.CONFIG.mapping.confidence_threshold
        named = row_of(page, "EMAIL_ADDRESS")
        assert "PII.Contact.Email alias" in named or "PII.Contact.Email name" in named
        assert "is right with" not in named
        assert "Proposed by names" not in page

    def test_only_what_is_sure_enough_is_chosen(self, curator: Client) -> None:
        names = ("threat_of_harm", "drivers_licence_no", "latency", "ZX-81")
        several = "drugs and weapons"  # two labels, and a row has place for one
        page = first(curator, label_list="\n".join((*names, several)))
        least = 100 * settings.CONFIG.mapping.confidence_threshold
        chosen = labels_of(page)
        for name in names:
            sure = re.search(r"is right with (\d+) %", row_of(page, name))
            assert sure
            assert bool(chosen[name]) == (int(sure[1]) >= least)
        assert not chosen[several]
        assert {name for name in names if chosen[name]} == {"threat_of_harm", "drivers_licence_no"}

    def test_not_a_finding_is_proposed_and_wants_a_reason(self, curator: Client) -> None:
        page = first(curator, label_list=LIST + NOTHING)
        assert re.search(r"not a finding 9\d %", row_of(page, "no_issue"))
        assert labels_of(page)["no_issue"] == ""
        assert '<option value="not_a_finding"' not in page  # it stands among the other ways

    def test_the_vendors_words_and_the_kind_of_detector_count(self, curator: Client) -> None:
        rows = {
            row_of(first(curator, category=category, label_list=f"label,description\nV9,{words}\n"),
                   "V9")
            for category in ("content-safety", "secrets")
            for words in ("", "Threats of violence against a person", "The key of an account")
        }  # fmt: skip
        assert len(rows) == 6
        assert sum("HARM.SPEECH.Threat" in row for row in rows) >= 2

    def test_without_models_words_propose_and_the_page_says_so(
        self, curator: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        resolvers._artifacts.cache_clear()
        monkeypatch.setattr(resolvers, "artifacts_folder", lambda: tmp_path)
        monkeypatch.setattr(resolvers, "_RESOLVERS", resolvers._Resolvers())
        try:
            page = first(curator, label_list=LIST + THREAT)
            again = curator.post(SECOND, {"state": state_of(page), "page": "1", "go": "1"})
        finally:
            resolvers._artifacts.cache_clear()
        for text in (page, again.content.decode()):
            assert "Proposed by names, aliases and likeness of words alone" in text
            assert "the encoder cannot be loaded" in text
            assert "likeness 0." in row_of(text, "Menaces v2")
            assert " %" not in row_of(text, "Menaces v2")
        assert labels_of(page)["Menaces v2"] == ""
        assert labels_of(page)["EMAIL_ADDRESS"] == "PII.Contact.Email"
