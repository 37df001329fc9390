"""Headless Chromium, Debian's, driven by playwright."""

import io
import os
import shutil
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

THEME = {"classic": ("color-scheme", '"{theme}"'), "new": ("theme", "{theme}")}
"""Where each generation of pages keeps its theme in the browser."""


def missing():
    """What a browser test lacks here, in one line; None if it can run."""
    if not find_spec("playwright"):
        return "the pages are not looked at: playwright is missing; make .venv/installed"
    if not shutil.which("chromium"):
        return "the pages are not looked at: chromium is missing; apt-get install chromium"
    return None


def required():
    """Whether a missing browser is a failure, as in CI, rather than a reason to skip."""
    return os.environ.get("TEST_UI") == "required"


class Browser:
    """A running browser, with one profile for each generation of pages and each theme, so that scripts load once."""

    def __init__(self, running):
        self._running = running
        self._profiles = {}

    def page(self, pages, theme):
        """A tab of 1280 pixels whose pages have a theme. What fails in their scripts is in `page.failures`."""
        if (pages, theme) not in self._profiles:
            key, value = THEME[pages]
            profile = self._running.new_context(viewport={"width": 1280, "height": 1000}, color_scheme=theme)
            profile.add_init_script(f"localStorage.setItem({key!r}, {value.format(theme=theme)!r})")
            self._profiles[pages, theme] = profile
        page = self._profiles[pages, theme].new_page()
        page.failures = []
        page.on("pageerror", lambda error: page.failures.append(str(error)))
        return page


@contextmanager
def chromium():
    """A running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"],
        )
        yield Browser(running)
        running.close()


LOOK = """() => {
  const scrolls = each => ['auto', 'scroll'].includes(getComputedStyle(each).overflowX);
  const pictures = [...document.images].filter(each => each.src);
  return {
    broken: pictures.filter(each => !each.naturalWidth).map(each => each.alt),
    pictures: pictures.length,
    scrollBars: [document.documentElement, ...document.querySelectorAll('*')]
      .filter(each => each.scrollWidth > each.clientWidth + 1 && (each === document.documentElement || scrolls(each)))
      .map(each => each.tagName + '.' + each.className),
    scriptLinks: [...document.links].filter(each => each.protocol === 'javascript:').length,
    ran: window.ran === undefined ? null : window.ran,
  };
}"""
"""What can be measured of a page."""

SHOWS = "[...document.images].filter(each => each.naturalWidth).length >= {pictures}"


def look_at(page, expected, seconds=10.0):
    """What `LOOK` returns, as soon as it is what is expected: the new pages draw twice."""
    deadline = time.monotonic() + seconds
    while (seen := page.evaluate(LOOK)) != expected and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    return seen


LINKED = """(links => links.length === {pictures} && links.map(each => each.href))(
  [...document.links].filter(each => each.querySelector('img')?.naturalWidth)
)"""
"""Where the pictures lead, once so many are there and lead somewhere."""

PLAY = """async () => {
  const video = document.querySelector('video');
  video.muted = true;
  await video.play();
  for (let waited = 0; video.currentTime < 0.2 && waited < 50; waited++) await new Promise(go => setTimeout(go, 100));
  return video.currentTime;
}"""


def save_screenshot(page, name):
    """Keep a picture of the page for docs/images, where `make test-ui` asks for it."""
    if folder := os.environ.get("TEST_UI_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(page.screenshot()))
        picture.convert("RGB").quantize(192).save(Path(folder) / f"{name}.png", optimize=True)
