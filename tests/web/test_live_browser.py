"""The live page in a real browser, while a run goes on."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.app.stage import Api, photos_into, serving, wait_for
from tests.browsing import HOSTILE, ids, needs_chromium
from tests.web.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page

    from tests.app.stage import Child

pytestmark = [needs_chromium, pytest.mark.slow]
FRAMES = """() => new Promise((done) => {
  const times = [], end = performance.now() + 3000;
  let last = performance.now(), at = 0;
  const frame = (now) => {
    times.push(now - last); last = now; at += 400; scrollTo(0, at);
    if (now < end) requestAnimationFrame(frame); else done(times.sort((a, b) => a - b));
  };
  requestAnimationFrame(frame);
})"""


@pytest.fixture(scope="module")
def slow_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("slow"), latency_s=0.4) as running:
        yield running


@contextmanager
def shown(api: Api, folder: Path, page: Page, jobs: list[dict[str, Any]], *args: str) -> Iterator[Child]:
    """A run, and a page that was opened by its link."""
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    words = ("jobs.jsonl", "--yes", "-o", "out", "--concurrency", "2", *args, "--serve")
    with api.running(*words, cwd=folder) as child:
        wait_for(lambda: "token=" in child.said or child.ended)
        page.goto(child.said.split("page: ")[1].split()[0])
        page.locator(".tile").first.wait_for()
        yield child


def test_images_land_before_ones_eyes_and_hostile_text_is_text(slow_api: Api, tmp_path: Path, page: Page) -> None:
    photos_into(tmp_path, "cup.png")
    jobs: list[dict[str, Any]] = [{"id": f"job-{n}", "prompt": text} for n, text in enumerate(HOSTILE)]
    jobs += [{"id": "<b>cup & 'q'", "prompt": "A cup", "images": ["cup.png"]}, {"id": "last", "prompt": "Last"}]
    with shown(slow_api, tmp_path, page, jobs) as child:
        expect(page.locator(".tile")).to_have_count(10)
        assert "token" not in page.url
        expect(page.locator(".tile .face.pending").first).to_be_visible()
        expect(page.locator(".tile .face img").first).to_be_visible()
        expect(page.locator("#live .strip img").first).to_be_visible()
        expect(page.locator("#live")).to_contain_text("of 10 made")
        expect(page.locator("#live .state")).to_contain_text("The run is over (exit code 0).", timeout=30_000)
        expect(page.locator("#counts")).to_contain_text("10 made")
        expect(page.locator(".tile .face.pending")).to_have_count(0)
        assert child.finish().code == 0
    for number, prompt in enumerate(HOSTILE):
        page.locator(".tile", has=page.get_by_text(f"job-{number}", exact=True)).click()
        assert page.locator(".prompt-whole").text_content() == prompt
        page.keyboard.press("Escape")
    assert page.evaluate("window.broken") is None


def test_what_is_chosen_stays_and_the_button_stops(slow_api: Api, tmp_path: Path, page: Page) -> None:
    jobs = [{"id": f"n-{n}", "prompt": f"Number {n}"} for n in range(60)]
    with shown(slow_api, tmp_path, page, jobs, "--budget", "900/month") as child:
        expect(page.locator("#live")).to_contain_text("of the $900")
        page.select_option("#status", "pending")
        page.locator("#grid").focus()
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        expect(page.locator("#detail-id")).to_have_text("n-59")
        before = page.locator("#shown").text_content()
        expect(page.locator("#shown")).not_to_have_text(before or "")  # some have landed
        expect(page.locator("#detail-id")).to_have_text("n-59")
        page.keyboard.press("Escape")
        expect(page.locator(".tile[aria-selected=true] b")).to_have_text("n-59")
        page.get_by_role("button", name="Stop the run").click()
        page.get_by_role("button", name="Sure?").click()
        expect(page.locator("#live .state")).to_contain_text("exit code 130", timeout=30_000)
        expect(page.locator("#live .stop")).to_be_hidden()
        assert child.finish().code == 130


@pytest.mark.slow
def test_who_was_away_sees_how_it_stands(slow_api: Api, tmp_path: Path, context: BrowserContext) -> None:
    page = context.new_page()
    jobs = [{"id": f"n-{n}", "prompt": f"Number {n}"} for n in range(60)]
    with shown(slow_api, tmp_path, page, jobs), Tunnel(page.url) as tunnel:
        page.goto(tunnel.url)
        expect(page.locator("#live .strip img").first).to_be_visible()
        tunnel.cut()
        expect(page.locator("#live .touch")).to_contain_text("Connection lost")
        missed = page.locator("#counts").text_content()
        wait_for(lambda: len(list((tmp_path / "out").glob("n-*"))) > 8)
        assert page.locator("#counts").text_content() == missed
        tunnel.mend()
        expect(page.locator("#counts")).not_to_have_text(missed or "")
        expect(page.locator("#live .touch")).to_be_empty()
        there = len(list((tmp_path / "out").glob("n-*")))
        expect(page.locator(".tile .face img")).not_to_have_count(0)
        assert there > 8


def test_without_the_cookie_there_is_no_page(slow_api: Api, tmp_path: Path, context: BrowserContext) -> None:
    page = context.new_page()
    with shown(slow_api, tmp_path, page, [{"id": f"n-{n}", "prompt": str(n)} for n in range(20)]):
        expect(page.locator(".tile").first).to_be_visible()
        cookie = context.cookies()[0]
        assert cookie.get("httpOnly")
        assert cookie.get("sameSite") == "Strict"
        assert page.evaluate("document.cookie") == ""
        address = page.url
        context.clear_cookies()
        stranger = context.new_page()
        stranger.goto(address)
        expect(stranger.locator("body")).to_contain_text("open the link that was printed")
        assert ids(stranger) == set()
        stranger.close()


@pytest.mark.slow
def test_ten_thousand_jobs_stay_smooth_while_images_land(tmp_path: Path, page: Page) -> None:
    jobs = [{"id": f"n-{n}", "prompt": f"Number {n}"} for n in range(10_000)]
    with serving(tmp_path / "simulator", latency_s=0.1) as api, shown(api, tmp_path, page, jobs) as child:
        expect(page.locator("#counts")).to_contain_text("10000 jobs", timeout=30_000)
        expect(page.locator("#live .strip img").first).to_be_visible(timeout=15_000)
        times = page.evaluate(FRAMES)
        assert times[len(times) // 2] < 50, "half of the frames took longer than 50 ms"
        assert page.locator(".tile").count() < 60
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.get_by_text("n-9999", exact=True).wait_for()
        page.fill("#search", "n-4321")
        assert ids(page) == {"n-4321"}
        page.fill("#search", "")
        page.get_by_role("button", name="Stop the run").click()
        page.get_by_role("button", name="Sure?").click()
        expect(page.locator("#live .state")).to_contain_text("exit code 130", timeout=30_000)
        assert child.finish().code == 130
