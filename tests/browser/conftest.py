"""Chromium, a whole stack, and people at windows.

The fixtures end with this package: Playwright keeps an event loop running in the thread, under
which Django refuses to use the database in the tests of other packages.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.visitor import CHROMIUM, Visitor, launch
from tests.support.stack import Login, OwnStack, Stack

Enter = Callable[..., Visitor]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.stack)


@pytest.fixture(scope="package")
def live() -> Iterator[Stack]:
    """A whole stack; PILLARS_BROWSER_STATE names the state directory of one that runs already."""
    if CHROMIUM is None:
        pytest.skip("No Chromium is installed: apt-get install chromium, or `make system` as root")
    running = os.environ.get("PILLARS_BROWSER_STATE")
    if running:
        yield Stack.at(Path(running))
        return
    with OwnStack() as stack:
        yield stack


@pytest.fixture(scope="package")
def chromium(live: Stack) -> Iterator[Browser]:
    """One browser for all tests here."""
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


@pytest.fixture(scope="package")
def sessions() -> dict[Login, Any]:
    """The cookies of who has logged in already: checking a password is slow by design."""
    return {}


@pytest.fixture
def enter(chromium: Browser, sessions: dict[Login, Any]) -> Iterator[Enter]:
    """A function that opens a window: on the start page as that person, or on nothing."""
    windows: list[Visitor] = []

    def open_window(login: Login, *, log_in: bool = True, **options: Any) -> Visitor:
        window = Visitor(chromium, login.base, **options)
        windows.append(window)
        if log_in and login in sessions:
            window.context.add_cookies(sessions[login])
            window.open("/admin/", axe=False)
        elif log_in:
            window.log_in(login)
            sessions[login] = window.context.cookies()
        return window

    yield open_window
    for window in windows:
        window.close()
