"""``fluxbatch gc``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from fluxbatch.app.folder import Paths

__all__ = ["gc"]

_DAY_S: Final = 86_400.0

_HELP: Final = """Remove what old runs left and can be done without, from an output folder and from this user's caches.

That is: half-landed images of runs that died, temporary files, photos made fit, thumbnails of served pages, lines of
events.jsonl, and what was found in photos, all but the first only if they are older than --keep days. Never an image,
the ledger, results, or anything that was paid for. A folder with a run in it is left alone (exit 75).

Without OUT it is this folder, or the only output folder below it, if there is one.

\b
  fluxbatch gc                         this folder, and the caches
  fluxbatch gc photos-out --dry-run    what would be removed
  fluxbatch gc photos-out --keep 7 --json
"""


@click.command(help=_HELP, short_help="remove what old runs left that can be done without")
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Where the ledger lives, if not in OUT.")
@click.option(
    "--keep", type=click.IntRange(0), default=30, show_default=True, metavar="DAYS", help="What is younger stays."
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def gc(out: Path | None, state: Path | None, *, keep: int, dry_run: bool, as_json: bool) -> int:
    """Remove what can be done without."""
    from fluxbatch.adapters.clock import SystemClock
    from fluxbatch.app.litter import clear
    from fluxbatch.cli.asking import shown

    paths = _paths(out, state)
    found = clear(paths, now=SystemClock().now(), keep_s=keep * _DAY_S, dry_run=dry_run)
    if as_json:
        import orjson

        facts = {"out": None if paths is None else str(paths.out), "dry_run": dry_run, **found.as_dict()}
        click.echo(orjson.dumps(facts).decode())
        return 0
    for what, (count, size) in found.removed.items():
        click.echo(f"  {what}: {count:,}, {_size(size)}")
    place = "caches" if paths is None else f"{shown(paths.out)} and caches"
    verb = "would be removed" if dry_run else "removed"
    click.echo(f"{place}: {_size(found.bytes)} {verb}" if found.removed else f"{place}: nothing to remove")
    return 0


def _paths(out: Path | None, state: Path | None) -> Paths | None:
    """The folder that is meant; None if there is none here.

    Raises:
        UsageError: it is no output folder, or there are several.
    """
    from fluxbatch.app.folder import STATE_FOLDER
    from fluxbatch.app.look import find_paths

    here = Path.cwd()
    if out is None and not (here / STATE_FOLDER).is_dir() and not any(here.glob(f"*/{STATE_FOLDER}")):
        return None
    paths = find_paths(out, state, here)
    if not paths.has_ledger():
        raise UsageError(
            f"{paths.place} is no output folder of fluxbatch", remedy="name the folder that a run wrote to (-o)"
        )
    return paths


def _size(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MB" if size >= 1 << 20 else f"{size / 1024:,.1f} KB"
