"""The gallery, in a real browser, from ``file://``."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from fluxbatch.report.gallery.page_files import PageFiles
from fluxbatch.report.gallery.timeline import Timeline
from tests.app.stage import photos_into, run_command
from tests.browsing import ARGS, CHROMIUM, HOSTILE, ids, needs_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten jobs: hostile prompts, a photo and what is made of its image."""
    folder = tmp_path_factory.mktemp("gallery")
    photos_into(folder, "cup.png")
    jobs: list[dict[str, Any]] = [{"id": f"job-{n}", "prompt": text} for n, text in enumerate(HOSTILE)]
    jobs += [{"id": "cup", "prompt": "A cup", "images": ["cup.png"], "model": "flux-2-klein-4b"}]
    jobs += [{"id": "cup-oil", "prompt": "In oil", "images": [{"job": "cup"}]}]
    (folder / "jobs.json").write_text(json.dumps({"version": 1, "jobs": jobs}))
    ran = run_command("run", "jobs.json", "--simulate", "--report", "-o", "out", cwd=folder)
    assert ran.code == 0, ran.err
    return folder / "out" / "report" / "index.html"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="en-GB", viewport={"width": 1200, "height": 800})
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    assert not complaints
    context.close()


def many_jobs(folder: Path) -> Path:
    files = PageFiles(folder)
    for first in range(0, 10_000, 500):
        numbers = range(first, first + 500)
        same = {"status": "pending", "model": "m", "inputs": []}
        jobs: list[dict[str, Any]] = [{"id": f"n-{n}", "prompt": f"Number {n}", **same} for n in numbers]
        if not first:
            jobs[7] |= {"status": "failed", "error": {"code": "moderated", "message": "<b>no</b>", "http_status": 400}}
        files.add(jobs)
    return files.finish({"out": "many", "simulated": False, "at": 0, "timeline": Timeline().as_dict({})})


@needs_chromium
def test_hostile_prompts_are_text(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    for number, prompt in enumerate(HOSTILE):
        page.locator(".tile", has=page.get_by_text(f"job-{number}", exact=True)).click()
        assert page.locator(".prompt-whole").text_content() == prompt
        page.keyboard.press("Escape")
    assert page.evaluate("window.broken") is None


@needs_chromium
def test_search_filters_keyboard_chain_and_swipe(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    assert len(ids(page)) == 10
    page.keyboard.press("/")
    page.keyboard.type("cup")
    assert ids(page) == {"cup", "cup-oil"}
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#detail-id").inner_text() == "cup-oil"
    assert page.locator(".strip button").all_inner_texts() == ["cup", "cup-oil"]
    page.get_by_role("button", name="Swipe").click()
    page.locator(".swipe img").evaluate_all("all => Promise.all(all.map((image) => image.decode()))")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    page.select_option("#model", "flux-2-klein-4b")
    assert ids(page) == {"cup"}
    page.select_option("#status", "failed")
    assert ids(page) == set()
    page.locator("#language").click()
    assert page.locator("#shown").inner_text() == "没有匹配的任务。"


@needs_chromium
@pytest.mark.slow
def test_ten_thousand_jobs_keep_few_in_the_document(page: Page, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as aside:  # playwright has a loop of its own on this thread
        index = aside.submit(many_jobs, tmp_path).result()
    page.goto(index.as_uri())
    for share in (0, 0.5, 1):
        page.evaluate(f"scrollTo(0, document.body.scrollHeight * {share})")
        page.locator(".tile").first.wait_for()
        assert page.locator(".tile").count() < 60
    page.get_by_text("n-9999", exact=True).wait_for()
    page.fill("#search", "n-4321")
    assert ids(page) == {"n-4321"}
    page.fill("#search", "")
    page.select_option("#reason", "moderated")
    assert ids(page) == {"n-7"}
    page.locator(".tile").click()
    assert page.locator(".error").inner_text() == "moderated (HTTP 400): <b>no</b>"


def test_a_second_report_keeps_small_pictures_and_leaves_nothing_over(report: Path) -> None:
    folder = report.parent
    before = {path: path.stat().st_ino for path in folder.rglob("*.jpg")}
    assert len(before) == 11
    files = len(list(folder.iterdir()))
    ran = run_command("report", "out", cwd=folder.parents[1])
    assert (ran.code, Path(ran.out.strip()).name) == (0, "index.html")
    assert {path: path.stat().st_ino for path in folder.rglob("*.jpg")} == before
    assert len(list(folder.iterdir())) == files


def test_without_a_ledger_it_says_what_to_name(tmp_path: Path) -> None:
    ran = run_command("report", ".", cwd=tmp_path)
    assert ran.code == 2
    assert "name the folder that a run wrote to" in ran.err
    assert not (tmp_path / "report").exists()


def test_a_timeline_stays_small_and_adds_up() -> None:
    timeline = Timeline()
    lines = []
    for n in range(20_000):
        at = f"2026-01-{1 + n // 2000:02}T{n % 2000 // 100:02}:00:{n % 60:02}.000+00:00"
        lines.append(json.dumps({"event": "job.submitted", "at": at, "job_id": str(n), "model": "m"}).encode())
        stored = {"event": "job.stored", "at": at, "job_id": str(n), "stored": {"url_age_s": 700}}
        lines.append(json.dumps(stored).encode())
    timeline.read([*lines, b'{"torn', b"[]", b"\xff"])
    facts = timeline.as_dict({"m": 0.5})
    assert len(facts["stored"]) <= 120
    assert sum(facts["stored"]) == sum(facts["latency"]) == facts["url_age"][-1] == 20_000
    assert sum(facts["spent_usd"]) == pytest.approx(10_000)
