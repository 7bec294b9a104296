"""Takes the pictures of the README: `python -m tests.browser.screenshots [--output DIRECTORY]`.

It visits the running stack that PILLARS_STATE_DIR names (`.pillars` without it) as its people.
The pictures are true: what they show is what that stack holds. It makes one API key for the
picture of a secret, and revokes it at once; and sends events with a label that no rule knows.
Pictures of a training run, a version of a model and a trial are taken where the stack has one:
they take minutes to make (docs/training.md).
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from deploy.local.state import REPOSITORY, StateDir
from tests.browser.visitor import CHROMIUM, Visitor, launch
from tests.support.stack import Stack

EVENTS = "/admin/mapping/mappingevent/"
RUNS = "/admin/runs/trainingrun/?state__exact=succeeded"
VERSIONS = "/admin/training/modelversion/"
COMPARISON = "/admin/serving/servingchoice/compare/"


class Album:
    """A directory of pictures, 1280 by 800."""

    def __init__(self, browser: Browser, stack: Stack, directory: Path) -> None:
        self._browser = browser
        self._stack = stack
        self._directory = directory

    def take(self) -> None:
        """All pictures."""
        admin = Visitor(self._browser, self._stack.person("admin").base)
        admin.open("/admin/")
        self._keep(admin, "login")
        admin.log_in(self._stack.person("admin"))
        self._keep(admin, "tenant-overview")
        admin.open(EVENTS)
        self._keep(admin, "events")
        admin.open(f"{EVENTS}?decision__exact=mapped&label=PII")
        link = admin.page.locator("#result_list tbody a").first.get_attribute("href")
        admin.open(str(link))
        self._keep(admin, "event")
        self._key(admin)
        self._review()
        self._report()
        operator = Visitor(self._browser, self._stack.url).log_in(self._stack.operator)
        self._keep(operator, "platform-overview")
        self._change_set()
        self._models()
        operator.open("/docs", axe=False)
        self._keep(operator, "api-docs")

    def _key(self, admin: Visitor) -> None:
        page = admin.open("/admin/keys/apikey/add/")
        page.get_by_label("Name").fill("chat-gateway")
        admin.press("Create key")
        self._keep(admin, "api-key-shown-once")
        page.reload()
        admin.press("Revoke", role="link")
        admin.press("Revoke")

    def _review(self) -> None:
        """A label of the queue; the worker counts it within half a minute."""
        key, label = self._stack.api_key(), "customer_email_address"
        for _ in range(7):
            self._stack.map(key, "presidio", [{"entity_type": label, "score": 0.91}])
        reviewer = Visitor(self._browser, self._stack.person("admin").base, height=900)
        reviewer.log_in(self._stack.person("admin"))
        page = reviewer.page
        rows = page.locator("#result_list tbody a", has_text=label)
        for _ in range(90):
            reviewer.open(f"/admin/mapping/reviewitem/?q={label}", axe=False)
            if rows.count():
                break
            page.wait_for_timeout(1_000)
        with page.expect_navigation():
            rows.first.click()
        reviewer.inspect()
        page.keyboard.press("1")
        self._keep(reviewer, "review-item")

    def _change_set(self) -> None:
        """One that waits for approval; it is withdrawn afterwards."""
        curator = Visitor(self._browser, self._stack.url, height=1400)
        curator.log_in(self._stack.of_platform("curator"))
        page = curator.open("/admin/changes/changeset/add/")
        page.get_by_label("Title").fill("US_SSN is critical")
        page.get_by_label("Reason").fill("A number cannot be changed once it has leaked.")
        curator.press("Start change set")
        number = page.url.rstrip("/").split("/")[-2]
        thing = "kind=detector_label&document=presidio&name=US_SSN"
        curator.open(f"/admin/changes/changeset/{number}/edit/?{thing}")
        page.get_by_label("Severity").select_option(label="Critical")
        curator.press("Put into the change set")
        curator.press("Submit for approval", role="link")
        curator.press("Submit for approval")
        page.get_by_label("Comment").fill("Please look at the tenants that it touches.")
        curator.press("Comment")
        page.wait_for_timeout(3_000)  # a worker counts the impact
        curator.open(f"/admin/changes/changeset/{number}/change/")
        self._keep(curator, "change-set")
        curator.press("Withdraw", role="link")
        curator.press("Withdraw")

    def _models(self) -> None:
        """Of the newest finished run, the newest version and the trial."""
        engineer = Visitor(self._browser, self._stack.url)
        engineer.log_in(self._stack.of_platform("engineer"))
        page = engineer.page
        for name, path, height in (("training-run", RUNS, 800), ("model-version", VERSIONS, 1300)):
            page.set_viewport_size({"width": 1280, "height": height})
            engineer.open(path)
            first = page.locator("#result_list tbody a").first
            if not first.count():
                sys.stdout.write(f"{name}: none here, so the picture stays as it is\n")
                continue
            engineer.open(str(first.get_attribute("href")))
            self._keep(engineer, name)
        engineer.open(COMPARISON)
        if page.get_by_role("table").count():
            page.set_viewport_size({"width": 1280, "height": 800})
            self._keep(engineer, "model-comparison")

    def _report(self) -> None:
        officer = Visitor(self._browser, self._stack.person("officer").base)
        officer.log_in(self._stack.person("officer"))
        page = officer.open("/admin/reporting/report/add/")
        page.get_by_label("Framework").select_option(label="SOC 2 2017")
        officer.press("Request report")
        page.get_by_text("Done", exact=True).first.wait_for(timeout=90_000)
        officer.inspect()
        self._keep(officer, "report")
        self._first_page(page)

    def _first_page(self, page: Page) -> None:
        """The first page of the PDF, as the officer downloads it."""
        if shutil.which("pdftoppm") is None:
            sys.exit("pdftoppm is missing. Run: apt-get install poppler-utils")
        with page.expect_download() as download:
            page.get_by_role("link", name="PDF").first.click()
        subprocess.run(
            ["pdftoppm", "-png", "-r", "90", "-singlefile", str(download.value.path()),
             str(self._directory / "report-pdf")],
            check=True,
        )  # fmt: skip

    def _keep(self, window: Visitor, name: str) -> None:
        window.page.evaluate("document.fonts.ready")
        path = self._directory / f"{name}.png"
        window.page.screenshot(path=path, animations="disabled", caret="hide")
        sys.stdout.write(f"{path}  {path.stat().st_size // 1024} KiB\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make screenshots")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "images")
    output: Path = parser.parse_args().output
    state = StateDir.from_environment(os.environ)
    if CHROMIUM is None:
        sys.exit(
            "No Chromium is installed. Run `make system` as root, or: apt-get install chromium"
        )
    if not state.credentials_file.exists():
        sys.exit("No stack was set up here. Run `make up` first.")
    output.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, launch(playwright) as browser:
        Album(browser, Stack.at(state.path), output).take()


if __name__ == "__main__":
    main()
