"""``fluxbatch export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from fluxbatch.app.export import Exported
    from fluxbatch.app.folder import Paths

__all__ = ["export"]

_SHOWN: Final = 20

_HELP: Final = """Deliver images, or write a table of what became of each row.

--to copies what is not there yet, byte for byte, each file all at once; say it again after an interruption. Another
file under the name of an image is left alone and told of (exit 1). Images that somebody edited are not delivered.

--table has the manifest's own columns in their order, as they stand there now, then fb_status, fb_file, fb_cost and
fb_error: a row of a table for each of its jobs. Of documents it has the fields of the jobs.

Without OUT it is this folder, or the only output folder below it.

\b
  fluxbatch export jobs-out --approved --to ~/delivery
  fluxbatch export jobs-out --to ~/delivery                  all images that are there
  fluxbatch export jobs-out --approved --to s3://shop/pictures
  fluxbatch export jobs-out --table results.xlsx             or .csv, .parquet
"""


@click.command(help=_HELP, short_help="deliver images, or a table of results")
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Where the ledger lives, if not in OUT.")
@click.option("--to", metavar="DIR|URL", help="A folder, or s3://bucket/prefix (oss gs az): images are copied there.")
@click.option("--approved", is_flag=True, help="With --to: only images that are approved (`fluxbatch review`).")
@click.option("--table", type=click.Path(path_type=Path), metavar="FILE", help="Write a .csv, .xlsx or .parquet.")
@click.option(
    "--ca-file",
    envvar="FLUXBATCH_CA_FILE",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --to, for object stores: certificates to trust beside the system's.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def export(out: Path | None, state: Path | None, **options: Any) -> int:
    """Deliver images, write tables."""
    import anyio

    from fluxbatch.app.look import find_paths

    if options["to"] is None and options["table"] is None:
        raise UsageError("nothing to export", remedy="say --to DIR for images, --table FILE for a table")
    if options["approved"] and options["to"] is None:
        raise UsageError("--approved is about images", remedy="say --to DIR as well")
    return anyio.run(_export, find_paths(out, state, Path.cwd()), options)


async def _export(paths: Paths, options: dict[str, Any]) -> int:
    from fluxbatch.app.export_table import export_table

    facts: dict[str, Any] = {}
    found = None if options["to"] is None else await _deliver(paths, options)
    if found is not None:
        facts |= {"to": options["to"], **found.as_dict()}
    if options["table"] is not None:
        rows = await export_table(paths, options["table"], force=options["force"])
        facts |= {"table": str(options["table"]), "rows": rows}
    if options["as_json"]:
        import orjson

        click.echo(orjson.dumps(facts).decode())
    else:
        _tell(found, facts)
    return 1 if found is not None and found.refused else 0


async def _deliver(paths: Paths, options: dict[str, Any]) -> Exported:
    from functools import partial

    import anyio.to_thread

    from fluxbatch.app.export import export_images, open_destination
    from fluxbatch.app.review import open_reviews

    async with open_reviews(paths) as reviews:
        opening = partial(
            open_destination, options["to"], paths, simulated=reviews.simulated, ca_file=options["ca_file"]
        )
        destination = await anyio.to_thread.run_sync(opening)
        same = {name: options[name] for name in ("approved", "force", "ca_file")}
        return await export_images(reviews, destination, **same)


def _tell(found: Exported | None, facts: dict[str, Any]) -> None:
    from fluxbatch.report.summary import count
    from fluxbatch.telemetry.redact import clean

    if found is not None:
        for file, why in found.refused[:_SHOWN]:
            click.echo(f"{clean(file)}: not delivered: {why}", err=True)
        if len(found.refused) > _SHOWN:
            click.echo(f"… and {len(found.refused) - _SHOWN:,} more", err=True)
        parts = [f"{found.there:,} there already", f"{found.left_out:,} left out", f"{len(found.refused):,} refused"]
        click.echo(f"{facts['to']}: {count(found.copied, 'image')} copied, {', '.join(parts)}")
    if "table" in facts:
        click.echo(f"{facts['table']}: {count(facts['rows'], 'row')}")
