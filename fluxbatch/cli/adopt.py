"""``fluxbatch adopt``."""

from __future__ import annotations

from typing import Any, Final

import click

from fluxbatch.cli.asking import asking, request_of, settings_of, shown

__all__ = ["adopt"]

_SHOWN: Final = 20

_HELP: Final = """Take files that are in the output folder as the outputs of their jobs. Sends nothing, needs no key.

A file counts if it has the name that its job's output would have, and is a whole image: `mug.jpg` for the job `mug`.

\b
  fluxbatch adopt jobs.yaml --dry-run     which files would be taken
  fluxbatch adopt jobs.yaml               images made elsewhere, or whose ledger is lost
  fluxbatch adopt jobs.yaml --changed     also what was edited by hand, or whose job was changed since: it is fine so
"""


@click.command(help=_HELP, short_help="take existing files as the outputs of their jobs")
@asking("what", "which")
@click.option("--changed", is_flag=True, help="Also outputs that were edited, and those of jobs that were changed.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say which files would be taken.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def adopt(**options: Any) -> int:
    """Take existing files as outputs."""
    import anyio

    from fluxbatch.app.upkeep import adopt as take_over
    from fluxbatch.report.summary import count

    request, dry_run = request_of(options, settings=settings_of(options)), options["dry_run"]

    async def call() -> Any:
        return await take_over(request, changed=options["changed"], dry_run=dry_run)

    found = anyio.run(call)
    if options["as_json"]:
        import orjson

        facts = {"out": str(found.paths.place), "adopted": found.files, "missing": found.missing, "dry_run": dry_run}
        click.echo(orjson.dumps(facts).decode())
        return 0
    for file in found.files[:_SHOWN]:
        click.echo(f"  {file}")
    if len(found.files) > _SHOWN:
        click.echo(f"  … and {len(found.files) - _SHOWN:,} more")
    verb = "would be adopted" if dry_run else "adopted"
    left = f"; {count(found.missing, 'image')} still to make" if found.missing else ""
    click.echo(f"{shown(found.paths.place)}: {count(len(found.files), 'file')} {verb}{left}")
    return 0
