"""``fluxbatch run``."""

from __future__ import annotations

import gc
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbatch.cli.asking import asking, command_line, request_of, settings_of, shown
from fluxbatch.cli.ci import CiReports, ci_options, ci_settings
from fluxbatch.cli.nightly import Notifier, nightly_options, nightly_settings
from fluxbatch.cli.options import Seconds, ca_file_option, download_proxy_option, find_key, key_file_option
from fluxbatch.cli.serving import serve_option, tell_broken
from fluxbatch.cli.telling import display_for, hooks_for, page_for
from fluxbatch.errors import FluxbatchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fluxbatch.settings import Settings

__all__ = ["run"]

_HELP: Final = """Make what is missing. To resume a run that was stopped, give the same command again.

\b
  fluxbatch run jobs.yaml                         a manifest (yaml, json, toml, jsonl, csv, tsv, xlsx, parquet)
  fluxbatch run photos/ -p "White background"     each photo with the same prompt, no manifest
  fluxbatch run photos/ -p "Put the logo of image 2 on the shirt" --with logo.png
  fluxbatch run jobs.yaml --simulate              through the embedded simulator: no key, no cost
  fluxbatch run jobs.yaml --max-cost 5 --json     in a script: capped, one summary object on stdout
  fluxbatch run jobs.yaml --max-runtime 6h        nightly: whatever is left goes on with the next run
  fluxbatch run jobs.yaml --window 01:00-06:00 --budget 900/month --ok-if window,budget --notify
  fluxbatch run jobs.yaml --if-unsure hold        never send again what was maybe billed; the end says how
  fluxbatch run jobs.yaml --retry moderated       try failures again that would otherwise stay
  fluxbatch run jobs.yaml --remake rejected       make rejected images again, with another seed or prompt
  fluxbatch run jobs.yaml -o s3://bucket/night --state ~/night   into your own object store
  fluxbatch run jobs.yaml --sample 20             try a few before you pay for all
  fluxbatch run jobs.yaml --canary 10             stop if more than a fifth of the first ten fails
  fluxbatch run jobs.yaml --junit report.xml --fail-under 95%    in CI
  fluxbatch run jobs.yaml --serve                 watch it in a browser, and stop it there
  fluxbatch run jobs.yaml --expect-digest 5f0c…   run what was reviewed with `fluxbatch plan`, or nothing
"""


@click.command(help=_HELP, short_help="make what is missing")
@asking("what")
@key_file_option
@ca_file_option
@download_proxy_option
@asking("rate")
@click.option(
    "--downloads", type=click.IntRange(1, 256), default=16, show_default=True, help="Results fetched at a time."
)
@click.option(
    "--request-timeout",
    type=Seconds(),
    default=360,
    show_default=True,
    metavar="DURATION",
    help="Wait for an answer this long. The API bills a request that is given up.",
)
@click.option(
    "--max-attempts",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Failing requests for one job; rate limits don't count.",
)
@click.option(
    "--max-cost",
    type=click.FloatRange(0),
    metavar="USD",
    help="Never spend more, maybe-billed included, until a run goes through: a run taken up again counts on.",
)
@click.option(
    "--max-runtime",
    type=Seconds(),
    metavar="DURATION",
    help="Stop sending early enough that everything has landed by then; exit 3 with work left.",
)
@click.option(
    "--shared",
    is_flag=True,
    help="Of an object store: let runs of other machines into the same place meanwhile; their jobs must differ.",
)
@asking("money")
@asking("which")
@click.option(
    "--canary",
    type=click.IntRange(1),
    metavar="N",
    help="Send N jobs ahead of the others, and stop if more than a share of them fails; exit 3.",
)
@click.option(
    "--canary-share",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="Of the canaries, this share may fail.",
)
@click.option(
    "--expect-digest", metavar="DIGEST", default="", help="Refuse to run a plan that is not the one that was reviewed."
)
@nightly_options
@ci_options
@click.option("--report", is_flag=True, help="Write the gallery at the end, as `fluxbatch report` does.")
@serve_option("Show the run in a browser as it goes on, with a button that stops it.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before spending.")
@click.option("--json", "as_json", is_flag=True, help="One summary object on stdout.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Of the log on stderr."
)
@click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors.")
@click.option("-v", "--verbose", count=True, help="Tell of every job; twice: of everything.")
def run(**options: Any) -> int:
    """Make what is missing."""
    with _lasting():
        import anyio

        from fluxbatch.app.request import new_run_id
        from fluxbatch.app.run import run as run_request

    run_id = new_run_id()
    reports, notifier = CiReports(options["junit"]), Notifier(options)
    display = display_for(options)
    page = page_for(options)
    try:
        request = request_of(
            options,
            run_id=run_id,
            api_key="" if options["simulate"] else find_key(options["api_key_file"]),
            settings=_settings(options),
            ca_file=options["ca_file"],
            expect_digest=options["expect_digest"],
            download_proxy=options["download_proxy"],
            metrics_file=options["metrics_file"],
            hooks=hooks_for(options, run_id, display, page, reports),
        )
        outcome = anyio.run(run_request, request)
    except FluxbatchError as error:
        reports.refused(error)
        notifier.tell({"run_id": run_id, "exit_code": error.exit_code, "error": error.message})
        raise
    except Exception as error:
        notifier.tell({"run_id": run_id, "exit_code": FluxbatchError.exit_code, "error": type(error).__name__})
        raise
    finally:
        if page is not None:
            page.close()
            tell_broken(page.broken)
        if display is not None:
            display.close()
    if options["report"]:
        _write_report(outcome.paths, ca_file=options["ca_file"], quiet=options["quiet"])
    quiet = options["quiet"]
    # where both streams are for machines, a summary in words would be in the way
    words = not (options["as_json"] and options["log_format"] == "json") and (not quiet or outcome.summary.exit_code)
    with suppress(OSError):  # nobody reads it any more; what the run came to is its exit code
        _show(outcome.summary, outcome.paths.place, as_json=options["as_json"], words=bool(words), aside=quiet)
    notifier.tell({**outcome.summary.as_dict(), "out": str(outcome.paths.place)})
    return outcome.summary.exit_code


@contextmanager
def _lasting() -> Iterator[None]:
    """What is made within stays as long as the process: the collector does not look at it, now or ever.

    It would, time and again while modules are imported, and with each of its full rounds of a long run.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _settings(options: dict[str, Any]) -> Settings:
    return settings_of(
        options,
        downloads=options["downloads"],
        request_timeout_s=options["request_timeout"],
        max_attempts=options["max_attempts"],
        max_cost_usd=options["max_cost"],
        max_runtime_s=options["max_runtime"],
        shared=options["shared"],
        canary=options["canary"],
        canary_share=options["canary_share"],
        **ci_settings(options),
        **nightly_settings(options),
    )


def _write_report(paths: Any, *, ca_file: Path | None, quiet: bool) -> None:
    """After the run has been settled: a page that can't be written changes nothing of what it came to."""
    import anyio

    from fluxbatch.app.report import write_report
    from fluxbatch.cli.report import tell_of_another
    from fluxbatch.errors import FluxbatchError

    try:
        index = anyio.run(partial(write_report, paths, waits=tell_of_another, ca_file=ca_file))
    except FluxbatchError as error:
        words = f"fluxbatch: the report was not written: {error}"
    else:
        words = "" if quiet else f"report: {shown(index)}"
    if words:
        with suppress(OSError):
            click.echo(words, err=True)


def _show(summary: Any, out: Path | str, *, as_json: bool, words: bool, aside: bool) -> None:
    """The summary: for scripts on stdout, in words beside it or, unless that is taken, there."""
    from fluxbatch.report.summary import summary_lines

    if as_json:
        import orjson

        click.echo(orjson.dumps(summary.as_dict()).decode())
    if words:
        lines = summary_lines(summary, shown(out), command=command_line(without=["--retry"]))
        click.echo("\n".join(lines), err=as_json or aside)
