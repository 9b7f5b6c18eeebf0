"""A real browser, and texts that would break a page that takes them for more than text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

__all__ = ["ARGS", "CHROMIUM", "HOSTILE", "Complaints", "ids", "needs_chromium"]

CHROMIUM = Path("/usr/bin/chromium")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGS += ["--disable-component-update", "--disable-sync"]
HOSTILE = [
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 1'>",
    "\"quotes\" 'and' `more` ${window.broken = 1}",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "emoji 👩‍👩‍👧 and \u2028 lines",
    "[/bold] [red]markup",
    "\x1b[31mred",
    "long " * 6000,
]

needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed")


def ids(page: Page) -> set[str]:
    """Of the tiles that are in the document."""
    return set(page.locator(".tile b").all_inner_texts())


class Complaints(list[str]):
    """What a page has to complain of: errors of scripts, and of what it loads. A server that has ended is none."""

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "ERR_CONNECTION_REFUSED" not in message.text:
            self.append(f"{message.location['url']}: {message.text}")
