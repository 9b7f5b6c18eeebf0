"""``fluxbatch status``."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbatch.cli.nightly import calendar_options, nightly_settings
from fluxbatch.cli.options import Seconds, is_duration
from fluxbatch.errors import UsageError
from fluxbatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbatch.app.folder import Paths
    from fluxbatch.app.look import FolderStatus

__all__ = ["status"]

_HELP: Final = """Counts, spend and failures of an output folder, also while a run goes on in it.

Without OUT it is this folder, or the only output folder below it.

\b
  fluxbatch status
  fluxbatch status photos-out --json
  fluxbatch status ~/night                   the state folder, of images that go to an object store
  fluxbatch status photos-out --results      write results.jsonl anew from the ledger
  fluxbatch status --budget 900/month        what is left of it, as `run --budget` counts
  fluxbatch status --watch photos-out        over and over, until the run there has ended
  fluxbatch status photos-out --watch --interval 30 --json >> log.jsonl
"""
_WATCH_S: Final = 2.0
_LEAST_S: Final = 0.1
_INTERRUPTED: Final = 130
_CLEAR: Final = "\x1b[H\x1b[2J"


class _Status(click.Command):
    """``--watch 5``, as it was said once, is ``--watch --interval 5``; a folder of that name is OUT."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_said_now(args)))


def _said_now(args: list[str]) -> Iterator[str]:
    before = ""
    for word in args:
        value = word.removeprefix("--watch=")
        if value != word:
            yield from ("--watch", "--interval", value)
        elif before == "--watch" and is_duration(word) and not Path(word).is_dir():
            yield from ("--interval", word)
        else:
            yield word
        before = word


@click.command(cls=_Status, help=_HELP, short_help="counts, spend and failures")
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Where the ledger lives, if not in OUT.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout; with --watch one a line.")
@click.option("--watch", "watched", is_flag=True, help="Look again and again, until the run has ended.")
@click.option(
    "--interval",
    "every_s",
    type=Seconds(),
    metavar="SECONDS",
    help=f"With --watch: how long to wait in between.  [default: {_WATCH_S:g}]",
)
@click.option("--results", is_flag=True, help="Write results.jsonl anew.")
@calendar_options
def status(
    out: Path | None,
    state: Path | None,
    *,
    as_json: bool,
    watched: bool,
    every_s: float | None,
    results: bool,
    **hours_and_budget: str,
) -> int:
    """Look at an output folder."""
    import anyio

    from fluxbatch.app.look import find_paths, look_at, rewrite_results

    if watched and results:
        raise UsageError("--watch and --results", remedy="give one of them")
    if every_s is not None and not watched:
        raise UsageError(f"--interval {every_s:g} without --watch", remedy="add --watch, or leave it out")
    if every_s is not None and every_s < _LEAST_S:
        raise UsageError(f"--interval {every_s:g}", remedy=f"it must be {_LEAST_S:g} seconds or more")
    paths = find_paths(out, state, Path.cwd())
    settings = Settings(**nightly_settings(hours_and_budget))
    if watched:
        return _watch(paths, settings, _WATCH_S if every_s is None else every_s, as_json=as_json)
    found = anyio.run(look_at, paths, settings)
    if results:
        lines = anyio.run(rewrite_results, paths)
        click.echo(f"{paths.results}: {lines} lines", err=True)
    if as_json:
        _show_json(found.as_dict())
    else:
        click.echo("\n".join(_lines(found)))
    return 0


def _watch(paths: Paths, settings: Settings, every_s: float, *, as_json: bool) -> int:
    """Show how the folder stands until no run goes on in it any more."""
    import anyio

    from fluxbatch.app.follow import watch

    paints = not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    async def show_each() -> None:
        async for seen in watch(paths, settings, every_s):
            if as_json:
                _show_json(seen.as_dict())
                continue
            rate = [] if seen.per_minute is None else [f"{seen.per_minute:.1f} images a minute"]
            block = "\n".join([*_lines(seen.status), *rate])
            click.echo(f"{_CLEAR}{block}" if paints else f"{block}\n")

    try:
        anyio.run(show_each)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _show_json(facts: dict[str, Any]) -> None:
    import orjson

    click.echo(orjson.dumps(facts).decode())


def _lines(found: FolderStatus) -> list[str]:
    from fluxbatch.report.summary import count, failure_lines, flag_lines, usd
    from fluxbatch.telemetry.redact import printable

    facts, tally, run = found.as_dict(), found.tally, found.last_run
    lines = [f"{printable(str(found.paths.place))}{' (simulated)' if facts['simulated'] else ''}"]
    if run is not None:
        begun = datetime.fromtimestamp(run.started_at).astimezone()
        lines.append(f"last run {run.id}, begun {begun:%Y-%m-%d %H:%M:%S}: {_end_of(found)}")
    waiting = tally.by_state.get("generated", 0)
    counts = f"{facts['stored']} made, {facts['failed']} failed, {facts['pending']} still to make"
    owed = f" ({waiting} paid for and to be fetched)" if waiting else ""
    owed += f" ({facts['in_flight']} in flight)" if facts["in_flight"] else ""
    lines.append(f"{count(tally.total, 'image')}: {counts}{owed}")
    lines += failure_lines(tally.failures)
    lines += flag_lines(facts["last_run"]["flags"]) if run is not None else []
    spent = f"spent: {usd(tally.cost_usd)} for {count(tally.charged, 'image')}"
    unknown, unknown_usd = found.unknown
    if unknown:
        spent += f"; maybe billed: {usd(unknown_usd)} for {count(unknown, 'request')}"
    if tally.lost:
        spent += f"; paid but lost: {tally.lost}"
    return [*lines, spent, *found.outlook.lines()]


def _end_of(found: FolderStatus) -> str:
    run = found.as_dict()["last_run"]
    if found.live:
        return "running now"
    if not run["ended"]:
        return "ended before its time"
    if run["stop_reason"] == "called_off":
        return "called off, nothing was sent"
    return f"stopped early ({run['stop_reason']})" if run["exit_code"] and run["exit_code"] >= 3 else "finished"
