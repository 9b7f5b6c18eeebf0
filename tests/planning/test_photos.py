"""Reference images by their bytes: what is refused, what is warned about, what is remembered."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from PIL import Image

from fluxbatch.model.job import Photo
from fluxbatch.model.state import Reason
from fluxbatch.planning.intake import JobList
from tests.planning.helpers import take

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fluxbatch.model.job import Json
    from tests.planning.helpers import Desk, Taken


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (64, 64), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def take_image(desk: Desk, ref: str) -> Taken:
    return desk.take_jobs({"id": "a", "prompt": "x", "images": [ref]})


def several(kind: str, mode: str = "RGB") -> bytes:
    return saved(kind, mode, save_all=True, append_images=[Image.new(mode, (64, 64), "white")])


@pytest.mark.parametrize(
    ("name", "content", "reason", "message"),
    [
        ("a.jpg", b"", Reason.BAD_IMAGE, "a.jpg: the file is empty (copy or download it again)"),
        (
            "in.heic",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            Reason.BAD_IMAGE,
            "in.heic: it is a HEIC photo, not a JPEG, PNG or WebP image (convert it: magick in.heic in.jpg)",
        ),
        (
            "my in.jpg",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            Reason.BAD_IMAGE,
            "my in.jpg: it is a HEIC photo, not a JPEG, PNG or WebP image (convert it: magick 'my in.jpg' 'my",
        ),
        (
            "a.gif",
            saved("GIF"),
            Reason.BAD_IMAGE,
            "a.gif: it is a GIF image, not a JPEG, PNG or WebP image (convert it:",
        ),
        ("a.png", b"<html>404", Reason.BAD_IMAGE, "a.png: it is an HTML page, not a JPEG, PNG or WebP image (name a"),
        ("a.jpg", saved("JPEG")[:-9], Reason.BAD_IMAGE, "a.jpg: it is cut short: "),
        (
            "a.png",
            saved("PNG", size=(63, 64)),
            Reason.BAD_IMAGE,
            "a.png: 63×64 pixels are too small, the least is 64×64 (use a larger photo)",
        ),
    ],
)
def test_photos_that_are_refused(desk: Desk, name: str, content: bytes, reason: Reason, message: str) -> None:
    (desk.folder / name).write_bytes(content)

    taken = take_image(desk, name)

    assert taken.lines[0].startswith(f"python:1: error: [a] images[1]: {message}")
    assert taken.job.defect is not None
    assert taken.job.defect.reason is reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.png",
            saved("PNG", "1", size=(2048, 2064)),
            "a.png: 2048×2064 are more than 4 MP, the service shrinks it (fit: {max_megapixels: 4})",
        ),
        (
            "a.png",
            saved("PNG", size=(100, 64)),
            "a.png: 100×64 are no multiples of 16, the service crops the edges (fit: {multiple_of: 16})",
        ),
        ("a.png", several("PNG"), "a.png: it is animated, only its first frame is sent"),
        ("a.webp", several("WEBP"), "a.webp: it is animated, only its first frame is sent"),
        ("a.png", saved("JPEG"), "a.png: it is image/jpeg by its bytes, and is sent as that"),
    ],
)
def test_photos_that_are_warned_about_once(desk: Desk, name: str, content: bytes, message: str) -> None:
    (desk.folder / name).write_bytes(content)

    taken = desk.take_jobs(*({"id": str(number), "prompt": "x", "input_image": name} for number in range(600)))

    assert taken.line.startswith(f"python:1: warning: [0] input_image: {message}")
    assert (taken.errors, taken.warnings) == (0, 1)


def test_a_body_that_gateways_refuse(desk: Desk) -> None:
    (desk.folder / "a.jpg").write_bytes(saved("JPEG") + b"\0" * (13 << 20))

    line = desk.take_jobs({"prompt": "x", "images": ["a.jpg", "a.jpg"], "id": "a"}).line

    assert line.startswith("python:1: warning: [a] images: the request is about 35 MB large, gateways tend to refuse")


def fifo(desk: Desk) -> str:
    os.mkfifo(desk.folder / "pipe.jpg")
    return "pipe.jpg"


def folder(desk: Desk) -> str:
    (desk.folder / "folder").mkdir()
    return "folder"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (folder, "folder is a folder (name an image file)"),
        (fifo, "pipe.jpg is not a regular file (name an image file)"),
        (lambda _: "person.png", "person.png: there is no such file (did you mean 'person.jpg'?)"),
        (lambda _: "PERSON.JPG", "PERSON.JPG: there is no such file (did you mean 'person.jpg'?)"),
        (lambda _: "nowhere/x.jpg", "nowhere/x.jpg: there is no such file (looked for nowhere/x.jpg)"),
        (lambda _: "person.jpg/x.jpg", "person.jpg/x.jpg: there is no such file"),
        (lambda _: "~/x.jpg", "~/x.jpg: there is no such file (write the folder in full, ~ has no meaning here)"),
        (lambda _: "a\0b", "'a\\x00b' is no path (remove the special characters)"),
        (lambda _: "x" * 300, "x" * 300 + " can't be read: File name too long"),
        (lambda _: "file:///a.jpg", "file:// addresses can't be fetched (write the path alone)"),
        (
            lambda _: "ftp://b/a.jpg",
            "ftp:// addresses can't be fetched (give an https URL, or s3:// oss:// gs:// az://)",
        ),
        (
            lambda _: "data:image/png;base64,AA",
            "is a data: URL of 24 characters (save the image as a file and name that)",
        ),
        (lambda _: "https://", "https:// has no host (write https://host/path)"),
        (lambda _: "https://[x/a.png", "it is not a valid URL (check the address)"),
        (
            lambda _: "https://me:pw@example.com/a.png?s=1",
            "https://example.com/a.png has a user name or password in it",
        ),
        (lambda _: "https://example.com/a b.png", "https://example.com/a b.png contains ' ' (write it percent-encoded"),
        (lambda _: "https://example.com/" + "a" * 9000, "https://example.com/aaaa"),
    ],
)
def test_references_that_lead_nowhere(desk: Desk, make: Callable[[Desk], str], message: str) -> None:
    desk.photo("person.jpg")

    taken = take_image(desk, make(desk))

    assert taken.line.startswith(f"python:1: error: [a] images[1]: {message}")
    assert "pw@" not in taken.line
    assert taken.job.defect is not None
    assert taken.job.defect.reason is Reason.BAD_IMAGE


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "10.0.0.7", "nas", "printer.local", "[::1]"])
def test_private_addresses_are_warned_about(desk: Desk, host: str) -> None:
    taken = take_image(desk, f"http://{host}/a.png?signature=secret")

    assert "the service fetches it itself, and can't reach" in taken.line
    assert "secret" not in taken.line
    assert taken.errors == 0


def test_digest_and_stat_of_a_photo(desk: Desk) -> None:
    path = desk.photo("a.jpg")
    status = path.stat()

    (photo,) = take_image(desk, "a.jpg").job.images

    assert isinstance(photo, Photo)
    assert photo.digest == blake3(path.read_bytes()).hexdigest()
    assert (photo.size, photo.mtime_ns, photo.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


class Notes:
    """A memo in memory that counts what it is asked."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.hits = 0
        self.puts = 0

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        found = {key: self.entries[key] for key in keys if key in self.entries}
        self.hits += len(found)
        return found

    def put(self, entries: Mapping[str, bytes]) -> None:
        self.puts += len(entries)
        self.entries.update(entries)

    def close(self) -> None:
        pass


def jobs_with(*names: str) -> list[dict[str, Json]]:
    return [{"id": name, "prompt": "x", "images": [name]} for name in names]


def test_an_unchanged_photo_is_not_read_again(desk: Desk) -> None:
    memo = Notes()
    (desk.folder / "odd.png").write_bytes(saved("PNG", size=(100, 64)))
    desk.photo("a.jpg")

    first = take(JobList(jobs_with("a.jpg", "odd.png"), desk.folder), memo=memo)
    second = take(JobList(jobs_with("a.jpg", "odd.png"), desk.folder), memo=memo)

    assert (memo.puts, memo.hits) == (2, 2)
    assert first.jobs == second.jobs
    assert first.lines == second.lines != []


def test_a_remembered_photo_is_believed_and_a_touched_one_is_not(desk: Desk) -> None:
    memo = Notes()
    path = desk.photo("a.jpg")
    digest = take(JobList(jobs_with("a.jpg"), desk.folder), memo=memo).job.fingerprint
    for key, value in memo.entries.items():
        memo.entries[key] = value.replace(b'"digest":"', b'"digest":"f')

    assert take(JobList(jobs_with("a.jpg"), desk.folder), memo=memo).job.fingerprint != digest
    os.utime(path, ns=(1, 1))
    assert take(JobList(jobs_with("a.jpg"), desk.folder), memo=memo).job.fingerprint == digest


def test_more_photos_than_are_kept_in_memory_are_still_looked_at_once(desk: Desk) -> None:
    data = saved("PNG", size=(100, 64))
    names = [f"{number}.png" for number in range(2100)]
    for name in names:
        (desk.folder / name).write_bytes(data)
    first, second = jobs_with(*names), jobs_with(*names)
    for job in second:
        job["id"] = f"again-{job['id']}"

    taken = take(JobList([*first, *second], desk.folder))

    assert (len(taken.jobs), taken.errors, taken.warnings) == (4200, 0, 2100)
