"""Where to listen: what the user wrote, a socket bound to it, and the names by which it may be asked for."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fluxbatch.errors import UsageError

__all__ = ["LOOPBACK", "Bound", "bind", "host_of"]

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Bound:
    """A socket that listens.

    Attributes:
        socket: bound, listening, not blocking.
        origin: ``http://host:port``, to be shown to people.
        names: host names that it answers to, beside addresses; in lower case.
        is_open: other machines can reach it.
    """

    socket: socket.socket
    origin: str
    names: frozenset[str]
    is_open: bool

    def answers_to(self, host: str) -> bool:
        """Whether a Host header is one of ours. A name that isn't may have been pointed at us by a stranger's DNS."""
        name = host_of(host)
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.is_open or address.is_loopback


def bind(text: str) -> Bound:
    """Listen on ``PORT``, ``HOST`` or ``HOST:PORT``; without a port on any free one.

    Raises:
        UsageError: it is no address of this machine, or its port is in use.
    """
    host, port = _parse(text)
    if not text.isdecimal() and ":" not in text and Path(text).exists():
        raise _no_address(text)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(address[:2], family=family)
    except (socket.gaierror, UnicodeError):
        raise _no_address(text) from None
    except OSError as error:
        raise UsageError(
            f"--serve {text}: {host} port {port}: {(error.strerror or str(error)).lower()}",
            remedy="name another address or port, or leave them out to have a free one chosen; nothing was sent",
        ) from None
    listening.setblocking(False)
    bound = ipaddress.ip_address(listening.getsockname()[0])
    here = socket.gethostname()
    shown = here if bound.is_unspecified else host
    names = {"localhost", host.lower()} | (set() if bound.is_loopback else {here.lower()})
    origin = f"http://{f'[{shown}]' if ':' in shown else shown}:{listening.getsockname()[1]}"
    return Bound(listening, origin, frozenset(names), not bound.is_loopback)


def host_of(header: str) -> str:
    """The host of a Host header in lower case, without its port and brackets."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def _parse(text: str) -> tuple[str, int]:
    if text.isdecimal():
        host, port = LOOPBACK, text
    elif text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "0"
    elif text.count(":") > 1:
        host, port = text, "0"
    else:
        host, _, port = text.partition(":")
        port = port or "0"
    if not port.isdecimal() or int(port) > 65535 or not host.isprintable() or set(host) & set("/\\@ "):
        raise _no_address(text)
    return host or LOOPBACK, int(port)


def _no_address(text: str) -> UsageError:
    """A manifest that follows ``--serve`` would be taken for its value."""
    return UsageError(
        f"--serve {text}: this is no address of this machine",
        remedy="write PORT, HOST or HOST:PORT; to have one chosen, write --serve last or before another option",
    )
