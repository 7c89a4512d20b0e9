"""Pages in a headless browser: every message of the console, every error and every request is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.builders.overlays import find_chromium


class Watched:
    """A page with what went wrong on it, and the addresses it asked for."""

    def __init__(self, page: Any) -> None:
        self.page, self.problems, self.requests = page, list[str](), list[str]()
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    @property
    def outside(self) -> list[str]:
        """Requests for anything but the page itself and pictures inside of it."""
        return [url for url in self.requests[1:] if not url.startswith(("data:", "blob:"))]

    def wait(self, script: str, *, timeout_s: float = 20) -> None:
        """Wait until an expression of the page is true; Playwright's own way needs what a strict page forbids."""
        end = time.monotonic() + timeout_s
        while not self.page.evaluate(script):
            assert time.monotonic() < end, f"not true in time: {script}"
            self.page.wait_for_timeout(50)


@contextmanager
def open_page(address: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> Iterator[Watched]:
    """The page in Chromium; the test is skipped without Chromium or Playwright."""
    executable = find_chromium()
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                accept_downloads=True,
            )
            watched = Watched(context.new_page())
            watched.page.goto(address)
            yield watched
        finally:
            browser.close()


def accessibility_faults(page: Any) -> list[str]:
    """Serious and critical faults that axe-core finds."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    found = axe.run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]
