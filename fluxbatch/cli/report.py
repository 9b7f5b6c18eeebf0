"""``fluxbatch report``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

__all__ = ["report"]

_HELP: Final = """Write OUT/report/index.html: each job's inputs and image, prompt, cost, failures, and a few plots.

It opens in a browser as it is, or from any web server. Without OUT it is this folder, or the only output folder
below it.

\b
  fluxbatch report
  fluxbatch report photos-out
  fluxbatch run jobs.yaml --report       at the end of a run
"""


@click.command(help=_HELP, short_help="write the gallery")
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Where the ledger lives, if not in OUT.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def report(out: Path | None, state: Path | None, *, as_json: bool) -> int:
    """Write the gallery."""
    import anyio

    from fluxbatch.app.folder import Paths, known_state
    from fluxbatch.app.look import find_folder
    from fluxbatch.app.report import write_report

    folder = find_folder(out, Path.cwd())
    index = anyio.run(write_report, Paths.of(folder, state or known_state(folder)))
    if as_json:
        import orjson

        click.echo(orjson.dumps({"report": str(index)}).decode())
    else:
        click.echo(index)
    return 0
