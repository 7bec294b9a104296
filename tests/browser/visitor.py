"""A person at a browser, who notices what is wrong with every page that is opened."""

import http.client
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, Response

from tests.support.stack import Login

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
_GRAVE = ("serious", "critical")


@contextmanager
def launch(playwright: Playwright) -> Iterator[Browser]:
    """The system's Chromium. Root needs --no-sandbox: Chromium's sandbox refuses uid 0."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
    try:
        yield browser
    finally:
        browser.close()


class Visitor:
    """A browser window with its own cookies, at one site."""

    def __init__(self, browser: Browser, base: str, **options: Any) -> None:
        viewport = {"width": options.pop("width", 1280), "height": options.pop("height", 800)}
        self.base = base
        self.context = browser.new_context(viewport=viewport, **options)
        self.page: Page = self.context.new_page()
        self.troubles: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.troubles.append(f"script: {error}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.troubles.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not re.match(rf"({re.escape(self.base)}/|data:|blob:)", request.url):
            self.troubles.append(f"request to another place: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.troubles.append(f"{response.status} for {response.url}")

    def log_in(self, login: Login) -> "Visitor":
        """By the form, as a person does."""
        self.open("/admin/login/", axe=False)
        self.page.get_by_label("Username").fill(login.username)
        self.page.get_by_label("Password").fill(login.password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.base}/admin/")
        self.inspect(axe=False)
        return self

    def open(self, path: str, *, axe: bool = True) -> Page:
        """Go to a path and look at the page."""
        self.page.goto(self.base + path)
        if path == "/docs":  # Swagger UI fetches the OpenAPI document before it shows anything
            self.page.wait_for_selector(".opblock")
        self.inspect(axe=axe)
        return self.page

    def press(self, name: str, role: str = "button") -> Page:
        """Press what has that name, wait for the next page and look at it."""
        with self.page.expect_navigation():
            self.page.get_by_role(role, name=name, exact=True).first.click()  # type: ignore[arg-type]
        self.inspect()
        return self.page

    def inspect(self, *, axe: bool = True) -> None:
        """No error, no request elsewhere, no serious accessibility violation on this page."""
        # Unfold's pages are hidden until its scripts have run.
        self.page.wait_for_load_state()
        self.page.wait_for_function("!document.documentElement.hasAttribute('x-cloak')")
        found = list(self.troubles)
        self.troubles.clear()
        if axe:
            found += self._violations()
        assert not found, f"{self.page.url}: " + "; ".join(found)

    def _violations(self) -> list[str]:
        violations = Axe().run(self.page).response["violations"]
        return [
            f"axe {entry['impact']} {entry['id']}: {[n['html'][:120] for n in entry['nodes']]}"
            for entry in violations
            if entry["impact"] in _GRAVE
        ]

    def fits(self) -> bool:
        """Whether the page needs no sideways scrolling."""
        script = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        return bool(self.page.evaluate(script))

    def navigation(self) -> dict[str, str]:
        """Titles and paths of the sidebar."""
        links = self.page.locator("#nav-sidebar ol a")
        pairs = links.evaluate_all(
            "all => all.map(a => [a.querySelector('span:not(.material-symbols-outlined)')"
            ".textContent.trim(), a.getAttribute('href')])"
        )
        return dict(pairs)

    def status_of(self, path: str, form: dict[str, str] | None = None) -> int:
        """The status of a request with this window's cookies, without going there.

        Sent from here, because programs other than the browser need not know *.localhost.
        """
        site = urlsplit(self.base)
        cookies = {
            c["name"]: c["value"] for c in self.context.cookies() if c["domain"] == site.hostname
        }
        headers = {
            "Host": site.netloc,
            "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        }
        body = None
        if form is not None:
            body = urlencode({**form, "csrfmiddlewaretoken": cookies["csrftoken"]})
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def close(self) -> None:
        """Close the window."""
        self.context.close()
