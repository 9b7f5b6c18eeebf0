"""``fluxbatch report``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import click

from fluxbatch.cli.options import ca_file_option

__all__ = ["report", "tell_of_another"]

_HELP: Final = """Write OUT/report/index.html: each job's inputs and image, prompt, cost, failures, and a few plots.

It opens in a browser as it is, or from any web server. Without OUT it is this folder, or the only output folder
below it. Of images in an object store it shows small ones (each is fetched for that once) and names their addresses;
it is in the state folder then.

\b
  fluxbatch report
  fluxbatch report photos-out
  fluxbatch report photos-out --portable for others: nothing points out of photos-out
  fluxbatch report ~/night               the state folder, of images in an object store
  fluxbatch run jobs.yaml --report       at the end of a run
"""


def tell_of_another() -> None:
    """Another report is being written into the same folder."""
    click.echo("another report is being written there: waiting for it", err=True)


@click.command(help=_HELP, short_help="write the gallery")
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Where the ledger lives, if not in OUT.")
@click.option(
    "--portable",
    is_flag=True,
    help="To be published: photos outside of OUT are shown small and by name, and their folders are not named.",
)
@ca_file_option
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def report(out: Path | None, state: Path | None, *, portable: bool, ca_file: Path | None, as_json: bool) -> int:
    """Write the gallery."""
    import anyio

    from fluxbatch.app.look import find_paths
    from fluxbatch.app.report import write_report

    paths = find_paths(out, state, Path.cwd())
    writing = partial(write_report, paths, portable=portable, waits=tell_of_another, ca_file=ca_file)
    index = anyio.run(writing)
    if as_json:
        import orjson

        click.echo(orjson.dumps({"report": str(index)}).decode())
    else:
        click.echo(index)
    return 0
