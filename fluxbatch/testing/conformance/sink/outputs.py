"""What becomes of images that have landed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from fluxbatch.errors import PhotoChanged, PhotoError, StorageError, TargetBlocked
from fluxbatch.ports import Presence
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.conformance.sink.rig import NEVER, OTHER, PNG, store
from fluxbatch.testing.images import make_jpeg
from fluxbatch.testing.jobs import make_job

if TYPE_CHECKING:
    from fluxbatch.testing.conformance.sink.rig import Case, Factory

__all__ = ["CASES"]


async def outputs_are_told_apart(make: Factory) -> None:
    """Same, missing, altered; another time alone is no change."""
    with make() as rig:
        names = ("same", "touched", "gone", "edited", "longer")
        stored = [await store(rig.sink, name, PNG) for name in names]
        rig.alter("touched.png", PNG)
        rig.remove("gone.png")
        edited = bytearray(PNG)
        edited[50] ^= 1
        rig.alter("edited.png", bytes(edited))
        rig.alter("longer.png", PNG + b"!")
        found = await rig.sink.check(stored)
        wanted = [Presence.SAME, Presence.SAME, Presence.MISSING, Presence.ALTERED, Presence.ALTERED]
        equal(dict(zip(names, found, strict=True)), dict(zip(names, wanted, strict=True)), "what became of outputs")
        equal(await rig.sink.check([]), [], "what became of none")


async def what_is_there_is_told(make: Factory) -> None:
    """Outputs by their names without extension, in folders too, whoever made them; and nothing else."""
    with make() as rig:
        await store(rig.sink, "ours", PNG)
        await store(rig.sink, "a/b/deep", make_jpeg(1))
        rig.alter("theirs.png", b"not even an image")
        rig.alter("both.png", PNG)
        rig.alter("both.jpg", make_jpeg(2))
        rig.alter("dotted.name.png", PNG)
        rig.alter("folder.png/inside.png", PNG)
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
        stored = await store(rig.sink, "a/ours", PNG)
        rig.alter("theirs.png", b"not even an image")
        found = await rig.sink.landed("a/ours", 0.0)
        equal(found, replace(stored, fingerprint="", url_age_s=None), "an output that was put there lately")
        equal(await rig.sink.landed("a/ours", NEVER), None, "an output that was there before")
        for name in ("theirs", "missing", "a"):
            equal(await rig.sink.landed(name, 0.0), None, f"an image that landed as {name}")


async def what_is_in_place_waits_no_more(make: Factory) -> None:
    """And what others put there never passes for an image that waits."""
    with make() as rig:
        job = make_job(1)
        equal(await rig.sink.unrecorded(job, 0.0), None, "an image of a job that has none")
        await store(rig.sink, job.filename, PNG)
        rig.alter(f"{job.filename}.png", OTHER)
        equal(await rig.sink.unrecorded(job, 0.0), None, "an image that waits, once it is in place")


async def an_output_is_a_photo(make: Factory) -> None:
    """As it is now: an edited one counts as it was edited."""
    with make() as rig:
        stored = await store(rig.sink, "a/cat", PNG)
        photo = await rig.sink.photo(stored)
        equal((photo.ref, photo.mime, photo.size), ("a/cat.png", "image/png", len(PNG)), "name, kind and size")
        equal((photo.width, photo.height, photo.fitting), (96, 64, None), "width, height and fitting")
        equal((photo.digest, photo.mtime_ns), (blake3(PNG).hexdigest(), stored.mtime_ns), "digest and time")
        expect(photo.path.startswith("/") and photo.path.endswith("a/cat.png"), f"no absolute path: {photo.path}")
        equal(await rig.sink.photo(stored), photo, "the same output once more")
        rig.alter("a/cat.png", OTHER)
        edited = await rig.sink.photo(stored)
        equal((edited.width, edited.height), (32, 32), "pixels of an edited output")
        equal((edited.size, edited.digest), (len(OTHER), blake3(OTHER).hexdigest()), "bytes of an edited output")
        expect(edited.mtime_ns != photo.mtime_ns, "an edited output has the time of the first one")


async def what_is_no_photo_is_none(make: Factory) -> None:
    """Gone, or no whole image any more."""
    with make() as rig:
        stored = await store(rig.sink, "a/cat", PNG)
        rig.alter("a/cat.png", PNG[:-9])
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
        first = await store(rig.sink, "cat", PNG)
        known = replace(first, fingerprint="f", url_age_s=9.0, model="m", seed=7)
        copied = await rig.sink.copy(known, "a/b/copy.png")
        wanted = replace(known, file="a/b/copy.png.png", url_age_s=None, mtime_ns=copied.mtime_ns, etag=copied.etag)
        equal(copied, wanted, "what was copied")
        equal((rig.read("a/b/copy.png.png"), rig.read("cat.png")), (PNG, PNG), "both outputs")
        equal(await rig.sink.check([copied, first]), [Presence.SAME, Presence.SAME], "what became of both")
        rig.alter("other.png", OTHER)
        await rig.sink.copy(first, "other")
        equal((rig.read("other.png"), rig.leftovers()), (PNG, 0), "a copy over another output, and temporary files")


async def only_what_was_stored_is_copied(make: Factory) -> None:
    """Not what someone made of it; and a copy that can't be placed leaves nothing behind."""
    with make() as rig:
        stored = await store(rig.sink, "cat", PNG)
        rig.alter("way", b"mine")
        with raises(TargetBlocked, "a file in the way of a copy"):
            await rig.sink.copy(stored, "way/copy")
        with rig.full(), raises(StorageError, "a copy into a sink that takes nothing"):
            await rig.sink.copy(stored, "copy")
        rig.alter("cat.png", OTHER)
        with raises(PhotoChanged, "a copy of an edited output"):
            await rig.sink.copy(stored, "copy")
        rig.remove("cat.png")
        with raises(PhotoChanged, "a copy of an output that is gone"):
            await rig.sink.copy(stored, "copy")
        equal((rig.read("copy.png"), rig.leftovers()), (None, 0), "a copy and temporary files")


async def an_output_is_removed(make: Factory) -> None:
    """With folders that are empty then; not if it is another one now; and it may be asked for again."""
    with make() as rig:
        one, two, three = [await store(rig.sink, name, PNG) for name in ("a/b/one", "a/two", "three")]
        equal(await rig.sink.remove(one), True, "whether an output was removed")
        equal((rig.read("a/b/one.png"), rig.read("a/two.png")), (None, PNG), "the output and the one above it")
        rig.alter("a/b", b"no folder")
        equal(await rig.sink.remove(one), True, "whether an output that is gone is out of the way")
        rig.alter("a/two.png", OTHER)
        equal(await rig.sink.remove(two), False, "whether an edited output was removed")
        equal((rig.read("a/two.png"), rig.read("a/b")), (OTHER, b"no folder"), "what others have written")
        rig.alter("three.png", PNG)
        equal(await rig.sink.remove(three), True, "whether an output with another time was removed")
        equal(rig.read("three.png"), None, "an output with another time")
        await store(rig.sink, "four", PNG)


CASES: Final[list[Case]] = [
    outputs_are_told_apart,
    what_is_there_is_told,
    what_landed_unrecorded_is_found,
    what_is_in_place_waits_no_more,
    an_output_is_a_photo,
    what_is_no_photo_is_none,
    an_output_is_copied,
    only_what_was_stored_is_copied,
    an_output_is_removed,
]
