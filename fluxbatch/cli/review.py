"""``fluxbatch review``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbatch.cli.serving import serve_option, tell_link
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from fluxbatch.app.folder import Paths
    from fluxbatch.app.review_sheet import Imported

__all__ = ["review"]

_SHOWN: Final = 20

_HELP: Final = """What people say of the images: counts, and tables to fill in.

Verdicts are kept in reviews.jsonl beside the manifest, a line each, to be committed with it; "reviews.jsonl
merge=union" in .gitattributes lets git merge what several people say. Those of simulated images, and of photos run
without a manifest, are in the output folder. A verdict is about the image that was looked at, and ends with it.

Without OUT it is this folder, or the only output folder below it.

\b
  fluxbatch review                                        how many are approved, rejected, unreviewed
  fluxbatch review jobs-out --serve                       a page to approve and reject on, by keyboard
  fluxbatch review jobs-out --serve 0.0.0.0:8080          for several people at once, on other machines
  fluxbatch review jobs-out --export todo.xlsx --verdict unreviewed
  fluxbatch review jobs-out --import todo.xlsx            verdicts, notes and new prompts, as filled in
  fluxbatch review jobs-out --export rejects.csv          to mend the prompts of what was rejected
  fluxbatch run jobs.yaml --remake rejected               makes those again
"""


@click.command(help=_HELP, short_help="approve or reject images")
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Where the ledger lives, if not in OUT.")
@click.option("--export", "target", type=click.Path(path_type=Path), metavar="FILE", help="Write a .csv or .xlsx.")
@click.option(
    "--verdict",
    type=click.Choice(["rejected", "approved", "unreviewed", "all"]),
    default="rejected",
    show_default=True,
    help="With --export: which images.",
)
@click.option("--force", is_flag=True, help="With --export: replace a file that is there.")
@click.option(
    "--import", "filled_in", type=click.Path(path_type=Path), metavar="FILE", help="Take over a table filled in."
)
@serve_option("A page to approve, reject and note on, until Ctrl-C.")
@click.option("--by", metavar="NAME", help="With --import: who says so.  [default: your name in git, or login]")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def review(out: Path | None, state: Path | None, **options: Any) -> int:
    """Look at reviews, write them out, take them in."""
    import anyio

    from fluxbatch.app.look import find_paths

    asked = {"--export": options["target"], "--import": options["filled_in"], "--serve": options["serve"]}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise UsageError(" and ".join(given), remedy="give one of them")
    paths = find_paths(out, state, Path.cwd())
    if options["target"] is not None:
        return anyio.run(_export, paths, options)
    if options["filled_in"] is not None:
        return anyio.run(_import, paths, options)
    if options["serve"] is not None:
        return anyio.run(_serve, paths, options)
    return anyio.run(_count, paths, options)


async def _count(paths: Paths, options: dict[str, Any]) -> int:
    from fluxbatch.app.review import Standing, open_reviews
    from fluxbatch.telemetry.redact import printable

    async with open_reviews(paths) as reviews:
        counts = await reviews.counts()
        files = await reviews.files()
    total = sum(counts.values())
    if options["as_json"]:
        facts = {standing.value: counts[standing] for standing in Standing}
        _show({"out": str(paths.out), "total": total, **facts, "files": [str(file) for file in files]})
        return 0
    words = ", ".join(f"{counts[standing]:,} {standing}" for standing in Standing)
    click.echo(f"{printable(str(paths.out))}: {_images(total)}: {words}")
    for file in files:
        click.echo(f"  verdicts in {printable(str(file))}")
    return 0


async def _export(paths: Paths, options: dict[str, Any]) -> int:
    from fluxbatch.app.review import open_reviews
    from fluxbatch.app.review_sheet import export_sheet

    target: Path = options["target"]
    async with open_reviews(paths) as reviews:
        count = await export_sheet(reviews, target, options["verdict"], force=options["force"])
    if options["as_json"]:
        _show({"file": str(target), "images": count})
    else:
        click.echo(f"{target}: {_images(count)}")
    return 0


async def _serve(paths: Paths, options: dict[str, Any]) -> int:
    from fluxbatch.app.review_page import serve_reviews
    from fluxbatch.web.address import bind

    bound = bind(options["serve"])

    def ready(link: str) -> None:
        if options["as_json"]:
            _show({"url": link})
        tell_link(link, is_open=bound.is_open, as_json=False)

    await serve_reviews(paths, bound, ready)
    return 0


async def _import(paths: Paths, options: dict[str, Any]) -> int:
    import anyio.to_thread

    from fluxbatch.app.review import open_reviews, own_name
    from fluxbatch.app.review_sheet import import_sheet

    source: Path = options["filled_in"]
    by = options["by"] or await anyio.to_thread.run_sync(own_name, paths.out)
    async with open_reviews(paths) as reviews:
        found = await import_sheet(reviews, source, by=by, by_others=not options["by"])
    if options["as_json"]:
        _show(found.as_dict())
    else:
        _tell(found, source)
    return 1 if found.refused else 0


def _tell(found: Imported, source: Path) -> None:
    from fluxbatch.telemetry.redact import clean

    for line, job_id, why in found.refused[:_SHOWN]:
        click.echo(f"{source}:{line}: [{clean(job_id, limit=80)}] not taken over: {clean(why)}", err=True)
    if len(found.refused) > _SHOWN:
        click.echo(f"… and {len(found.refused) - _SHOWN:,} more", err=True)
    for line, column in found.ignored[:_SHOWN]:
        click.echo(f"{source}:{line}: {column}: only verdict, note and prompt are taken over", err=True)
    news = {name: name for name in ("approved", "rejected", "withdrawn")}
    news |= {"notes": "with a new note", "prompts": "with a new prompt"}
    words = [f"{getattr(found, name):,} {what}" for name, what in news.items() if getattr(found, name)]
    refused = f", {len(found.refused):,} refused" if found.refused else ""
    click.echo(f"{', '.join(words) or 'nothing new'}; {found.unchanged:,} unchanged{refused}")


def _show(facts: dict[str, Any]) -> None:
    import orjson

    click.echo(orjson.dumps(facts).decode())


def _images(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"
