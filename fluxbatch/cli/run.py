"""``fluxbatch run``."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbatch.cli.options import Seconds, find_key, price_file_option, prices_of
from fluxbatch.errors import UsageError
from fluxbatch.model.state import Reason
from fluxbatch.settings import DEFAULT_BASE_URL, Settings
from fluxbatch.telemetry.redact import is_clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.planning.intake import ManifestFile, PhotoSet
    from fluxbatch.telemetry.logs import LogFormat

__all__ = ["run"]

_MANIFESTS: Final = {".yaml", ".yml", ".json", ".toml", ".jsonl", ".ndjson", ".csv", ".tsv"}
_PHOTOS: Final = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp"}
_ALTERED: Final = "altered"
_TERMINAL_EVERY_S: Final = 2.0
_LOG_EVERY_S: Final = 10.0

_HELP: Final = """Make what is missing. To resume a run that was stopped, give the same command again.

\b
  fluxbatch run jobs.yaml                         a manifest (yaml, json, toml, jsonl, csv, tsv)
  fluxbatch run photos/ -p "White background"     each photo with the same prompt, no manifest
  fluxbatch run photos/ -p "Put the logo of image 2 on the shirt" --with logo.png
  fluxbatch run jobs.yaml --simulate              through the embedded simulator: no key, no cost
  fluxbatch run jobs.yaml --max-cost 5 --json     in a script: capped, one summary object on stdout
  fluxbatch run jobs.yaml --max-runtime 6h        nightly: whatever is left goes on with the next run
  fluxbatch run jobs.yaml --if-unsure hold        never send again what was maybe billed; the end says how
  fluxbatch run jobs.yaml --retry moderated       try failures again that would otherwise stay
"""


@click.command(help=_HELP, short_help="make what is missing")
@click.argument("what", nargs=-1, required=True, metavar="MANIFEST… | PHOTOS…", type=click.Path(path_type=Path))
@click.option("-p", "--prompt", help="Prompt for photos given without a manifest.")
@click.option("--with", "with_images", multiple=True, metavar="IMG", help="Image 2, 3 … of every photo; path or URL.")
@click.option("--model", metavar="MODEL", help="Model for photos given without a manifest.  [default: flux-2-pro]")
@click.option("-o", "--out", metavar="DIR", help="Where images land.  [default: beside the manifest, NAME-out]")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the ledger lives, if not in the output folder.",
)
@click.option("--simulate", is_flag=True, help="Use the embedded simulator, and an output folder of its own.")
@click.option(
    "--base-url", envvar="FLUXBATCH_BASE_URL", default=DEFAULT_BASE_URL, show_default=True, help="Of the API."
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the key; else FLUXBATCH_API_KEY or APIYI_API_KEY.",
)
@click.option(
    "--ca-file",
    envvar="FLUXBATCH_CA_FILE",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificates to trust beside the system's.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Requests in flight at most, over all models; it starts low and finds the API's own limits.",
)
@click.option(
    "--downloads", type=click.IntRange(1, 256), default=16, show_default=True, help="Results fetched at a time."
)
@click.option(
    "--rpm",
    type=click.IntRange(1),
    metavar="N",
    help="Start at most N requests in any minute, if you know your account's quota.",
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
    "--price", multiple=True, metavar="MODEL=USD", help="Price of an image, over the list of `fluxbatch models`."
)
@price_file_option
@click.option(
    "--if-unsure",
    type=click.Choice(["resend", "hold"]),
    default="resend",
    show_default=True,
    help="A request whose outcome is unknown is sent once more, or held.",
)
@click.option(
    "--retry",
    metavar="REASON,…",
    default="",
    help="Try failures again that would stay: error codes, or `altered` for edited outputs.",
)
@click.option(
    "--on-invalid",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="Refuse to start over an invalid job, or leave it out.",
)
@click.option("--only", multiple=True, metavar="GLOB", help="Only jobs whose id matches.")
@click.option(
    "--limit", type=click.IntRange(0), metavar="N", help="Make N images at most; 0 only fetches what is paid for."
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask before spending.")
@click.option("--json", "as_json", is_flag=True, help="One summary object on stdout.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Of the log on stderr."
)
@click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors.")
@click.option("-v", "--verbose", count=True, help="Tell of every job; twice: of everything.")
def run(what: tuple[Path, ...], **options: Any) -> int:
    """Make what is missing."""
    import anyio

    from fluxbatch.app.request import RunRequest, new_run_id
    from fluxbatch.app.run import run as run_request

    context = click.get_current_context()
    if options["simulate"] and context.get_parameter_source("base_url") is click.core.ParameterSource.COMMANDLINE:
        raise UsageError("--simulate and --base-url name two places", remedy="leave one of them out")
    sources = _sources(what, options["prompt"], options["with_images"], options["model"])
    run_id = new_run_id()
    request = RunRequest(
        run_id=run_id,
        sources=sources,
        out=options["out"],
        state=options["state"],
        base_url=options["base_url"],
        api_key="" if options["simulate"] else find_key(options["api_key_file"]),
        simulate=options["simulate"],
        on_invalid=options["on_invalid"],
        settings=_settings(options),
        ca_file=options["ca_file"],
        prices=prices_of(options["price"], options["price_file"]),
        hooks=_hooks(options, run_id),
    )
    outcome = anyio.run(run_request, request)
    quiet = options["quiet"]
    # where both streams are for machines, a summary in words would be in the way
    words = not (options["as_json"] and options["log_format"] == "json") and (not quiet or outcome.summary.exit_code)
    with suppress(OSError):  # nobody reads it any more; what the run came to is its exit code
        _show(outcome.summary, outcome.paths.out, as_json=options["as_json"], words=bool(words), aside=quiet)
    return outcome.summary.exit_code


def _sources(
    what: Sequence[Path], prompt: str | None, with_images: Sequence[str], model: str | None
) -> list[ManifestFile | PhotoSet]:
    from fluxbatch.planning.intake import ManifestFile, PhotoSet

    if prompt is not None:
        manifests = [path for path in what if path.suffix.lower() in _MANIFESTS and not path.is_dir()]
        if manifests:
            raise UsageError(f"-p is for photos, and {manifests[0]} is a manifest", remedy="leave one of them out")
        return [PhotoSet(tuple(what), prompt, with_images=tuple(with_images), model=model)]
    for name, value in (("--with", with_images), ("--model", model)):
        if value:
            raise UsageError(f"{name} is for photos with -p", remedy="in a manifest, it is a field of the job")
    for path in what:
        if path.is_dir() or path.suffix.lower() in _PHOTOS:
            raise UsageError(
                f"{path} is no manifest", remedy=f'for photos, say what to do: fluxbatch run {path} -p "…"'
            )
    return [ManifestFile(path) for path in what]


def _settings(options: dict[str, Any]) -> Settings:
    reasons = [word.strip() for word in options["retry"].split(",") if word.strip()]
    for word in reasons:
        if word != _ALTERED and word not in list(Reason):
            known = ", ".join([*Reason, _ALTERED])
            raise UsageError(f"--retry {word}: there is no such reason", remedy=f"there are: {known}")
    return Settings(
        concurrency=options["concurrency"],
        downloads=options["downloads"],
        request_timeout_s=options["request_timeout"],
        max_attempts=options["max_attempts"],
        max_cost_usd=options["max_cost"],
        max_runtime_s=options["max_runtime"],
        rpm=options["rpm"],
        if_unsure=options["if_unsure"],
        retry=frozenset(Reason(word) for word in reasons if word != _ALTERED),
        retry_altered=_ALTERED in reasons,
        limit=options["limit"],
        only=tuple(options["only"]),
    )


def _hooks(options: dict[str, Any], run_id: str) -> Any:
    from fluxbatch.app.request import Hooks
    from fluxbatch.cli.talk import Talk
    from fluxbatch.telemetry.logs import LogObserver, make_logger

    form: LogFormat = options["log_format"]
    verbosity = 0 if options["quiet"] else 1 + options["verbose"]
    terminal = sys.stderr.isatty()
    logger = make_logger(
        sys.stderr, form=form, verbosity=verbosity, colors=terminal and not _no_colour(), run_id=run_id
    )
    log = LogObserver(logger, form=form)
    talk = Talk(
        logger,
        log,
        form=form,
        yes=options["yes"],
        free=options["simulate"],
        max_cost=options["max_cost"],
        run_id=run_id,
    )
    return Hooks(
        observers=[log],
        confirm=talk.confirm,
        warn=None if options["quiet"] else talk.warn,
        started=talk.started,
        progress=talk.progress,
        progress_every_s=_TERMINAL_EVERY_S if terminal else _LOG_EVERY_S,
        signals=True,
    )


def _no_colour() -> bool:
    import os

    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def _show(summary: Any, out: Path, *, as_json: bool, words: bool, aside: bool) -> None:
    """The summary: for scripts on stdout, in words beside it or, unless that is taken, there."""
    from fluxbatch.report.summary import summary_lines

    if as_json:
        import orjson

        click.echo(orjson.dumps(summary.as_dict()).decode())
    if words:
        lines = summary_lines(summary, _shown(out), command=_command())
        click.echo("\n".join(lines), err=as_json or aside)


def _command() -> str:
    """What was typed, to be typed again with another ``--retry``; empty if it holds a secret or is of several lines."""
    said = iter(sys.argv[1:])
    kept: list[str] = []
    for word in said:
        if word == "--retry":
            next(said, None)
        elif not word.startswith("--retry="):
            kept.append(word)
    command = shlex.join(["fluxbatch", *kept])
    return command if is_clean(command) else ""


def _shown(path: Path) -> Path:
    """As short as it can be written from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
