"""How a case complains."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Caught", "case_name", "equal", "expect", "raises"]

E = TypeVar("E", bound=BaseException)


class Caught(Generic[E]):
    """What ``raises`` caught, once its block has ended."""

    def __init__(self) -> None:
        self._error: E | None = None

    @property
    def error(self) -> E:
        """The error."""
        if self._error is None:
            raise AssertionError("nothing was caught yet")
        return self._error

    def hold(self, error: E) -> None:
        """Keep the error."""
        self._error = error


def expect(condition: object, message: str) -> None:
    """Complain unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def equal(found: object, wanted: object, what: str) -> None:
    """Complain unless both are the same."""
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, expected {wanted!r}")


@contextmanager
def raises(kind: type[E], what: str) -> Iterator[Caught[E]]:
    """Complain unless the block raises an error of this kind."""
    caught: Caught[E] = Caught()
    try:
        yield caught
    except kind as error:
        caught.hold(error)
    else:
        raise AssertionError(f"{what}: no {kind.__name__} was raised")


def case_name(case: Callable[..., object]) -> str:
    """A case's name, for test ids."""
    return getattr(case, "__name__", str(case))
