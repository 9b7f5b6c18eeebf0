"""The group of commands, imported one at a time, and what becomes of errors."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from itertools import pairwise
from typing import Final, NoReturn, TextIO

import click

from fluxbatch import __version__
from fluxbatch.errors import FluxbatchError, Interrupted, ManifestError

__all__ = ["cli", "main"]

_COMMANDS: Final = {
    "run": "make what is missing (and resume: the same command again)",
    "plan": "what `run` would make, why, and what it would cost",
    "validate": "find all errors of manifests at once, with file and line",
    "init": "write a manifest to start from: for photos, or for a table",
    "adopt": "take existing files as the outputs of their jobs",
    "prune": "remove images that no job asks for any more",
    "gc": "remove what old runs left that can be done without",
    "status": "counts, spend and failures of a live or past run",
    "review": "what people say of the images: counts, tables to fill in",
    "report": "write a page of all images and failures, to look at in a browser",
    "export": "deliver images elsewhere, or a table of what became of each row",
    "doctor": "is everything there that a run needs: key, API, clock, disk, proxy",
    "models": "models, their limits and prices",
    "simulate": "serve the API simulator",
    "schema": "JSON Schema of the manifest, for editors",
}
_INTERNAL: Final = 70
_BROKEN_PIPE: Final = 141

_HELP: Final = """Batch image fusion on a FLUX API: every image you pay for lands on disk, and none is paid for twice.

\b
  fluxbatch run photos/ -p "White background" --simulate   try it without a key
  export FLUXBATCH_API_KEY=sk-…
  fluxbatch run photos/ -p "White background"              the same for real
  fluxbatch run jobs.yaml                                  from a manifest
  fluxbatch run jobs.yaml                                  stopped? the same line again

\b
Exit codes:
  0  everything asked for is there      3  stopped early, resumable (key, credit,
  1  some jobs failed or are held          budget, runtime, outage, storage)
  2  wrong usage or manifest, or no    70  a defect of fluxbatch
     key; nothing was sent             75  the output folder is in use
                         130, 143, 129  interrupted with work left, resumable
"""


class _LazyGroup(click.Group):
    """Knows its commands by name, and imports the one that is called: help stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # likewise
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"fluxbatch.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(_COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # likewise
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_LazyGroup, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="fluxbatch")
def cli() -> None:
    """Parse the group's own options."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that belongs to what happened."""
    _warn_elsewhere()
    try:
        code = cli.main(args, prog_name="fluxbatch", standalone_mode=False)
    except click.ClickException as error:
        if _for_machines(args):
            _tell(error.format_message(), exit_code=error.exit_code)
        else:
            error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        _say("interrupted, nothing was sent")
        _leave(130)
    except FluxbatchError as error:
        _show(error, for_machines=_for_machines(args))
        if isinstance(error, Interrupted):
            _leave(error.exit_code)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _silence(sys.stdout)
        sys.exit(_BROKEN_PIPE)
    except Exception as error:  # noqa: BLE001  # the last line of defence: said plainly, with a code of its own
        _internal(error)
    _flush()
    sys.exit(code if isinstance(code, int) else 0)


def _flush() -> None:
    """Say the last words. Whoever doesn't listen any more (``| head``, a closed terminal) changes no exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    """Have nothing more come out, or fail to, as the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        click.echo(f"fluxbatch: {text}", err=True)


def _for_machines(args: list[str] | None) -> bool:
    """Whether the log was to be in JSON: then what goes wrong before there is a log is a line of it as well."""
    said = sys.argv[1:] if args is None else args
    return "--log-format=json" in said or ("--log-format", "json") in pairwise(said)


def _show(error: FluxbatchError, *, for_machines: bool) -> None:
    if for_machines:
        for problem in error.problems if isinstance(error, ManifestError) else ():
            facts = {"where": str(problem.where), "job_id": problem.job_id, "field": problem.field}
            _tell(problem.message, **facts, remedy=problem.remedy)
        _tell(error.message, remedy=error.remedy, exit_code=error.exit_code)
    else:
        if isinstance(error, ManifestError):
            _show_problems(error)
        else:
            _say(str(error))
        _annotate(error)


def _annotate(error: FluxbatchError) -> None:
    from fluxbatch.cli.ci import annotate_error

    annotate_error(error)


def _tell(message: str, **facts: object) -> None:
    import orjson

    from fluxbatch.telemetry.redact import printable_facts

    line = {"event": "error", "level": "error", "message": message, **{k: v for k, v in facts.items() if v}}
    with suppress(OSError):
        click.echo(orjson.dumps(printable_facts(line)).decode(), err=True)


def _show_problems(error: ManifestError) -> None:
    from fluxbatch.cli.talk import show_problem

    for problem in error.problems:
        show_problem(problem)
    if error.total > len(error.problems):
        click.echo(f"… and {error.total - len(error.problems)} more", err=True)
    _say(error.message)


def _leave(code: int) -> NoReturn:
    """Exit without waiting for a thread that reads the terminal or a large photo."""
    _flush()
    os._exit(code)


def _internal(error: BaseException) -> NoReturn:
    import traceback

    traceback.print_exception(error)
    _say("this is a defect of fluxbatch; what was paid for is in the ledger, and the same command goes on from there")
    sys.exit(_INTERNAL)


def _warn_elsewhere() -> None:
    if os.name != "posix":
        _say("only Linux, macOS and WSL are supported: on this system locks and durable renames are not what they seem")
