"""A training run in Chromium: started, followed while the trainer trains, and cancelled."""

import os

import pytest

from tests.browser.conftest import Enter
from tests.support.stack import Stack
from tests.training.lora_fixture import write_base
from tests.training.run_fixture import keep_data_set

PAGE = "/admin/runs/trainingrun/"
SIZES = ({"width": 390, "height": 800}, {"color_scheme": "dark"})
MINUTES_MS = 300_000


@pytest.fixture
def small(live: Stack) -> None:
    """Something to train, and on, in the stack's training folder."""
    if os.environ.get("PILLARS_BROWSER_STATE"):
        pytest.skip("It would train on the machine of the stack that runs already.")
    pytest.importorskip("peft")
    keep_data_set(live.training)
    if not (live.training / "base").exists():
        write_base(live.training / "base")


@pytest.mark.usefixtures("small")
def test_a_run_is_started_followed_and_cancelled(live: Stack, enter: Enter) -> None:
    window = enter(live.operator)
    page = window.page
    window.open(PAGE)
    window.press("Start a run", role="link")
    page.get_by_label("Changes of the profile").fill("rank=0")
    window.press("Start the run")
    assert "rank: Input should be greater" in page.locator("#id_overrides_error").inner_text()
    page.get_by_label("Profile", exact=True).select_option("tiny")
    page.get_by_label("Changes of the profile").fill("rank=4\nepochs=1000\nevaluate_every=5")
    window.press("Start the run")
    curve = page.locator("[data-pl-curve=loss] polyline").first
    curve.wait_for(state="attached", timeout=MINUTES_MS)
    page.wait_for_function(
        "Number(document.querySelector('[data-pl-fact=progress]').textContent.split(' ')[0]) > 10",
        timeout=MINUTES_MS,
    )
    window.inspect()
    assert len(str(curve.get_attribute("points")).split()) > 5
    assert page.locator("[data-pl-evaluations] tr").count() >= 2
    page.locator(".pl-curve").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".pl-curve-said").first.inner_text().startswith("Step 0: held out ")
    address = page.url.removeprefix(live.operator.base)
    for options in SIZES:
        looker = enter(live.operator, **options)
        for path in (PAGE, address):
            looker.open(path)
            assert looker.fits(), path
    window.context.set_offline(True)
    page.get_by_text("The connection is lost").wait_for(timeout=30_000)
    window.troubles.clear()
    window.context.set_offline(False)
    page.get_by_text("The connection is lost").wait_for(state="hidden", timeout=60_000)
    window.press("Cancel the run", role="link")
    page.get_by_label("I mean this run").check()
    window.press("Cancel the run")
    page.locator("[data-pl-badge]", has_text="Cancelled").wait_for(timeout=MINUTES_MS)
    window.inspect()
    assert "The checkpoint is kept" in page.locator("[data-pl-message]").inner_text()
    assert page.get_by_role("link", name="Resume the run").is_visible()
    assert not page.get_by_role("link", name="Cancel the run").is_visible()
    curator = live.of_platform("curator")
    assert enter(curator).status_of(address) == 403
