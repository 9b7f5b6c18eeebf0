"""The pictures of the README, taken of what they show: ``python tests/make_screens.py``.

One real run of all examples through the simulator, looked at in a terminal, in a browser as it goes on, as a gallery,
and as it is reviewed. Wants chromium and tmux.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.browsing import ARGS, CHROMIUM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, ViewportSize

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / ".github"
KEY: Final = "sk-simulator-0123456789"
BROAD: Final = 1000
WIDE: Final[ViewportSize] = {"width": 1280, "height": 800}
PATIENCE_S: Final = 60.0
SESSION: Final = "fluxbatch-screens"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, simulated() as base_url, sync_playwright() as play:
        out = Path(folder, "out")
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        environment = {"FLUXBATCH_API_KEY": KEY, "FLUXBATCH_BASE_URL": base_url, "LANG": "C.UTF-8"}
        words = [sys.executable, "-m", "fluxbatch", "run", *examples(), "-o", str(out), "--yes", "--max-cost", "25"]
        with in_tmux([*words, "--serve", "--limit", "60"], environment):
            link = wait_for_link()
            page = opened(browser, link)
            page.locator(".tile .face img").nth(8).wait_for()
            save_page(page, "live")
            save_terminal(browser, "terminal")
            wait_for_end()
        fluxbatch("report", str(out))
        save_page(opened(browser, (out / "report" / "index.html").as_uri()), "gallery")
        with reviewed(out) as link:
            page = opened(browser, link)
            page.locator("#name").fill("Ada")
            page.keyboard.press("Enter")
            for key in "aara":
                page.keyboard.press(key)
                page.locator(".tile").nth(4).wait_for()
                page.keyboard.press("ArrowRight")
            page.locator(".tile").nth(3).click()
            page.locator("dialog img").first.wait_for()
            save_page(page, "review")
        browser.close()


def examples() -> list[str]:
    return [str(path) for path in sorted((ROOT / "jobs").glob("*.yaml"))] + [
        str(ROOT / "jobs/catalogue/catalogue.yaml")
    ]


@contextmanager
def simulated() -> Iterator[str]:
    """A simulator that takes its time and moderates now and then, so that there is something to see."""
    options = ["--port", "0", "--ready-json", "--until-stdin-closes", "--latency", "1.5s", "--concurrency", "12"]
    server = subprocess.Popen(
        [sys.executable, "-m", "fluxbatch", "simulate", *options, "--fault", "moderation@5,23"],
        env=os.environ | {"FLUXBATCH_SIMULATOR_KEY": KEY},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield json.loads(server.stdout.readline())["base_url"]
    finally:
        server.stdin.close()
        server.wait(PATIENCE_S)


@contextmanager
def in_tmux(words: list[str], environment: dict[str, str]) -> Iterator[None]:
    size = ["-x", "96", "-y", "24"]
    given = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    tmux("new-session", "-d", "-s", SESSION, *size, *given, *words)
    tmux("set-option", "-t", SESSION, "remain-on-exit", "on")
    try:
        yield
    finally:
        tmux("kill-session", "-t", SESSION)


def tmux(*words: str) -> str:
    return subprocess.run(["tmux", *words], capture_output=True, text=True, check=True).stdout


def screen(*options: str) -> str:
    return tmux("capture-pane", "-p", "-J", *options, "-t", SESSION)


def wait_for_link() -> str:
    return str(wait_until(lambda: (found := re.search(r"http://\S+token=\S+", screen())) and found.group()))


def wait_for_end() -> None:
    wait_until(lambda: "Pane is dead" in screen() or None)


def wait_until(look: Any) -> Any:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise TimeoutError(screen())


def fluxbatch(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "fluxbatch", *words], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def reviewed(out: Path) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "fluxbatch", "review", str(out), "--serve"], stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        yield next(found.group() for line in server.stderr if (found := re.search(r"http://\S+token=\S+", line)))
    finally:
        server.terminate()
        server.wait(PATIENCE_S)


def opened(browser: Browser, address: str) -> Page:
    page = browser.new_context(locale="en-GB", viewport=WIDE, color_scheme="light").new_page()
    page.goto(address)
    page.locator(".tile").first.wait_for()
    return page


def save_terminal(browser: Browser, name: str) -> None:
    """The screen as it is, in its colours."""
    console = Console(record=True, width=96, file=io.StringIO())
    text = re.sub(r"http://\S+token=\S+", "http://127.0.0.1:41137/?token=…", screen("-e").rstrip())
    console.print(Text.from_ansi(text))
    code = '<body style="margin:0; background:{background}; color:{foreground}">'
    code += '<pre style="padding:18px; font:15px/1.35 monospace">{code}</pre>'
    page = browser.new_context(viewport={"width": 920, "height": 420}).new_page()
    page.set_content(console.export_html(theme=MONOKAI, inline_styles=True, code_format=code))
    save(page.locator("pre").screenshot(), name)


def save_page(page: Page, name: str) -> None:
    page.wait_for_timeout(500)  # what is still being decoded
    save(page.screenshot(), name)


def save(data: bytes, name: str) -> None:
    with Image.open(io.BytesIO(data)) as taken:
        picture = taken.convert("RGB")
        if picture.width > BROAD:
            picture = picture.resize((BROAD, picture.height * BROAD // picture.width), Image.Resampling.LANCZOS)
        picture.save(TARGET / f"{name}.jpg", quality=72, optimize=True)


if __name__ == "__main__":
    main()
