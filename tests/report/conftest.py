"""A real browser that opens pages from disk."""

import shutil
from pathlib import Path

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium():
    """The browser of the system; without one these tests fail, they are not skipped."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("no chromium: install it (Debian: apt-get install chromium), as .ci/run does")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def look(chromium):
    """Return a function that opens a page from disk; any error on it fails the test."""
    contexts, errors = [], []

    def open_page(page, width=1200, dark=False, address=""):
        context = chromium.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            is_mobile=width < 500,
        )
        contexts.append(context)
        shown = context.new_page()
        shown.on("pageerror", lambda error: errors.append(str(error)))
        shown.on("requestfailed", lambda request: errors.append(request.url))
        shown.goto(Path(page).as_uri() + address)
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
