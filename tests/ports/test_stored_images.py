"""What becomes of images in a folder after they were stored: pointers of Git LFS, copies, removal."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.disk import FileSource, FolderSink
from fluxbatch.errors import PhotoChanged, PhotoError, StorageError
from fluxbatch.ports import Presence
from fluxbatch.testing import make_png

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.model.job import Stored

PNG = make_png(3)
SHA256 = hashlib.sha256(PNG).hexdigest()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    return out


@pytest.fixture
def sink(out: Path) -> FolderSink:
    sink = FolderSink(out, out / ".fluxbatch" / "landing")
    sink.sweep()
    return sink


@pytest.fixture
def bare(out: Path, tmp_path: Path) -> FolderSink:
    """Nothing but outputs in its folder."""
    sink = FolderSink(out, tmp_path / "landing")
    sink.sweep()
    return sink


async def store(sink: FolderSink, name: str, data: bytes = PNG) -> Stored:
    landing = await sink.land()
    landing.write(data)
    return await landing.commit(name)


def pointer(sha256: str = SHA256, size: int = len(PNG)) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (sha256.encode(), size)


# --------------------------------------------------------------------------------------------------------- pointers
async def test_a_checkout_without_its_files_is_no_loss(sink: FolderSink, out: Path) -> None:
    stored = await store(sink, "cat")
    (out / "cat.png").write_bytes(pointer())
    assert await sink.check([stored]) == [Presence.SAME]
    with pytest.raises(PhotoError, match="pointer") as caught:
        await sink.photo(stored)
    assert not isinstance(caught.value, PhotoChanged)
    assert "git lfs pull" in caught.value.remedy
    with pytest.raises(PhotoChanged) as caught:
        await sink.copy(stored, "copy")
    assert "git lfs pull" in caught.value.remedy
    assert list((out / ".fluxbatch" / "landing").iterdir()) == []
    assert await sink.remove(stored)
    assert not (out / "cat.png").exists()


async def test_a_pointer_as_large_as_its_image_is_one(sink: FolderSink, out: Path) -> None:
    (out / "cat.png").write_bytes(pointer(size=len(pointer(size=100))))
    stored = replace(await store(sink, "other"), file="cat.png", bytes=len(pointer(size=100)))
    assert await sink.check([stored]) == [Presence.SAME]


@pytest.mark.parametrize(
    "data",
    [
        pointer(sha256="00" * 32),
        pointer(size=len(PNG) + 1),
        pointer().replace(b"/v1", b"/v2"),
        pointer() + b" " * 1024,
        pointer().replace(b"sha256:", b""),
        b"version https://git-lfs.github.com/spec/v1",
        b"",
        b"\n",
        PNG[:40],
    ],
)
async def test_anything_else_was_edited(sink: FolderSink, out: Path, data: bytes) -> None:
    stored = await store(sink, "cat")
    (out / "cat.png").write_bytes(data)
    assert await sink.check([stored]) == [Presence.ALTERED]
    assert not await sink.remove(stored)
    assert (out / "cat.png").read_bytes() == data


# ---------------------------------------------------------------------------------------------------------- photos
async def test_an_output_can_be_opened_as_a_photo(sink: FolderSink, out: Path) -> None:
    stored = await store(sink, "a/cat")
    photo = await sink.photo(stored)
    FileSource().open(photo).close()
    (out / "a" / "cat.png").write_bytes(make_png(4))
    with pytest.raises(PhotoChanged):
        FileSource().open(photo)


async def test_an_output_that_can_not_be_read_says_so(sink: FolderSink, out: Path) -> None:
    stored = await store(sink, "cat")
    (out / "cat.png").unlink()
    (out / "cat.png").mkdir()
    with pytest.raises(PhotoError, match=r"cat\.png can't be read"):
        await sink.photo(stored)
    with pytest.raises(StorageError, match=r"cat\.png can't be read"):
        await sink.copy(stored, "copy")
    assert list((out / ".fluxbatch" / "landing").iterdir()) == []


# --------------------------------------------------------------------------------------------------------- removal
async def test_empty_folders_go_and_the_others_stay(sink: FolderSink, out: Path) -> None:
    deep, beside = await store(sink, "a/b/c/deep"), await store(sink, "a/beside")
    assert await sink.remove(deep)
    assert [path.name for path in (out / "a").iterdir()] == ["beside.png"]
    assert await sink.remove(beside)
    assert [path.name for path in out.iterdir()] == [".fluxbatch"]


async def test_the_output_folder_itself_stays(bare: FolderSink, out: Path) -> None:
    assert await bare.remove(await store(bare, "cat"))
    assert list(out.iterdir()) == []


async def test_what_can_not_be_removed_is_a_matter_of_the_disk(sink: FolderSink, out: Path) -> None:
    stored = await store(sink, "cat")
    facts = (out / "cat.png").stat()
    (out / "cat.png").unlink()
    (out / "cat.png").mkdir()  # of the same size and time: it stands for any other error
    stored = replace(stored, bytes=(out / "cat.png").stat().st_size, mtime_ns=(out / "cat.png").stat().st_mtime_ns)
    assert facts.st_size != stored.bytes
    with pytest.raises(StorageError, match=r"cat\.png"):
        await sink.remove(stored)
