"""Memory that is free, and that the C library keeps for later."""

from __future__ import annotations

__all__ = ["give_back"]


def give_back() -> None:
    """Hand free memory back to the system, of the heaps of all threads. Blocks for some milliseconds.

    Does nothing where the C library has no call for it: glibc, whose heaps keep what others could use, has one.
    """
    import ctypes  # small runs do without

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
