"""Onboarding a detector in Chromium: from a pasted list to a change set."""

import json
from typing import Any

import pytest

from tests.browser.conftest import Enter
from tests.browser.visitor import Visitor
from tests.support.names import fresh
from tests.support.stack import Stack

FIRST = "/admin/changes/changeset/add-detector/"
LIST = """label,description
EMAIL_ADDRESS,An e-mail address of a person
Bank-Account,
ZX-81,
latency,Milliseconds that the call took
"""
SAMPLE = json.dumps(
    {"results": [{"label": "EMAIL_ADDRESS", "score": 0.9}, {"label": "ZX-81", "score": 0.1}]}
)


def describe(page: Any) -> str:
    """Fill in what the first page asks of the detector: its name."""
    name = fresh("acme-")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Vendor").fill("ACME")
    page.get_by_label("Category").select_option("content-safety")
    page.get_by_label("Source").fill("https://example.org/labels")
    return name


def to_the_table(window: Visitor, **sample: str) -> str:
    """Open the page of labels."""
    page = window.open(FIRST)
    name = describe(page)
    page.get_by_label("Label list").fill(LIST)
    if sample:
        page.get_by_label("Sample of raw output").fill(sample["sample"])
    window.press("Propose labels")
    return name


def test_from_a_list_to_a_change_set(live: Stack, enter: Enter) -> None:
    window = enter(live.operator)
    window.open("/admin/taxonomy/detectormap/")
    window.press("Add a detector", role="link")
    name = to_the_table(window, sample=SAMPLE)
    page = window.page
    assert "reads the sample as expected" in page.locator("#content").inner_text()
    window.press("Put into the change set")
    assert "2 rows need a decision" in page.locator("#content").inner_text()
    assert page.get_by_text("Choose a canonical label").count() == 2
    page.locator("select[name=chosen-0]").select_option("=not_a_finding")
    page.get_by_label("is not mapped").first.fill("A home computer")
    page.locator("select[name=chosen-1]").select_option("PII.Other")
    window.press("Put into the change set")
    text = page.locator("#content").inner_text()
    assert f"Add detector {name}" in text
    assert f"{name}: ZX-81" in text
    assert "It cannot be submitted as it is" not in text


def test_enter_in_a_field_loses_nothing(live: Stack, enter: Enter) -> None:
    window = enter(live.operator)
    to_the_table(window)
    page = window.page
    page.locator("select[name=chosen-0]").select_option("=unmapped")
    field = page.get_by_label("is not mapped").first
    field.fill("Nothing near")
    with page.expect_navigation():
        field.press("Enter")
    window.inspect()
    assert page.locator("select[name=chosen-0]").input_value() == "=unmapped"
    assert page.get_by_label("is not mapped").first.input_value() == "Nothing near"


@pytest.mark.parametrize("options", [{"width": 375, "height": 700}, {"color_scheme": "dark"}])
def test_on_a_telephone_and_in_the_dark(live: Stack, enter: Enter, options: Any) -> None:
    window = enter(live.operator, **options)
    window.open(FIRST)
    assert window.fits()
    to_the_table(window)
    assert window.fits()
    window.press("Put into the change set")
    assert window.fits()
