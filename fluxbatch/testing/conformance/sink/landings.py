"""How an image lands: whole, under its name, or not at all."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Final

import anyio

from fluxbatch.errors import DeliveryError
from fluxbatch.model.state import Reason
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.conformance.sink.rig import OTHER, PNG, store
from fluxbatch.testing.images import make_jpeg, make_png

if TYPE_CHECKING:
    from fluxbatch.ports import Landing
    from fluxbatch.testing.conformance.sink.rig import Case, Factory

__all__ = ["CASES"]


async def an_image_lands(make: Factory) -> None:
    """Piece by piece, untouched, under its name and the extension that its bytes ask for."""
    with make() as rig:
        landing = await rig.sink.land()
        equal(landing.size, 0, "bytes of a new landing")
        for start in range(0, len(PNG), 50):
            landing.write(PNG[start : start + 50])
        equal(landing.size, len(PNG), "bytes so far")
        equal(rig.read("cat.png"), None, "the output before the commit")
        stored = await landing.commit("cat")
        equal(rig.read("cat.png"), PNG, "the output")
        facts = (stored.file, stored.sha256, stored.bytes, stored.width, stored.height)
        equal(facts, ("cat.png", hashlib.sha256(PNG).hexdigest(), len(PNG), 96, 64), "what was stored")
        equal((stored.fingerprint, stored.url_age_s), ("", None), "what the caller fills in")
        equal(rig.leftovers(), 0, "temporary files")


async def the_extension_is_by_the_bytes(make: Factory) -> None:
    """Whatever was asked for."""
    with make() as rig:
        stored = await store(rig.sink, "dog.png", make_jpeg(1))
        equal(stored.file, "dog.png.jpg", "the file of a JPEG")


async def folders_are_made(make: Factory) -> None:
    """A name may hold folders."""
    with make() as rig:
        stored = await store(rig.sink, "a/b/c", PNG)
        equal((stored.file, rig.read("a/b/c.png")), ("a/b/c.png", PNG), "an output in folders")


async def what_is_there_is_replaced(make: Factory) -> None:
    """All at once."""
    with make() as rig:
        await store(rig.sink, "cat", OTHER)
        landing = await rig.sink.land()
        landing.write(PNG)
        equal(rig.read("cat.png"), OTHER, "the output before the second commit")
        await landing.commit("cat")
        equal(rig.read("cat.png"), PNG, "the output after it")


async def no_image_never_lands(make: Factory) -> None:
    """HTML, nothing, half an image, a damaged one: refused as corrupt, and the output stays as it was."""
    damaged = bytearray(PNG)
    damaged[-20] ^= 0xFF
    for what, data in (
        ("HTML", b"<html><body>Sign in</body></html>"),
        ("nothing", b""),
        ("half a PNG", PNG[: len(PNG) // 2]),
        ("a PNG without its end", PNG[:-12]),
        ("a damaged PNG", bytes(damaged)),
        ("half a JPEG", make_jpeg(1)[:-2]),
        ("a GIF", b"GIF89a" + b"\0" * 40),
    ):
        with make() as rig:
            await store(rig.sink, "cat", OTHER)
            landing = await rig.sink.land()
            landing.write(data)
            with raises(DeliveryError, what) as caught:
                await landing.commit("cat")
            expect(caught.error.corrupt, f"{what} is corrupt")
            equal(caught.error.reason, Reason.DOWNLOAD_FAILED, f"reason for {what}")
            equal(rig.read("cat.png"), OTHER, f"the output after {what}")
            landing.restart()
            landing.write(PNG)
            await landing.commit("cat")
            equal(rig.read("cat.png"), PNG, f"the output after {what} and a second try")


async def a_checksum_is_held_to(make: Factory) -> None:
    """An image that is whole and not the one the host has."""
    with make() as rig:
        landing = await rig.sink.land()
        landing.write(PNG)
        landing.md5 = b64encode(hashlib.md5(OTHER, usedforsecurity=False).digest()).decode()
        with raises(DeliveryError, "another checksum") as caught:
            await landing.commit("cat")
        expect(caught.error.corrupt, "another checksum is corrupt")
        landing.md5 = b64encode(hashlib.md5(PNG, usedforsecurity=False).digest()).decode()
        await landing.commit("cat")


async def a_restart_forgets(make: Factory) -> None:
    """Bytes, ETag and checksum."""
    with make() as rig:
        landing = await rig.sink.land()
        landing.write(OTHER + b"more")
        landing.etag, landing.md5 = '"one"', "bm90IGl0"
        landing.restart()
        equal((landing.size, landing.etag, landing.md5), (0, "", ""), "a landing that was restarted")
        landing.write(PNG)
        await landing.commit("cat")
        equal(rig.read("cat.png"), PNG, "the output")


async def nothing_is_left_behind(make: Factory) -> None:
    """By a landing that is given up, however often."""
    with make() as rig:
        landing = await rig.sink.land()
        landing.write(PNG[:100])
        await landing.discard()
        await landing.discard()
        equal(rig.leftovers(), 0, "temporary files")
        landing = await rig.sink.land()
        landing.write(PNG)
        await landing.commit("cat")
        await landing.discard()
        equal((rig.leftovers(), rig.read("cat.png")), (0, PNG), "temporary files and output, discarded after a commit")


async def a_file_is_adopted(make: Factory) -> None:
    """Its bytes land, and it is gone."""
    with make() as rig:
        path = rig.spool(PNG)
        landing = await rig.sink.adopt(path)
        equal(landing.size, len(PNG), "bytes of the landing")
        expect(not await anyio.Path(path).exists(), "the file is still there")
        await landing.commit("cat")
        equal((rig.read("cat.png"), rig.leftovers()), (PNG, 0), "output and temporary files")


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


CASES: Final[list[Case]] = [
    an_image_lands,
    the_extension_is_by_the_bytes,
    folders_are_made,
    what_is_there_is_replaced,
    no_image_never_lands,
    a_checksum_is_held_to,
    a_restart_forgets,
    nothing_is_left_behind,
    a_file_is_adopted,
    landings_do_not_meet,
]
