"""Warnings of Pillow about a photo are kept from people: what matters about it is told as a finding."""

from __future__ import annotations

import sys
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet"]

_OF_PILLOW: Final = r"(PIL|pillow_heif)\b"


class _Quiet:
    """Filters of warnings are those of the whole process: the first in changes them, the last one out mends them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = warnings.catch_warnings()

    def begin(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", module=_OF_PILLOW)
            self._inside += 1

    def end(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_everywhere: Final = _Quiet()


@contextmanager
def quiet() -> Iterator[None]:
    """Let nothing be shown, and nothing be raised, of what Pillow only warns of. For use in any thread."""
    if getattr(sys.flags, "context_aware_warnings", False):  # then each thread has filters of its own
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=_OF_PILLOW)
            yield
        return
    _everywhere.begin()
    try:
        yield
    finally:
        _everywhere.end()
