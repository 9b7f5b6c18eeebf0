"""What readers are told: in order, or to look anew; never more than a few messages wait."""

from __future__ import annotations

import anyio

from fluxbatch.web.feed import RESYNC, Feed


async def test_in_order_and_the_last_word_of_what_stands() -> None:
    feed = Feed()
    feed.stand("progress", {"made": 1})
    reader = feed.open()
    assert reader is not None
    feed.tell("jobs", [1])
    feed.tell("jobs", [2])
    feed.stand("progress", {"made": 2})
    feed.stand("progress", {"made": 3})
    assert await reader.take(1) == (
        b'event: jobs\ndata: [1]\n\nevent: jobs\ndata: [2]\n\nevent: progress\ndata: {"made":3}\n\n'
    )
    feed.stand("progress", {"made": 3})
    assert await reader.take(0) == b""


async def test_who_falls_behind_looks_anew_and_holds_nothing() -> None:
    feed = Feed()
    slow, quick = feed.open(), feed.open()
    assert slow is not None
    assert quick is not None
    seen = b""
    for number in range(1000):
        feed.tell("jobs", number)
        seen += await quick.take(0) or b""
    assert seen.count(b"event: jobs") == 1000
    assert await slow.take(0) == RESYNC
    feed.tell("jobs", "after")
    assert await slow.take(0) == b'event: jobs\ndata: "after"\n\n'


async def test_readers_are_counted_and_their_places_given_back() -> None:
    feed = Feed(most_readers=2)
    readers = [feed.open() for _ in range(3)]
    assert readers[2] is None
    assert readers[0] is not None
    feed.leave(readers[0])
    assert feed.open() is not None


async def test_the_end_comes_after_the_last_words() -> None:
    feed = Feed()
    reader = feed.open()
    assert reader is not None
    feed.tell("jobs", 1)
    feed.close()
    assert await reader.take(1) == b"event: jobs\ndata: 1\n\n"
    assert await reader.take(1) is None
    assert feed.open() is None


async def test_a_word_wakes_who_waits() -> None:
    feed = Feed()
    reader = feed.open()
    assert reader is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.lowlevel.checkpoint)
        tasks.start_soon(_tell, feed)
        with anyio.fail_after(5):
            assert await reader.take(30) == b"event: jobs\ndata: 1\n\n"


async def _tell(feed: Feed) -> None:
    feed.tell("jobs", 1)
