"""Headless Chromium for the tests, found or installed by ``scripts/chromium``.

Playwright drives it, and the tests watch everything that it complains of or asks for.
"""

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from tests.integration import node_packages

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / "scripts" / "chromium"
_LOCK = _ROOT / ".tools" / "chromium.lock"
# Chromium's own traffic (updates, safe browsing, sync) stays off; in a container it has no sandbox
# and no GPU.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS = 20_000  # a busy machine must not fail a test


class ChromiumMissing(Exception):
    """Chromium is not here and cannot be installed; the message says what to do."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give a running browser with a profile of its own, which is thrown away.

    Errors: ChromiumMissing.
    """
    program = _find()
    with sync_playwright() as playwright:
        expect.set_options(timeout=_PATIENCE_MS)
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()


def _find() -> str:
    """Return the program, installed first where it is missing.

    One run at a time: the others wait for it.
    """
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = subprocess.run(
            ["sh", _SCRIPT], capture_output=True, text=True, timeout=400, check=False
        )
    if found.returncode:
        raise ChromiumMissing(found.stderr.strip())
    return found.stdout.strip()


class Watch:
    """Keeps the complaints of a context's pages, and whom they asked."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(_PATIENCE_MS)
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", lambda request: self._see(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        """Keep errors and warnings, except that an answer of the service was an error.

        Such answers are what the tests are about.
        """
        told = message.text.startswith(
            "Failed to load resource: the server responded with a status of"
        )
        if message.type in ("error", "warning") and not (
            told and "/api/v1/" in message.location["url"]
        ):
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def _see(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("data", "blob"):
            self.hosts.add(parts.hostname or "")


def scrolls_sideways(page: Page) -> bool:
    """Say whether the page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def faint_texts(page: Page) -> list[str]:
    """Return the visible texts with a contrast below 4.5 to 1 (WCAG 2.2, 1.4.3), with the ratio."""
    faint: list[str] = page.evaluate(_FAINT_TEXTS)
    return faint


def axe_findings(page: Page) -> list[str]:
    """Return what axe finds at fault on a page (WCAG 2.2 A and AA, and best practices)."""
    page.evaluate(_axe())
    findings: list[str] = page.evaluate(
        "axe.run().then(({ violations }) => violations.map(({ id, nodes }) =>"
        " `${id}: ${nodes.map((node) => node.target).join(', ')}`))"
    )
    return findings


@cache
def _axe() -> str:
    folder = node_packages.install("axe") / "node_modules" / "axe-core"
    return (folder / "axe.min.js").read_text("utf-8")


_FAINT_TEXTS = """() => {
  const channels = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((value) => linear(value / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.a === 1) return colour;
    }
    return { r: 255, g: 255, b: 255 };
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3);
    const text = texts.map((node) => node.data.trim()).join(" ").trim();
    const visible = { opacityProperty: true, visibilityProperty: true };
    if (!text || !element.checkVisibility(visible)) continue;
    const own = luminance(channels(getComputedStyle(element).color));
    const [high, low] = [own, luminance(behind(element))].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${text}`);
  }
  return found;
}"""
