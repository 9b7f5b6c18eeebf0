"""Importing something without what it would like to have."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["without"]


@contextmanager
def without(name: str) -> Iterator[None]:
    """Let an optional module seem not to be installed, unless it is loaded already.

    For the start of a process, before it has other threads that import.
    """
    modules: dict[str, Any] = sys.modules
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]
