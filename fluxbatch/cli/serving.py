"""What commands share that serve a page."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ANY_PORT", "serve_option", "tell_broken", "tell_link"]

ANY_PORT: Final = "127.0.0.1:0"

F = TypeVar("F", bound="Callable[..., Any]")


def serve_option(what: str) -> Callable[[F], F]:
    """``--serve [ADDR]``, where it does ``what``."""
    where = "ADDR: PORT, HOST or HOST:PORT  [default: this machine only, a free port]"
    return click.option("--serve", is_flag=False, flag_value=ANY_PORT, metavar="[ADDR]", help=f"{what} {where}")


def tell_link(link: str, *, is_open: bool, as_json: bool) -> None:
    """Say where the page is, and who can see it, on stderr."""
    warning = "other machines can reach it, unencrypted: whoever has or overhears the link sees all and may act"
    with suppress(OSError):  # nobody reads it any more
        if as_json:
            import orjson

            facts = {"event": "page", "level": "warning" if is_open else "info", "url": link}
            click.echo(orjson.dumps(facts | ({"message": warning} if is_open else {})).decode(), err=True)
            return
        click.echo(f"page: {link}", err=True)
        if is_open:
            click.echo(f"fluxbatch: {warning}", err=True)


def tell_broken(why: str) -> None:
    """Say that the page came to an end of its own, if it did. The run went on without it."""
    if why:
        with suppress(OSError):
            click.echo(f"fluxbatch: the page could not be served any more: {why}", err=True)
