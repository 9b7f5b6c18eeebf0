"""``fluxbatch prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from fluxbatch.cli.asking import asking, request_of, settings_of, shown
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["prune"]

_SHOWN: Final = 20

_HELP: Final = """Remove images that no job of these manifests asks for any more.

Only what fluxbatch made and nobody edited is removed. Images of other manifests in the same folder stay.

\b
  fluxbatch prune jobs.yaml --dry-run     which images would be removed
  fluxbatch prune jobs.yaml               shows them and asks
  fluxbatch prune jobs.yaml --yes         in a script
"""


@click.command(help=_HELP, short_help="remove images that no job asks for any more")
@asking("what")
@click.option("-n", "--dry-run", is_flag=True, help="Only say which images would be removed.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def prune(**options: Any) -> int:
    """Remove images that no job asks for."""
    import anyio

    from fluxbatch.app.upkeep import prune as clear
    from fluxbatch.report.summary import count

    request, dry_run = request_of(options, settings=settings_of(options)), options["dry_run"]

    async def call() -> Any:
        return await clear(request, dry_run=dry_run, confirm=None if options["yes"] else _confirm)

    found = anyio.run(call)
    if options["as_json"]:
        import orjson

        facts = {"out": str(found.paths.place), "removed": found.removed, "kept": found.kept, "dry_run": dry_run}
        click.echo(orjson.dumps(facts).decode())
        return 0
    if dry_run:
        _list(found.removed)
    verb = "would be removed" if dry_run else "removed"
    left = f"; {len(found.kept):,} kept, since they were edited or are another job's now" if found.kept else ""
    click.echo(f"{shown(found.paths.place)}: {count(len(found.removed), 'image')} {verb}{left}")
    return 0


def _confirm(files: Sequence[str]) -> None:
    from fluxbatch.cli.talk import is_terminal
    from fluxbatch.report.summary import count

    _list(files)
    if not is_terminal():
        raise UsageError(f"{count(len(files), 'image')} to be removed, and nobody to ask", remedy="say --yes")
    if not click.confirm(f"Remove {count(len(files), 'image')}?", err=True):
        raise UsageError("called off, nothing was removed")


def _list(files: Sequence[str]) -> None:
    for file in files[:_SHOWN]:
        click.echo(f"  {file}", err=True)
    if len(files) > _SHOWN:
        click.echo(f"  … and {len(files) - _SHOWN:,} more", err=True)
