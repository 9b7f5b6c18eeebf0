"""What every ``Memo`` holds to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from fluxbatch.testing.conformance.expect import equal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbatch.ports import Memo

__all__ = ["CASES", "Case", "Factory"]

Factory: TypeAlias = "Callable[[], Memo]"
"""An empty one."""
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def what_was_put_is_found(make: Factory) -> None:
    """What was not put is left out."""
    memo = make()
    memo.put({"a": b"1", "b": b"\0\xff"})
    equal(memo.get(["a", "b", "c"]), {"a": b"1", "b": b"\0\xff"}, "what is remembered")
    equal(memo.get([]), {}, "what is remembered of nothing")
    memo.close()


async def the_last_word_counts(make: Factory) -> None:
    """Putting again replaces."""
    memo = make()
    memo.put({"a": b"1"})
    memo.put({"a": b"2"})
    memo.put({})
    equal(memo.get(["a"]), {"a": b"2"}, "what is remembered")
    memo.close()


async def many_keys_are_no_problem(make: Factory) -> None:
    """More than a statement takes variables."""
    memo = make()
    entries = {f"key {n} é": str(n).encode() for n in range(2500)}
    memo.put(entries)
    equal(memo.get(list(entries)), entries, "what is remembered of 2500 keys")
    memo.close()


async def odd_keys_are_at_worst_forgotten(make: Factory) -> None:
    """A file name that is no UTF-8 comes with lone surrogates."""
    memo = make()
    odd = "photo\udcff.png"
    memo.put({odd: b"1"})
    found = memo.get([odd, "a"])
    equal(found or {odd: b"1"}, {odd: b"1"}, "what is remembered of an odd key")
    memo.put({"a": b"2"})
    equal(memo.get(["a"]), {"a": b"2"}, "what is remembered after an odd key")
    memo.close()


async def closed_it_is_silent(make: Factory) -> None:
    """It knows nothing, and does not complain."""
    memo = make()
    memo.put({"a": b"1"})
    memo.close()
    memo.close()
    memo.put({"a": b"2"})
    equal(memo.get(["a"]), {}, "what a closed one remembers")


CASES: Final[list[Case]] = [
    what_was_put_is_found,
    the_last_word_counts,
    many_keys_are_no_problem,
    odd_keys_are_at_worst_forgotten,
    closed_it_is_silent,
]
