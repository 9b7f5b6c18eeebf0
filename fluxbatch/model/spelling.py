"""Names of files are bytes: what is no UTF-8 can't be written down in ledgers, results and JSON."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["unspeakable"]


def unspeakable(path: Path) -> str:
    r"""A path that is no UTF-8, with ``\xe4`` for what isn't; empty for any other one."""
    raw = os.fsencode(path)
    try:
        raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace")
    return ""
