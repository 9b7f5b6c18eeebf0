"""What every ``ObjectIndex`` and ``ObjectSource`` holds to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio.to_thread
from blake3 import blake3

from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.model.job import Fit, ObjectPhoto, Photo, RemoteImage
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.images import make_jpeg, make_png

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from fluxbatch.ports import ObjectIndex, ObjectSource

__all__ = ["CASES", "Case", "Factory", "Rig"]

_PNG: Final = make_png(1, width=96, height=64)


class Rig(Protocol):
    """A store with nothing in it, and someone else who gets at its objects."""

    @property
    def index(self) -> ObjectIndex:
        """What is under test."""
        ...

    @property
    def source(self) -> ObjectSource:
        """What is under test."""
        ...

    def put(self, name: str, data: bytes) -> str:
        """Write an object and tell its address."""
        ...

    def remove(self, name: str) -> None:
        """Remove an object."""
        ...


Factory: TypeAlias = "Callable[[], AbstractContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def what_is_there_is_told(make: Factory) -> None:
    """By address, with its size; another ETag for other bytes, and none where nothing is."""
    with make() as rig:
        one, two = rig.put("a/one.png", _PNG), rig.put("zwei ü.jpg", make_jpeg(2))
        missing = one.replace("one", "missing")
        found = await anyio.to_thread.run_sync(rig.index.look, [one, two, missing])
        equal(set(found), {one, two, missing}, "addresses that were asked for")
        equal(found[missing], None, "what is where nothing is")
        first, second = found[one], found[two]
        if first is None or second is None:
            raise AssertionError("what is there was not found")
        equal((first.ref, first.size, second.ref), (one, len(_PNG), two), "what was found")
        expect(first.etag not in {"", second.etag} and '"' not in first.etag, f"an ETag that tells nothing: {first}")
        equal((await _look(rig, one)), first, "the same object once more")
        rig.put("a/one.png", _PNG[:-1] + b"?")
        expect((await _look(rig, one)).etag != first.etag, "other bytes have the same ETag")


async def an_object_is_a_photo(make: Factory) -> None:
    """Whole, under the name that the user gave it, as often as it is asked for."""
    with make() as rig:
        image = await _look(rig, rig.put("a/cat.png", _PNG))
        photo = await _fetch(rig, image)
        equal((photo.ref, photo.mime, photo.size), (image.ref, "image/png", len(_PNG)), "name, kind and size")
        equal((photo.width, photo.height, photo.fitting), (96, 64, None), "width, height and fitting")
        equal(photo.digest, blake3(_PNG).hexdigest(), "the digest")
        equal(await _fetch(rig, image), photo, "the same object once more")
        rig.source.release(photo)
        rig.source.release(photo)
        rig.source.release(photo)
        equal(await _fetch(rig, image), photo, "the same object after it was released")
        rig.source.release(replace(photo, path="/a/photo/from/elsewhere.png"))


async def what_is_wanted_is_done_to_it(make: Factory) -> None:
    """The same object for two jobs, one of which wants it smaller."""
    with make() as rig:
        image = await _look(rig, rig.put("cat.png", make_png(3, width=200, height=200)))
        smaller = await _fetch(rig, replace(image, fit=Fit(long_edge=128)))
        expect(smaller.fitting is not None, "nothing is done to a photo that is to be smaller")
        equal((await _fetch(rig, image)).fitting, None, "what is done to the same photo for another job")


async def all_photos_of_a_request_share_its_pixels(make: Factory) -> None:
    """Smaller than a limit that only its request knows; no other job is any the worse for it."""
    with make() as rig:
        image = await _look(rig, rig.put("cat.png", make_png(3, width=200, height=200)))
        smaller = await rig.source.fetch(image, 100 * 100)
        fitting = smaller.fitting if isinstance(smaller, Photo) else None
        expect(fitting is not None, "nothing is done to a photo that is too large for its request")
        if fitting is not None:
            expect(fitting.width * fitting.height <= 100 * 100, f"it is still too large: {fitting}")
        equal((await _fetch(rig, image)).fitting, None, "what is done to the same photo for another job")


async def what_would_be_refused_is_not_sent(make: Factory) -> None:
    """Judged by its pixels as a local photo is, each time that it is asked for."""
    with make() as rig:
        image = await _look(rig, rig.put("dot.png", make_png(3, width=200, height=40)))
        for _ in range(2):
            with raises(PhotoError, "200×40 pixels are too small") as caught:
                await rig.source.fetch(image)
            expect(image.ref in str(caught.error), "the error doesn't name the object")
            expect(bool(caught.error.remedy), "the error names no remedy")


async def another_object_is_not_sent(make: Factory) -> None:
    """Gone, or replaced since it was looked at; presigned or not."""
    with make() as rig:
        gone = await _look(rig, rig.put("gone.png", _PNG))
        other = await _look(rig, rig.put("other.png", _PNG))
        rig.remove("gone.png")
        rig.put("other.png", make_png(2, width=96, height=64))
        for image in (gone, other, replace(gone, presign=True), replace(other, presign=True)):
            with raises(PhotoChanged, image.ref) as caught:
                await rig.source.fetch(image)
            expect(image.ref in str(caught.error), "the error doesn't name the object")


async def what_is_no_photo_says_so(make: Factory) -> None:
    """It has not changed: that is another error."""
    with make() as rig:
        for name, data in (("page.png", b"<html></html>"), ("half.png", _PNG[:-20])):
            image = await _look(rig, rig.put(name, data))
            with raises(PhotoError, name) as caught:
                await rig.source.fetch(image)
            expect(not isinstance(caught.error, PhotoChanged), "it is said to have changed")
            expect(image.ref in str(caught.error), "the error doesn't name the object")


async def a_presigned_one_is_a_url(make: Factory) -> None:
    """With something in it that dies; the name stays with the object."""
    with make() as rig:
        image = replace(await _look(rig, rig.put("cat.png", _PNG)), presign=True)
        signed = await rig.source.fetch(image)
        expect(isinstance(signed, RemoteImage), f"it is no URL: {signed}")
        expect(signed.ref.startswith(("http://", "https://")) and "?" in signed.ref, "it is not signed")


async def _look(rig: Rig, ref: str) -> ObjectPhoto:
    found = (await anyio.to_thread.run_sync(rig.index.look, [ref]))[ref]
    if found is None:
        raise AssertionError(f"{ref} was not found")
    return found


async def _fetch(rig: Rig, image: ObjectPhoto) -> Photo:
    photo = await rig.source.fetch(image)
    if not isinstance(photo, Photo):
        raise AssertionError(f"{image.ref} is no file: {photo}")  # noqa: TRY004  # a case fails by assertions
    return photo


CASES: Final[list[Case]] = [
    what_is_there_is_told,
    an_object_is_a_photo,
    what_is_wanted_is_done_to_it,
    all_photos_of_a_request_share_its_pixels,
    what_would_be_refused_is_not_sent,
    another_object_is_not_sent,
    what_is_no_photo_says_so,
    a_presigned_one_is_a_url,
]
