"""What every ``Fitter`` of photos holds to."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio

from fluxbatch.errors import PhotoChanged, PhotoError, StorageError
from fluxbatch.formats import inspect_image
from fluxbatch.model.job import Fitting
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.images import make_png

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from fluxbatch.model.job import Photo
    from fluxbatch.ports import Fitter

__all__ = ["CASES", "Case", "Factory", "Rig"]

_DATA: Final = make_png(0xC04020, width=96, height=64)
_SMALLER: Final = Fitting(90, 60, 80, 48, "image/png", why=("scaled", "cropped"))


class Rig(Protocol):
    """A fitter, and someone else who gets at its files."""

    @property
    def fitter(self) -> Fitter:
        """What is under test."""
        ...

    def add(self, ref: str, data: bytes) -> Photo:
        """Put a photo there and look at it, as the checks before a run do."""
        ...

    def overwrite(self, ref: str, data: bytes) -> None:
        """Write into the photo, at another time."""
        ...

    def remove(self, ref: str) -> None:
        """Remove the photo."""
        ...

    def forbid(self, ref: str) -> None:
        """Have reading the photo fail for another reason than a change."""
        ...

    def read(self, photo: Photo) -> bytes:
        """The bytes of a fitted photo."""
        ...

    def cut(self, photo: Photo) -> None:
        """Cut a fitted photo short."""
        ...

    def lose(self, photo: Photo) -> None:
        """Remove a fitted photo."""
        ...

    def fill(self, *, full: bool) -> None:
        """Take away the room for fitted photos, before there are any, or give it back."""
        ...

    def made(self) -> int:
        """Photos that were worked on."""
        ...


Factory: TypeAlias = "Callable[[], AbstractContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def what_needs_nothing_is_itself(make: Factory) -> None:
    """It goes byte for byte."""
    with make() as rig:
        photo = rig.add("a.png", _DATA)
        equal(await rig.fitter.fit(photo), photo, "a photo without a fitting")
        equal(rig.made(), 0, "photos worked on")


async def a_fitted_photo_is_what_was_planned(make: Factory) -> None:
    """In kind and size, and in what is said of it; the photo itself stays as it was."""
    with make() as rig:
        photo = rig.add("a.png", _DATA)
        for fitting in (_SMALLER, replace(_SMALLER, mime="image/jpeg")):
            fitted = await rig.fitter.fit(replace(photo, fitting=fitting))
            data = rig.read(fitted)
            facts = inspect_image(io.BytesIO(data))
            equal((facts.mime, facts.width, facts.height), (fitting.mime, 80, 48), "what the bytes are")
            equal((fitted.mime, fitted.width, fitted.height), (fitting.mime, 80, 48), "what is said of them")
            equal(fitted.size, len(data), "size")
            equal((fitted.ref, fitted.digest), (photo.ref, photo.digest), "what it was made of")
            equal(fitted.fitting, None, "what is left to be done")
            expect(fitted.path != photo.path, "the photo itself was written to")


async def the_same_is_made_once(make: Factory) -> None:
    """Whatever its name, and for whatever reason."""
    with make() as rig:
        one, two = rig.add("one.png", _DATA), rig.add("two.png", _DATA)
        first = await rig.fitter.fit(replace(one, fitting=_SMALLER))
        again = await rig.fitter.fit(replace(one, fitting=_SMALLER))
        other = await rig.fitter.fit(replace(two, fitting=replace(_SMALLER, why=("another",))))
        equal(again, first, "the same photo")
        equal(other, replace(first, ref="two.png"), "the same bytes by another name")
        equal(rig.made(), 1, "photos worked on")


async def another_fitting_is_another_photo(make: Factory) -> None:
    """And leaves the first one as it was."""
    with make() as rig:
        photo = rig.add("a.png", _DATA)
        first = await rig.fitter.fit(replace(photo, fitting=_SMALLER))
        before = rig.read(first)
        second = await rig.fitter.fit(replace(photo, fitting=replace(_SMALLER, crop_height=32)))
        expect(second.path != first.path, "both are one file")
        equal(rig.read(first), before, "the bytes of the first")


async def who_asks_at_the_same_time_shares_the_work(make: Factory) -> None:
    """Ten at once."""
    with make() as rig:
        photo = replace(rig.add("a.png", _DATA), fitting=_SMALLER)
        found: list[Photo] = []

        async def ask() -> None:
            found.append(await rig.fitter.fit(photo))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ask)
        equal(found, found[:1] * 10, "what they got")
        equal(rig.made(), 1, "photos worked on")


async def who_gives_up_takes_nothing_from_the_others(make: Factory) -> None:
    """The first who asked is cancelled."""
    with make() as rig:
        photo = replace(rig.add("a.png", _DATA), fitting=_SMALLER)
        found: list[Photo] = []

        async def ask(scope: anyio.CancelScope) -> None:
            with scope:
                found.append(await rig.fitter.fit(photo))

        impatient = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, impatient)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(ask, anyio.CancelScope())
            impatient.cancel()
        expect(found, "the other one got nothing")
        equal(len(rig.read(found[-1])), found[-1].size, "bytes")


async def a_photo_that_changed_is_told(make: Factory) -> None:
    """Also if what it was is kept: the request would not be what the user sees."""
    with make() as rig:
        for known in (False, True):
            for how in ("gone", "other"):
                ref = f"{how}-{known}.png"
                photo = replace(rig.add(ref, _DATA), fitting=_SMALLER)
                if known:
                    await rig.fitter.fit(photo)
                if how == "gone":
                    rig.remove(ref)
                else:
                    rig.overwrite(ref, make_png(1, width=96, height=64))
                with raises(PhotoChanged, ref) as caught:
                    await rig.fitter.fit(photo)
                expect(ref in str(caught.error), "the error doesn't name the photo")


async def a_photo_that_can_not_be_used_says_so(make: Factory) -> None:
    """It can't be read, or is no image: neither is a change."""
    with make() as rig:
        photos = [rig.add("a.png", _DATA), rig.add("b.png", b"no image at all")]
        rig.forbid("a.png")
        for photo in photos:
            for _ in range(2):
                with raises(PhotoError, photo.ref) as caught:
                    await rig.fitter.fit(replace(photo, fitting=_SMALLER))
                expect(not isinstance(caught.error, PhotoChanged), "it is said to have changed")
                expect(photo.ref in str(caught.error), "the error doesn't name the photo")


async def without_room_it_waits_for_room(make: Factory) -> None:
    """It is the disk's fault, not the photo's, and may be tried again."""
    with make() as rig:
        photo = replace(rig.add("a.png", _DATA), fitting=_SMALLER)
        rig.fill(full=True)
        with raises(StorageError, "without room"):
            await rig.fitter.fit(photo)
        rig.fill(full=False)
        fitted = await rig.fitter.fit(photo)
        equal(len(rig.read(fitted)), fitted.size, "bytes")


async def what_was_lost_or_damaged_is_made_again(make: Factory) -> None:
    """The same bytes as before."""
    with make() as rig:
        photo = replace(rig.add("a.png", _DATA), fitting=_SMALLER)
        data = rig.read(fitted := await rig.fitter.fit(photo))
        rig.cut(fitted)
        equal(rig.read(fitted := await rig.fitter.fit(photo)), data, "the bytes after damage")
        rig.lose(fitted)
        equal(rig.read(await rig.fitter.fit(photo)), data, "the bytes after loss")
        equal(rig.made(), 3, "photos worked on")


CASES: Final[list[Case]] = [
    what_needs_nothing_is_itself,
    a_fitted_photo_is_what_was_planned,
    the_same_is_made_once,
    another_fitting_is_another_photo,
    who_asks_at_the_same_time_shares_the_work,
    who_gives_up_takes_nothing_from_the_others,
    a_photo_that_changed_is_told,
    a_photo_that_can_not_be_used_says_so,
    without_room_it_waits_for_room,
    what_was_lost_or_damaged_is_made_again,
]
