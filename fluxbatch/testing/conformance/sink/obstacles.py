"""What stops a landing, and that it can be gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.errors import StorageError, TargetBlocked
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.conformance.sink.rig import OTHER, PNG, store

if TYPE_CHECKING:
    from fluxbatch.testing.conformance.sink.rig import Case, Factory

__all__ = ["CASES"]


async def a_full_disk_keeps_the_landing(make: Factory) -> None:
    """It may be committed again."""
    with make() as rig:
        landing = await rig.sink.land()
        landing.write(PNG)
        with rig.full(), raises(StorageError, "a sink that takes nothing"):
            await landing.commit("folder/cat")
        equal(landing.size, len(PNG), "bytes of the landing")
        stored = await landing.commit("folder/cat")
        equal(rig.read(stored.file), PNG, "the output of the second commit")


async def a_folder_in_the_way_blocks_one_job(make: Factory) -> None:
    """Where the file belongs, there is a folder: no other job is concerned, and the landing is kept."""
    with make() as rig:
        rig.alter("deep/cat.png/mine.txt", b"mine")
        landing = await rig.sink.land()
        landing.write(PNG)
        with raises(TargetBlocked, "a folder under the name of the output") as caught:
            await landing.commit("deep/cat")
        expect("deep/cat.png" in caught.error.message, f"the path is not told: {caught.error.message}")
        expect("is a folder" in caught.error.message, f"what is there is not told: {caught.error.message}")
        expect(bool(caught.error.remedy), "there is no remedy")
        equal(rig.read("deep/cat.png/mine.txt"), b"mine", "what was there")
        await store(rig.sink, "deep/dog", OTHER)
        rig.remove("deep/cat.png/mine.txt")
        await landing.commit("deep/cat")
        equal(rig.read("deep/cat.png"), PNG, "the output once the folder is gone")
        equal(rig.leftovers(), 0, "temporary files")


async def a_file_in_the_way_blocks_one_job(make: Factory) -> None:
    """Where one of its folders belongs, there is a file."""
    with make() as rig:
        rig.alter("way", b"mine")
        for filename in ("way/cat", "way/further/cat"):
            landing = await rig.sink.land()
            landing.write(PNG)
            with raises(TargetBlocked, f"a file in the way of {filename}") as caught:
                await landing.commit(filename)
            expect("way is a file" in caught.error.message, f"what is there is not told: {caught.error.message}")
            equal(landing.size, len(PNG), "bytes of the landing")
            equal(rig.read("way"), b"mine", "what was there")
            await landing.discard()
        landing = await rig.sink.land()
        landing.write(PNG)
        with raises(TargetBlocked, "a file in the way"):
            await landing.commit("way/cat")
        rig.remove("way")
        await landing.commit("way/cat")
        equal((rig.read("way/cat.png"), rig.leftovers()), (PNG, 0), "the output once the file is gone")


async def room_is_told(make: Factory) -> None:
    """In bytes."""
    with make() as rig:
        expect(await rig.sink.room() > 0, "there is no room")


CASES: Final[list[Case]] = [
    a_full_disk_keeps_the_landing,
    a_folder_in_the_way_blocks_one_job,
    a_file_in_the_way_blocks_one_job,
    room_is_told,
]
