"""What every ``Sink`` and its landings hold to."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
from blake3 import blake3

from fluxbatch.errors import DeliveryError, PhotoChanged, PhotoError, StorageError, TargetBlocked
from fluxbatch.model.state import Reason
from fluxbatch.ports import Presence
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.images import make_jpeg, make_png

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fluxbatch.model.job import Stored
    from fluxbatch.ports import Landing, Sink

__all__ = ["CASES", "Case", "Factory", "Rig"]

_PNG: Final = make_png(1, width=96, height=64)
_NEVER: Final = 9e9
"""epoch seconds that no clock shows yet"""
_OTHER: Final = make_png(2, width=32, height=32)


class Rig(Protocol):
    """A sink that is empty at first, and someone else who gets at its files."""

    @property
    def sink(self) -> Sink:
        """What is under test."""
        ...

    def read(self, file: str) -> bytes | None:
        """The bytes of an output, None if there is none."""
        ...

    def alter(self, file: str, data: bytes) -> None:
        """Write a file as someone else would, with its folders, at another time than what is there."""
        ...

    def remove(self, file: str) -> None:
        """Remove a file, and the folders that are empty without it."""
        ...

    def leftovers(self) -> int:
        """Temporary files that are there."""
        ...

    def spool(self, data: bytes) -> Path:
        """A file with these bytes, to be adopted."""
        ...

    def full(self) -> AbstractContextManager[None]:
        """While it is entered, nothing can be committed."""
        ...


Factory: TypeAlias = "Callable[[], AbstractContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def an_image_lands(make: Factory) -> None:
    """Piece by piece, untouched, under its name and the extension that its bytes ask for."""
    with make() as rig:
        landing = await rig.sink.land()
        equal(landing.size, 0, "bytes of a new landing")
        for start in range(0, len(_PNG), 50):
            landing.write(_PNG[start : start + 50])
        equal(landing.size, len(_PNG), "bytes so far")
        equal(rig.read("cat.png"), None, "the output before the commit")
        stored = await landing.commit("cat")
        equal(rig.read("cat.png"), _PNG, "the output")
        facts = (stored.file, stored.sha256, stored.bytes, stored.width, stored.height)
        equal(facts, ("cat.png", hashlib.sha256(_PNG).hexdigest(), len(_PNG), 96, 64), "what was stored")
        equal((stored.fingerprint, stored.url_age_s), ("", None), "what the caller fills in")
        equal(rig.leftovers(), 0, "temporary files")


async def the_extension_is_by_the_bytes(make: Factory) -> None:
    """Whatever was asked for."""
    with make() as rig:
        stored = await _store(rig.sink, "dog.png", make_jpeg(1))
        equal(stored.file, "dog.png.jpg", "the file of a JPEG")


async def folders_are_made(make: Factory) -> None:
    """A name may hold folders."""
    with make() as rig:
        stored = await _store(rig.sink, "a/b/c", _PNG)
        equal((stored.file, rig.read("a/b/c.png")), ("a/b/c.png", _PNG), "an output in folders")


async def what_is_there_is_replaced(make: Factory) -> None:
    """All at once."""
    with make() as rig:
        await _store(rig.sink, "cat", _OTHER)
        landing = await rig.sink.land()
        landing.write(_PNG)
        equal(rig.read("cat.png"), _OTHER, "the output before the second commit")
        await landing.commit("cat")
        equal(rig.read("cat.png"), _PNG, "the output after it")


async def no_image_never_lands(make: Factory) -> None:
    """HTML, nothing, half an image, a damaged one: refused as corrupt, and the output stays as it was."""
    damaged = bytearray(_PNG)
    damaged[-20] ^= 0xFF
    for what, data in (
        ("HTML", b"<html><body>Sign in</body></html>"),
        ("nothing", b""),
        ("half a PNG", _PNG[: len(_PNG) // 2]),
        ("a PNG without its end", _PNG[:-12]),
        ("a damaged PNG", bytes(damaged)),
        ("half a JPEG", make_jpeg(1)[:-2]),
        ("a GIF", b"GIF89a" + b"\0" * 40),
    ):
        with make() as rig:
            await _store(rig.sink, "cat", _OTHER)
            landing = await rig.sink.land()
            landing.write(data)
            with raises(DeliveryError, what) as caught:
                await landing.commit("cat")
            expect(caught.error.corrupt, f"{what} is corrupt")
            equal(caught.error.reason, Reason.DOWNLOAD_FAILED, f"reason for {what}")
            equal(rig.read("cat.png"), _OTHER, f"the output after {what}")
            landing.restart()
            landing.write(_PNG)
            await landing.commit("cat")
            equal(rig.read("cat.png"), _PNG, f"the output after {what} and a second try")


async def a_checksum_is_held_to(make: Factory) -> None:
    """An image that is whole and not the one the host has."""
    with make() as rig:
        landing = await rig.sink.land()
        landing.write(_PNG)
        landing.md5 = b64encode(hashlib.md5(_OTHER, usedforsecurity=False).digest()).decode()
        with raises(DeliveryError, "another checksum") as caught:
            await landing.commit("cat")
        expect(caught.error.corrupt, "another checksum is corrupt")
        landing.md5 = b64encode(hashlib.md5(_PNG, usedforsecurity=False).digest()).decode()
        await landing.commit("cat")


async def a_restart_forgets(make: Factory) -> None:
    """Bytes, ETag and checksum."""
    with make() as rig:
        landing = await rig.sink.land()
        landing.write(_OTHER + b"more")
        landing.etag, landing.md5 = '"one"', "bm90IGl0"
        landing.restart()
        equal((landing.size, landing.etag, landing.md5), (0, "", ""), "a landing that was restarted")
        landing.write(_PNG)
        await landing.commit("cat")
        equal(rig.read("cat.png"), _PNG, "the output")


async def nothing_is_left_behind(make: Factory) -> None:
    """By a landing that is given up, however often."""
    with make() as rig:
        landing = await rig.sink.land()
        landing.write(_PNG[:100])
        await landing.discard()
        await landing.discard()
        equal(rig.leftovers(), 0, "temporary files")
        landing = await rig.sink.land()
        landing.write(_PNG)
        await landing.commit("cat")
        await landing.discard()
        equal((rig.leftovers(), rig.read("cat.png")), (0, _PNG), "temporary files and output, discarded after a commit")


async def a_full_disk_keeps_the_landing(make: Factory) -> None:
    """It may be committed again."""
    with make() as rig:
        landing = await rig.sink.land()
        landing.write(_PNG)
        with rig.full(), raises(StorageError, "a sink that takes nothing"):
            await landing.commit("folder/cat")
        equal(landing.size, len(_PNG), "bytes of the landing")
        stored = await landing.commit("folder/cat")
        equal(rig.read(stored.file), _PNG, "the output of the second commit")


async def a_folder_in_the_way_blocks_one_job(make: Factory) -> None:
    """Where the file belongs, there is a folder: no other job is concerned, and the landing is kept."""
    with make() as rig:
        rig.alter("deep/cat.png/mine.txt", b"mine")
        landing = await rig.sink.land()
        landing.write(_PNG)
        with raises(TargetBlocked, "a folder under the name of the output") as caught:
            await landing.commit("deep/cat")
        expect("deep/cat.png" in caught.error.message, f"the path is not told: {caught.error.message}")
        expect("is a folder" in caught.error.message, f"what is there is not told: {caught.error.message}")
        expect(bool(caught.error.remedy), "there is no remedy")
        equal(rig.read("deep/cat.png/mine.txt"), b"mine", "what was there")
        await _store(rig.sink, "deep/dog", _OTHER)
        rig.remove("deep/cat.png/mine.txt")
        await landing.commit("deep/cat")
        equal(rig.read("deep/cat.png"), _PNG, "the output once the folder is gone")
        equal(rig.leftovers(), 0, "temporary files")


async def a_file_in_the_way_blocks_one_job(make: Factory) -> None:
    """Where one of its folders belongs, there is a file."""
    with make() as rig:
        rig.alter("way", b"mine")
        for filename in ("way/cat", "way/further/cat"):
            landing = await rig.sink.land()
            landing.write(_PNG)
            with raises(TargetBlocked, f"a file in the way of {filename}") as caught:
                await landing.commit(filename)
            expect("way is a file" in caught.error.message, f"what is there is not told: {caught.error.message}")
            equal(landing.size, len(_PNG), "bytes of the landing")
            equal(rig.read("way"), b"mine", "what was there")
            await landing.discard()
        landing = await rig.sink.land()
        landing.write(_PNG)
        with raises(TargetBlocked, "a file in the way"):
            await landing.commit("way/cat")
        rig.remove("way")
        await landing.commit("way/cat")
        equal((rig.read("way/cat.png"), rig.leftovers()), (_PNG, 0), "the output once the file is gone")


async def a_file_is_adopted(make: Factory) -> None:
    """Its bytes land, and it is gone."""
    with make() as rig:
        path = rig.spool(_PNG)
        landing = await rig.sink.adopt(path)
        equal(landing.size, len(_PNG), "bytes of the landing")
        expect(not await anyio.Path(path).exists(), "the file is still there")
        await landing.commit("cat")
        equal((rig.read("cat.png"), rig.leftovers()), (_PNG, 0), "output and temporary files")


async def outputs_are_told_apart(make: Factory) -> None:
    """Same, missing, altered; another time alone is no change."""
    with make() as rig:
        names = ("same", "touched", "gone", "edited", "longer")
        stored = [await _store(rig.sink, name, _PNG) for name in names]
        rig.alter("touched.png", _PNG)
        rig.remove("gone.png")
        edited = bytearray(_PNG)
        edited[50] ^= 1
        rig.alter("edited.png", bytes(edited))
        rig.alter("longer.png", _PNG + b"!")
        found = await rig.sink.check(stored)
        wanted = [Presence.SAME, Presence.SAME, Presence.MISSING, Presence.ALTERED, Presence.ALTERED]
        equal(dict(zip(names, found, strict=True)), dict(zip(names, wanted, strict=True)), "what became of outputs")
        equal(await rig.sink.check([]), [], "what became of none")


async def what_is_there_is_told(make: Factory) -> None:
    """Outputs by their names without extension, in folders too, whoever made them; and nothing else."""
    with make() as rig:
        await _store(rig.sink, "ours", _PNG)
        await _store(rig.sink, "a/b/deep", make_jpeg(1))
        rig.alter("theirs.png", b"not even an image")
        rig.alter("both.png", _PNG)
        rig.alter("both.jpg", make_jpeg(2))
        rig.alter("dotted.name.png", _PNG)
        rig.alter("folder.png/inside.png", _PNG)
        rig.alter("notes.txt", b"no output")
        rig.alter("bare", b"no output")
        asked = ("ours", "a/b/deep", "theirs", "both", "dotted.name", "dotted", "folder", "notes", "bare", "missing")
        found = await rig.sink.taken([*asked, "a/b", "a/missing", "ours/below", "notes.txt/below", "bare/a/b"])
        wanted = {
            "ours": "ours.png",
            "a/b/deep": "a/b/deep.jpg",
            "theirs": "theirs.png",
            "both": "both.jpg",
            "dotted.name": "dotted.name.png",
            "folder": "folder.png",
            "notes.txt/below": "notes.txt",
            "bare/a/b": "bare",
        }
        equal(found, wanted, "what is there under these names, or where their folders belong")
        equal(await rig.sink.taken(["missing"]), {}, "what is there under a name that nobody has")
        equal(await rig.sink.taken([]), {}, "what is there under no names")


async def what_landed_unrecorded_is_found(make: Factory) -> None:
    """Whole images alone, and none that was there before."""
    with make() as rig:
        stored = await _store(rig.sink, "a/ours", _PNG)
        rig.alter("theirs.png", b"not even an image")
        found = await rig.sink.landed("a/ours", 0.0)
        equal(found, replace(stored, fingerprint="", url_age_s=None), "an output that was put there lately")
        equal(await rig.sink.landed("a/ours", _NEVER), None, "an output that was there before")
        for name in ("theirs", "missing", "a"):
            equal(await rig.sink.landed(name, 0.0), None, f"an image that landed as {name}")


async def an_output_is_a_photo(make: Factory) -> None:
    """As it is now: an edited one counts as it was edited."""
    with make() as rig:
        stored = await _store(rig.sink, "a/cat", _PNG)
        photo = await rig.sink.photo(stored)
        equal((photo.ref, photo.mime, photo.size), ("a/cat.png", "image/png", len(_PNG)), "name, kind and size")
        equal((photo.width, photo.height, photo.fitting), (96, 64, None), "width, height and fitting")
        equal((photo.digest, photo.mtime_ns), (blake3(_PNG).hexdigest(), stored.mtime_ns), "digest and time")
        expect(photo.path.startswith("/") and photo.path.endswith("a/cat.png"), f"no absolute path: {photo.path}")
        equal(await rig.sink.photo(stored), photo, "the same output once more")
        rig.alter("a/cat.png", _OTHER)
        edited = await rig.sink.photo(stored)
        equal((edited.width, edited.height), (32, 32), "pixels of an edited output")
        equal((edited.size, edited.digest), (len(_OTHER), blake3(_OTHER).hexdigest()), "bytes of an edited output")
        expect(edited.mtime_ns != photo.mtime_ns, "an edited output has the time of the first one")


async def what_is_no_photo_is_none(make: Factory) -> None:
    """Gone, or no whole image any more."""
    with make() as rig:
        stored = await _store(rig.sink, "a/cat", _PNG)
        rig.alter("a/cat.png", _PNG[:-9])
        with raises(PhotoError, "half an output") as caught:
            await rig.sink.photo(stored)
        expect(not isinstance(caught.error, PhotoChanged), "half an output is taken for one that is gone")
        expect("a/cat.png" in caught.error.message, f"the output is not named: {caught.error.message}")
        rig.remove("a/cat.png")
        with raises(PhotoChanged, "an output that is gone"):
            await rig.sink.photo(stored)


async def an_output_is_copied(make: Factory) -> None:
    """Untouched, under another name, with what is known of the one that it was made from."""
    with make() as rig:
        first = await _store(rig.sink, "cat", _PNG)
        known = replace(first, fingerprint="f", url_age_s=9.0, model="m", seed=7)
        copied = await rig.sink.copy(known, "a/b/copy.png")
        wanted = replace(known, file="a/b/copy.png.png", url_age_s=None, mtime_ns=copied.mtime_ns, etag=copied.etag)
        equal(copied, wanted, "what was copied")
        equal((rig.read("a/b/copy.png.png"), rig.read("cat.png")), (_PNG, _PNG), "both outputs")
        equal(await rig.sink.check([copied, first]), [Presence.SAME, Presence.SAME], "what became of both")
        rig.alter("other.png", _OTHER)
        await rig.sink.copy(first, "other")
        equal((rig.read("other.png"), rig.leftovers()), (_PNG, 0), "a copy over another output, and temporary files")


async def only_what_was_stored_is_copied(make: Factory) -> None:
    """Not what someone made of it; and a copy that can't be placed leaves nothing behind."""
    with make() as rig:
        stored = await _store(rig.sink, "cat", _PNG)
        rig.alter("way", b"mine")
        with raises(TargetBlocked, "a file in the way of a copy"):
            await rig.sink.copy(stored, "way/copy")
        with rig.full(), raises(StorageError, "a copy into a sink that takes nothing"):
            await rig.sink.copy(stored, "copy")
        rig.alter("cat.png", _OTHER)
        with raises(PhotoChanged, "a copy of an edited output"):
            await rig.sink.copy(stored, "copy")
        rig.remove("cat.png")
        with raises(PhotoChanged, "a copy of an output that is gone"):
            await rig.sink.copy(stored, "copy")
        equal((rig.read("copy.png"), rig.leftovers()), (None, 0), "a copy and temporary files")


async def an_output_is_removed(make: Factory) -> None:
    """With folders that are empty then; not if it is another one now; and it may be asked for again."""
    with make() as rig:
        one, two, three = [await _store(rig.sink, name, _PNG) for name in ("a/b/one", "a/two", "three")]
        equal(await rig.sink.remove(one), True, "whether an output was removed")
        equal((rig.read("a/b/one.png"), rig.read("a/two.png")), (None, _PNG), "the output and the one above it")
        rig.alter("a/b", b"no folder")
        equal(await rig.sink.remove(one), True, "whether an output that is gone is out of the way")
        rig.alter("a/two.png", _OTHER)
        equal(await rig.sink.remove(two), False, "whether an edited output was removed")
        equal((rig.read("a/two.png"), rig.read("a/b")), (_OTHER, b"no folder"), "what others have written")
        rig.alter("three.png", _PNG)
        equal(await rig.sink.remove(three), True, "whether an output with another time was removed")
        equal(rig.read("three.png"), None, "an output with another time")
        await _store(rig.sink, "four", _PNG)


async def landings_do_not_meet(make: Factory) -> None:
    """Many at a time, into the same new folder."""
    with make() as rig:
        images = [make_png(n, width=40 + n) for n in range(12)]

        async def one(number: int, landing: Landing) -> None:
            landing.write(images[number])
            await landing.commit(f"new/folder/{number}")

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(one, number, await rig.sink.land())
        equal([rig.read(f"new/folder/{n}.png") for n in range(12)], images, "twelve outputs landed at a time")


async def room_is_told(make: Factory) -> None:
    """In bytes."""
    with make() as rig:
        expect(await rig.sink.room() > 0, "there is no room")


async def _store(sink: Sink, name: str, data: bytes) -> Stored:
    landing = await sink.land()
    landing.write(data)
    return await landing.commit(name)


CASES: Final[list[Case]] = [
    an_image_lands,
    the_extension_is_by_the_bytes,
    folders_are_made,
    what_is_there_is_replaced,
    no_image_never_lands,
    a_checksum_is_held_to,
    a_restart_forgets,
    nothing_is_left_behind,
    a_full_disk_keeps_the_landing,
    a_folder_in_the_way_blocks_one_job,
    a_file_in_the_way_blocks_one_job,
    a_file_is_adopted,
    outputs_are_told_apart,
    what_is_there_is_told,
    what_landed_unrecorded_is_found,
    an_output_is_a_photo,
    what_is_no_photo_is_none,
    an_output_is_copied,
    only_what_was_stored_is_copied,
    an_output_is_removed,
    landings_do_not_meet,
    room_is_told,
]
