"""The review page in a real browser: by keyboard, for two at once, with ten thousand images."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.app.stage import photos_into, run_command
from tests.browsing import HOSTILE, Complaints, ids, needs_chromium
from tests.review.folder import make_folder
from tests.review.test_review_page import reviewing

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = [needs_chromium, pytest.mark.slow]
JOBS = [f"n-{n}" for n in range(40)]
NAME = "Ann <b>'\"</b> שלום"


def folder_of(folder: Path, jobs: list[str], *, pictures: bool = True) -> Path:
    """A folder with images, the first of them with hostile prompts."""
    fields: dict[str, dict[str, Any]] = {f"n-{n}": {"prompt": text} for n, text in enumerate(HOSTILE)}
    with ThreadPoolExecutor(1) as aside:  # playwright has a loop of its own on this thread
        aside.submit(make_folder, folder / "out", {"jobs": jobs}, fields=fields).result()
    for number, job in enumerate(jobs if pictures else []):
        Image.new("RGB", (64, 48), (number * 5 % 256, 90, 160)).save(folder / "out" / f"{job}.png")
    return folder


def come_in(browser: Browser, link: str, name: str, complaints: Complaints, **more: Any) -> Page:
    page = browser.new_context(locale="en-GB", viewport={"width": 1200, "height": 800}, **more).new_page()
    complaints.watch(page)
    page.goto(link)
    page.locator("#name").fill(name)
    page.keyboard.press("Enter")
    page.locator(".tile").first.wait_for()
    return page


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "reviews.jsonl").read_text().splitlines()]


def test_by_keyboard_for_two_at_once(browser: Browser, tmp_path: Path) -> None:
    folder, complaints = folder_of(tmp_path, JOBS), Complaints()
    with reviewing(folder) as (_, visitor):
        ann, ben = (come_in(browser, visitor.link, name, complaints) for name in (NAME, "Ben"))
        ann.locator("#grid").focus()
        for key in "aar":
            ann.keyboard.press(key)
        expect(ann.locator(".tile[aria-selected=true] b")).to_have_text("n-3")
        expect(ann.locator("#live .state")).to_have_text("3 of 40 reviewed")
        expect(ben.locator("#live .state")).to_have_text("3 of 40 reviewed")
        assert [(line["id"], line["verdict"], line["by"]) for line in lines(folder)] == [
            ("n-0", "approved", NAME),
            ("n-1", "approved", NAME),
            ("n-2", "rejected", NAME),
        ]
        ben.locator(".tile").first.click()
        expect(ben.locator(".said")).to_contain_text(f"approved by {NAME}")
        assert ben.locator(".prompt-whole").text_content() == HOSTILE[0]
        ben.keyboard.press("r")  # the last one wins, and both see it
        expect(ben.locator("#detail-id")).to_have_text("n-1")
        expect(ann.locator(".tile").first.locator(".verdict.rejected")).to_be_visible()
        ann.keyboard.press("u")
        expect(ann.locator("#live .state")).to_have_text("2 of 40 reviewed")
        expect(ann.locator(".tile[aria-selected=true] b")).to_have_text("n-2")
        for page in (ann, ben):
            assert page.evaluate("window.broken") is None
            page.context.close()
    assert not complaints


def test_notes_filters_and_what_is_being_typed(browser: Browser, tmp_path: Path) -> None:
    folder, complaints = folder_of(tmp_path, JOBS), Complaints()
    with reviewing(folder) as (_, visitor):
        ann, ben = (come_in(browser, visitor.link, name, complaints) for name in ("Ann", "Ben"))
        ann.locator("#grid").focus()
        ann.keyboard.press("n")
        ann.keyboard.type("six fin")
        ben.locator("#grid").focus()
        ben.keyboard.press("a")
        expect(ann.locator(".said")).to_contain_text("approved by Ben")
        ann.keyboard.type("gers")  # it was drawn anew under her hands
        assert ann.locator("textarea").input_value() == "six fingers"
        ann.keyboard.press("Control+Enter")
        expect(ann.locator("#live .touch").last).to_contain_text("somebody else was at it since: approved by Ben")
        ann.locator("textarea").focus()
        ann.keyboard.press("Control+Enter")
        expect(ann.locator(".said")).to_contain_text("approved by Ann")
        expect(ben.locator(".tile").first.locator(".verdict")).to_have_text("✓ ✎")
        assert (lines(folder)[-1]["verdict"], lines(folder)[-1]["note"]) == ("approved", "six fingers")
        ann.keyboard.press("Escape")
        ann.select_option("#review", "unreviewed")
        assert "n-0" not in ids(ann)
        ann.locator(".tile").first.click()
        ann.keyboard.press("r")  # it leaves the list, the next one is shown
        expect(ann.locator("#detail-id")).to_have_text("n-2")
        ann.keyboard.press("Escape")
        expect(ann.locator(".tile b").first).to_have_text("n-2")
        ann.select_option("#review", "rejected")
        assert ids(ann) == {"n-1"}
        ann.locator(".tile").click()
        ann.get_by_role("button", name="Withdraw").click()
        expect(ann.locator(".said")).to_have_text("unreviewed")
        assert lines(folder)[-1]["verdict"] is None
        for page in (ann, ben):
            page.context.close()
    assert [text for text in complaints if "409" not in text] == []


def test_what_could_not_be_saved_is_told_and_the_name_is_kept(browser: Browser, tmp_path: Path) -> None:
    folder, complaints = folder_of(tmp_path, JOBS), Complaints()
    with reviewing(folder) as (_, visitor):
        page = come_in(browser, visitor.link, NAME, complaints)
        (folder / "out" / "reviews.jsonl").mkdir()
        page.locator("#grid").focus()
        page.keyboard.press("a")
        expect(page.locator("#live .touch").last).to_contain_text("[n-0] not saved")
        expect(page.locator(".verdict")).to_have_count(0)
        expect(page.locator("#live .state")).to_have_text("0 of 40 reviewed")
        (folder / "out" / "reviews.jsonl").rmdir()
        page.reload()
        expect(page.locator("#live .live-top button")).to_have_text(f"You: {NAME}")
        assert page.locator("#name").count() == 0
        page.context.close()


@pytest.mark.slow
def test_an_image_made_again_is_shown_beside_the_one_that_gave_way(browser: Browser, tmp_path: Path) -> None:
    photos_into(tmp_path, "cup.png")
    (tmp_path / "jobs.json").write_text(
        json.dumps({"version": 1, "jobs": [{"id": "cup", "prompt": HOSTILE[0], "images": ["cup.png"]}]})
    )
    assert run_command("run", "jobs.json", "--simulate", "-o", "out", cwd=tmp_path).code == 0
    complaints = Complaints()
    with reviewing(tmp_path) as (_, visitor):
        page = come_in(browser, visitor.link, "Ann", complaints)
        page.locator(".tile").click()
        page.keyboard.press("r")
        expect(page.locator(".said")).to_contain_text("rejected by Ann")
        ran = run_command("run", "jobs.json", "--simulate", "-o", "out", "--remake", "rejected", cwd=tmp_path)
        assert ran.code == 0, ran.err
        expect(page.locator(".said")).to_have_text("changed since it was reviewed")
        expect(page.locator("#detail .side figure")).to_have_count(3)
        expect(page.locator("#detail .earlier figcaption")).to_have_text(
            "Earlier version, before round 1 (rejected by Ann)"
        )
        images = page.locator("#detail .side img")
        assert images.evaluate_all("all => Promise.all(all.map((one) => one.decode().then(() => one.naturalWidth)))")
        page.get_by_role("button", name="Swipe over the earlier version").click()
        page.locator(".swipe img").evaluate_all("all => Promise.all(all.map((image) => image.decode()))")
        page.keyboard.press("a")
        expect(page.locator("#live .state")).to_have_text("1 of 1 reviewed")
        page.context.close()
    assert not complaints


@pytest.mark.slow
def test_ten_thousand_images_are_smooth(browser: Browser, tmp_path: Path) -> None:
    jobs = [f"n-{n}" for n in range(10_000)]
    folder, complaints = folder_of(tmp_path, jobs, pictures=False), Complaints()
    with reviewing(folder) as (_, visitor):
        page = come_in(browser, visitor.link, "Ann", complaints, color_scheme="dark")
        expect(page.locator("#live .state")).to_have_text("0 of 10,000 reviewed")
        page.locator("#grid").focus()
        for _ in range(20):
            page.keyboard.press("a")
        expect(page.locator("#live .state")).to_have_text("20 of 10,000 reviewed")
        assert len(lines(folder)) == 20
        page.select_option("#review", "approved")
        expect(page.locator("#shown")).to_have_text("20 of 10000 shown")
        page.select_option("#review", "unreviewed")
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.get_by_text("n-9999", exact=True).wait_for()
        assert page.locator(".tile").count() < 60
        page.context.close()
    assert [text for text in complaints if "404" not in text] == []  # there are no pictures
