"""A folder of photos and a prompt: no manifest needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.model.state import Reason

if TYPE_CHECKING:
    import pytest

    from tests.planning.helpers import Desk


def test_a_folder_of_photos(desk: Desk) -> None:
    for name in ("10.jpg", "2.JPG", "1.jpg", ".hidden.jpg", "below/x.jpg"):
        desk.photo(f"photos/{name}")
    logo = desk.photo("logo.png", "cup.png")
    (desk.folder / "photos/notes.txt").write_text("x")

    taken = desk.take_photos(
        [desk.folder / "photos"],
        with_images=(logo, "https://example.com/a.png"),
        model="flux-2-max",
        overrides={"seed": 3},
    )

    assert taken.line == "photos: warning: 'notes.txt' is no photo, and left out"
    assert [job.id for job in taken.jobs] == ["1", "2", "10"]
    first = taken.jobs[0]
    assert [image.ref for image in first.images] == [
        str(desk.folder / "photos/1.jpg"),
        str(logo),
        "https://example.com/a.png",
    ]
    assert (first.manifest, first.model, first.fields["seed"]) == ("photos", "flux-2-max", 3)
    assert first.fields["prompt"] == "White background"
    assert taken.outs == [("photos", None, desk.folder / "photos-out")]


def test_a_single_folder_gives_its_name_to_the_output(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.photo("cats/a.jpg")
    monkeypatch.chdir(desk.folder)

    assert desk.take_photos([desk.folder / "cats"]).outs[0][2] == desk.folder / "cats-out"
    assert desk.take_photos([desk.folder / "cats/a.jpg"]).outs[0][2] == desk.folder / "photos-out"


def test_places_are_photos(desk: Desk) -> None:
    (desk.folder / "p").mkdir()
    (desk.folder / "p/a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    desk.photo("p/b.jpg")

    taken = desk.take_photos([desk.folder / "p"])

    assert taken.line.startswith("p/a.heic: error: [a] images[1]: p/a.heic: it is a HEIC photo")
    assert [(job.id, job.defect and job.defect.reason) for job in taken.jobs] == [("a", Reason.BAD_IMAGE), ("b", None)]


def test_two_photos_of_one_name_are_an_error(desk: Desk) -> None:
    desk.photo("p/a.jpg")
    desk.photo("p/a.png", "cup.png")

    taken = desk.take_photos([desk.folder / "p"])

    assert taken.line == "p/a.png: error: [a] id: the id 'a' is taken by p/a.jpg (rename one of the photos)"


def test_explicit_files_that_are_no_photos(desk: Desk) -> None:
    (desk.folder / "notes.txt").write_text("x")
    desk.photo("cat.jpg")

    taken = desk.take_photos([desk.folder / "notes.txt", desk.folder / "cta.jpg"])

    assert [line.partition(": error: ")[0] for line in taken.lines] == ["notes.txt", "cta.jpg"]
    assert "it is no image that is known here, not a JPEG" in taken.lines[0]
    assert "there is no such file (did you mean 'cat.jpg'?)" in taken.lines[1]


def test_an_empty_folder_and_an_empty_prompt(desk: Desk) -> None:
    (desk.folder / "p").mkdir()

    empty = desk.take_photos([desk.folder / "p"])
    assert empty.line == "photos: error: there are no photos in p (it needs .jpg, .png or .webp files)"
    assert empty.fatal == 1
    assert desk.take_photos([desk.photo("p/a.jpg")], prompt=" ").line.startswith("photos: error: prompt: the prompt is")


def test_what_all_photos_have_in_common_is_wrong_once(desk: Desk) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        desk.photo(f"p/{name}")

    taken = desk.take_photos([desk.folder / "p"], model="flux-9", with_images=(desk.folder / "lgo.png",))

    assert [line.partition(" (")[0] for line in taken.lines] == [
        "photos: error: [a] model: 'flux-9' is not a known model, and the same in 2 more jobs",
        "photos: error: [a] images[2]: lgo.png: there is no such file, and the same in 2 more jobs",
    ]
