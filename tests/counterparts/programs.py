"""Where the programs are that tests meet."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.counterparts.set_up import Counterpart

HOW = "`make counterparts` sets it up"


def program(counterpart: Counterpart, name: str) -> str | None:
    """The pinned one, None if it is not set up. Another version might behave otherwise, so none is taken from PATH."""
    found = counterpart.programs / name
    return str(found) if counterpart.ready and found.exists() else None


def environment(**more: str) -> dict[str, str]:
    """For a program of another Python: none of what this one was told, so that it may keep its bytecode as well."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | more


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections on this port of the machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
