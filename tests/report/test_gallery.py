"""The gallery, in a real browser, from ``file://``."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.report.gallery.page_files import PageFiles
from fluxbatch.report.gallery.timeline import Timeline
from tests.app.stage import command, photos_into, run_command, wait_for, write_rows
from tests.browsing import HOSTILE, ids, needs_chromium
from tests.odd_api import noise, odd_api

if TYPE_CHECKING:
    from playwright.sync_api import Page


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
@pytest.mark.slow
def test_hostile_prompts_are_text(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    for number, prompt in enumerate(HOSTILE):
        page.locator(".tile", has=page.get_by_text(f"job-{number}", exact=True)).click()
        assert page.locator(".prompt-whole").text_content() == prompt
        page.keyboard.press("Escape")
    assert page.evaluate("window.broken") is None


@needs_chromium
@pytest.mark.slow
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


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with an image of each flag, and one without."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "photo.jpg").write_bytes(noise(300, 200))
    jobs: list[dict[str, Any]] = [
        {"id": "fine", "prompt": "A cup"},
        {"id": "wide", "prompt": "size 512x512", "aspect_ratio": "16:9"},
        {"id": "black", "prompt": "plain #000000"},
        {"id": "echo", "prompt": "echo", "images": ["photo.jpg"]},
        {"id": "twin-1", "prompt": "twin", "seed": 1},
        {"id": "twin-2", "prompt": "twin", "seed": 2},
    ]
    (folder / "jobs.json").write_text(json.dumps({"version": 1, "jobs": jobs}))
    with odd_api() as environment:
        ran = run_command("run", "jobs.json", "--yes", "--report", "-o", "out", cwd=folder, env=environment)
    assert ran.code == 0, ran.err
    return folder / "out" / "report" / "index.html"


@needs_chromium
@pytest.mark.slow
def test_flags_are_badges_filters_and_lead_to_the_twin(page: Page, odd: Path) -> None:
    page.goto(odd.as_uri())
    assert page.locator(".badge").count() == 5
    for flag, found in (
        ("any", {"wide", "black", "echo", "twin-1", "twin-2"}),
        ("size", {"wide"}),
        ("blank", {"black"}),
        ("same_as_input", {"echo"}),
        ("same_as_output", {"twin-1", "twin-2"}),
    ):
        page.select_option("#flag", flag)
        assert ids(page) == found
    page.locator(".tile", has_text="twin-2").click()
    assert "byte for byte the same as the image of twin-1" in page.locator(".odd").inner_text()
    page.locator(".odd button").click()
    assert page.locator("#detail-id").inner_text() == "twin-1"
    page.keyboard.press("Escape")
    page.select_option("#flag", "size")
    page.locator(".tile").click()
    assert page.locator(".odd").inner_text() == "⚑ 16:9 was asked for, this is 512x512"


@needs_chromium
@pytest.mark.slow
def test_without_flags_there_is_no_filter_for_them(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    assert page.locator("#model").is_visible()
    assert page.locator("#flag").is_hidden() == (page.locator(".badge").count() == 0)


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


def test_two_reports_into_one_folder_take_turns(report: Path) -> None:
    folder, cwd = report.parent, report.parents[2]
    with (folder / ".lock").open("r+") as lock, tempfile.TemporaryFile() as said:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = report.read_bytes()
        second = subprocess.Popen(command("report", "out"), cwd=cwd, stdout=subprocess.DEVNULL, stderr=said)
        try:
            wait_for(lambda: b"waiting for it" in os.pread(said.fileno(), 1000, 0))
            assert (second.poll(), report.read_bytes()) == (None, before)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.wait(30) == 0
        finally:
            second.kill()
            second.wait()
    several = [subprocess.Popen(command("report", "out"), cwd=cwd, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [one.wait(60) for one in several] == [0, 0, 0]
    named = set(re.findall(r'(?:src|href)="([a-z]+-[^"]+)"', report.read_text()))
    assert len(named) > 5
    assert {path.name for path in folder.iterdir() if path.suffix in {".js", ".css"}} == named


def test_a_portable_report_names_no_folder_outside(report: Path) -> None:
    cwd = report.parents[2]
    away = cwd / "customers of mine"
    away.mkdir()
    (away / "photo.jpg").write_bytes(noise(64, 64))
    jobs = [{"id": "it", "prompt": "A cup", "images": ["customers of mine/photo.jpg"]}]
    (away.parent / "away.json").write_text(json.dumps({"version": 1, "jobs": jobs}))
    assert run_command("run", "away.json", "--simulate", "-o", "there", cwd=cwd).code == 0

    def data(*args: str) -> str:
        assert run_command("report", "there", *args, cwd=cwd).code == 0
        [file] = (cwd / "there" / "report").glob("data-*.js")
        return file.read_text()

    assert "customers%20of%20mine" in data()
    text = data("--portable")
    assert "customers" not in text
    assert '"ref":"photo.jpg","thumb":"thumbs/' in text
    assert '"href":"../it.jpg"' in text


def test_a_report_that_can_not_be_written_changes_nothing_of_the_run(tmp_path: Path) -> None:
    write_rows(tmp_path / "jobs.jsonl", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report").write_text("a file of somebody's")
    ran = run_command("run", "jobs.jsonl", "--simulate", "--report", "-o", "out", "--json", cwd=tmp_path)
    assert (ran.code, ran.summary["stored"]) == (0, 1)
    assert "the report was not written" in ran.err
    alone = run_command("report", "out", cwd=tmp_path)
    assert (alone.code, alone.out) == (3, "")
    assert "the last report stands" in alone.err
    assert "Traceback" not in ran.err + alone.err
    assert (tmp_path / "out" / "report").read_text() == "a file of somebody's"


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
    assert set(facts["limit"]) == {None}, "folders of old have none"


def test_a_timeline_tells_what_was_really_spent_and_the_limit_at_each_moment() -> None:
    def told(event: str, second: float, **facts: object) -> bytes:
        at = f"2026-01-01T00:{int(second) // 60:02}:{second % 60:06.3f}+00:00"
        return json.dumps({"event": event, "at": at, **facts}).encode()

    lines = [told("run.started", 0), told("limit.changed", 0, limit=4)]
    for n, usd in enumerate((0.03, 0.07, 0.5)):
        lines.append(told("job.submitted", n, job_id=str(n), model="m"))
        lines.append(told("job.granted", n + 0.5, job_id=str(n), usd=usd))
        lines.append(told("job.stored", n + 0.6, job_id=str(n), usd=0.0, stored={}))
    lines.append(told("limit.changed", 100, limit=9))
    lines.append(told("job.submitted", 150, job_id="x", model="m"))
    lines.append(told("job.requeued", 151, job_id="x", reason="rate_limited", charge="none", usd=0.0))
    lines.append(told("job.submitted", 160, job_id="x", model="m"))
    lines.append(told("job.failed", 161, job_id="x", charge="charged", usd=0.25))
    timeline = Timeline()
    timeline.read(lines)
    facts = timeline.as_dict({"m": 99.0})
    assert facts["bin_s"] == 2
    assert (facts["spent_usd"][:2], sum(facts["spent_usd"])) == ([0.1, 0.5], pytest.approx(0.85))
    assert facts["limit"] == [4] * 50 + [9] * 31
    assert (sum(facts["limited"]), facts["limited"][75]) == (1, 1)
