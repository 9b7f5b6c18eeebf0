"""What every ``Source`` of photos holds to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.testing.conformance.expect import equal, expect, raises

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from fluxbatch.model.job import Photo
    from fluxbatch.ports import PhotoReader, Source

__all__ = ["CASES", "Case", "Factory", "Rig"]

_DATA: Final = bytes(range(256)) * 40


class Rig(Protocol):
    """A source, and someone else who gets at its files."""

    @property
    def source(self) -> Source:
        """What is under test."""
        ...

    def add(self, ref: str, data: bytes) -> Photo:
        """Put a photo there and look at it, as the checks before a run do."""
        ...

    def overwrite(self, ref: str, data: bytes) -> None:
        """Write into the file, at another time."""
        ...

    def cut(self, ref: str, size: int) -> None:
        """Cut the file short."""
        ...

    def remove(self, ref: str) -> None:
        """Remove the file."""
        ...

    def forbid(self, ref: str) -> None:
        """Have reading fail for another reason than a change."""
        ...

    def open_files(self) -> int:
        """Photos that are open."""
        ...


Factory: TypeAlias = "Callable[[], AbstractContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def a_photo_is_read_whole(make: Factory) -> None:
    """In pieces of the caller's size, then nothing more."""
    with make() as rig:
        reader = rig.source.open(rig.add("a.png", _DATA))
        equal(_read(reader, 1000), _DATA, "the bytes of a photo")
        equal(reader.readinto(memoryview(bytearray(10))), 0, "bytes after the end")
        reader.verify()
        reader.close()
        reader.close()
        equal(rig.open_files(), 0, "open files")


async def readers_are_independent(make: Factory) -> None:
    """The same photo in two requests."""
    with make() as rig:
        photo = rig.add("a.png", _DATA)
        one, two = rig.source.open(photo), rig.source.open(photo)
        head = memoryview(bytearray(100))
        one.readinto(head)
        equal(_read(two, 4096), _DATA, "the bytes for the second reader")
        equal(bytes(head) + _read(one, 4096), _DATA, "the bytes for the first reader")
        one.close()
        two.close()
        equal(rig.open_files(), 0, "open files")


async def a_photo_that_changed_does_not_open(make: Factory) -> None:
    """Gone, shorter, or written to with the same length; and nothing stays open."""
    with make() as rig:
        gone, shorter, other = (rig.add(f"{name}.png", _DATA) for name in ("gone", "shorter", "other"))
        rig.remove("gone.png")
        rig.cut("shorter.png", 100)
        rig.overwrite("other.png", _DATA[::-1])
        for photo in (gone, shorter, other):
            with raises(PhotoChanged, photo.ref) as caught:
                rig.source.open(photo)
            expect(photo.ref in str(caught.error), "the error doesn't name the photo")
        equal(rig.open_files(), 0, "open files")


async def a_photo_that_can_not_be_read_says_so(make: Factory) -> None:
    """It has not changed: that is another error."""
    with make() as rig:
        photo = rig.add("a.png", _DATA)
        rig.forbid("a.png")
        with raises(PhotoError, "a photo that can't be read") as caught:
            rig.source.open(photo)
        expect(not isinstance(caught.error, PhotoChanged), "it is said to have changed")
        expect("a.png" in str(caught.error), "the error doesn't name the photo")


async def a_change_while_it_is_read_is_noticed(make: Factory) -> None:
    """A shorter file at once, another one by ``verify``."""
    with make() as rig:
        reader = rig.source.open(rig.add("short.png", _DATA))
        rig.cut("short.png", 10)
        with raises(PhotoChanged, "a photo cut short while it was read"):
            _read(reader, 4096)
        reader.close()
        reader = rig.source.open(rig.add("other.png", _DATA))
        rig.overwrite("other.png", _DATA[::-1])
        _read(reader, 4096)
        with raises(PhotoChanged, "a photo written to while it was read"):
            reader.verify()
        reader.close()
        equal(rig.open_files(), 0, "open files")


async def a_longer_file_is_no_longer_read(make: Factory) -> None:
    """No more bytes than were announced; and ``verify`` complains."""
    with make() as rig:
        reader = rig.source.open(rig.add("a.png", _DATA))
        rig.overwrite("a.png", _DATA + _DATA)
        equal(len(_read(reader, 4096)), len(_DATA), "bytes read of a file that has grown")
        with raises(PhotoChanged, "a photo that has grown"):
            reader.verify()
        reader.close()


def _read(reader: PhotoReader, piece: int) -> bytes:
    data, buffer = b"", memoryview(bytearray(piece))
    while count := reader.readinto(buffer):
        data += buffer[:count]
    return data


CASES: Final[list[Case]] = [
    a_photo_is_read_whole,
    readers_are_independent,
    a_photo_that_changed_does_not_open,
    a_photo_that_can_not_be_read_says_so,
    a_change_while_it_is_read_is_noticed,
    a_longer_file_is_no_longer_read,
]
