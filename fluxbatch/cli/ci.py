"""Options and output for CI: JUnit, the summary of a GitHub job, annotations, and what may fail."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbatch.errors import FluxbatchError, ManifestError, UsageError
from fluxbatch.policy.leniency import FORGIVABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluxbatch.app.aftermath import Aftermath
    from fluxbatch.model.problem import Problem
    from fluxbatch.report.annotations import Annotations

__all__ = ["CiReports", "annotate", "annotate_error", "ci_options", "ci_settings"]

_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")
_MOST_OF_STEPS: Final = 1 << 20
"""bytes that GitHub takes as the summary of a step"""

F = TypeVar("F", bound="Callable[..., Any]")


class Share(click.ParamType[float]):
    """A share: ``95%`` or ``0.95``."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Between 0 and 1."""
        found = _SHARE.fullmatch(str(value).strip())
        share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is no share: write 95% or 0.95", param, ctx)
        return share


class StopReasons(click.ParamType[frozenset[str]]):
    """Stop reasons, with commas between them."""

    name = "reasons"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[str]:
        """The reasons."""
        words = frozenset(word.strip() for word in str(value).split(",") if word.strip())
        for word in sorted(words.difference(FORGIVABLE)):
            self.fail(f"{word!r} can't be let pass; these can: {', '.join(FORGIVABLE)}", param, ctx)
        return words


_OPTIONS: Final = (
    click.option(
        "--junit",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write JUnit XML at the end, a test case a job.",
    ),
    click.option(
        "--fail-under",
        type=Share(),
        metavar="SHARE",
        help="Exit 0 if at least that share of the images is there: 95% or 0.95.",
    ),
    click.option(
        "--stop-after-failures",
        type=click.IntRange(1),
        metavar="N",
        help="Send nothing more once N jobs have failed; exit 3 with work left.",
    ),
    click.option(
        "--ok-if",
        type=StopReasons(),
        default="",
        metavar="REASON,…",
        help="Exit 0, or 1 if jobs failed, after an early stop for these reasons: window, budget, runtime …",
    ),
)


def ci_options(function: F) -> F:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def ci_settings(options: dict[str, Any]) -> dict[str, Any]:
    """What they say, by the names of the settings."""
    return {name: options[name] for name in ("fail_under", "stop_after_failures", "ok_if")}


class CiReports:
    """What a run leaves for a CI server. Nothing of it changes what the run came to.

    Args:
        junit: where JUnit XML goes, if anywhere.

    Raises:
        UsageError: it can't be written there.
    """

    def __init__(self, junit: Path | None) -> None:
        self._junit = None if junit is None else junit.resolve()  # a link stays one
        if self._junit is not None:
            _check_place(self._junit)

    @property
    def wanted(self) -> bool:
        """Whether anybody looks."""
        return self._junit is not None or _on_github() or bool(_page())

    async def settled(self, aftermath: Aftermath) -> None:
        """Report on a run that is over, job by job."""
        from contextlib import ExitStack

        import anyio.to_thread

        from fluxbatch.report.job_summary import JobSummary
        from fluxbatch.report.junit import JUnitFile

        summary, page = aftermath.summary, JobSummary()
        notes = _annotations() if _on_github() else None
        with ExitStack() as stack:
            try:
                junit = None if self._junit is None else stack.enter_context(JUnitFile(self._junit))
                async for cases in aftermath.cases():
                    page.add(cases)
                    if notes is not None:
                        notes.jobs(cases, forgiven=summary.exit_code == 0)
                    if junit is not None:
                        await anyio.to_thread.run_sync(junit.add, cases, summary.stop)
                if junit is not None:
                    if aftermath.unusable:
                        junit.complain("manifest", f"{aftermath.unusable} rows have no usable id; see validate")
                    await anyio.to_thread.run_sync(junit.close, summary, aftermath.begun_at)
                await anyio.to_thread.run_sync(_append, page.page(summary))
            except Exception as error:  # noqa: BLE001  # whatever it is, the run came to what it came to
                _say(f"fluxbatch: the reports for CI are not complete: {error}")
        if notes is not None:
            notes.run(summary)
            notes.flush()

    def refused(self, error: FluxbatchError) -> None:
        """Report that nothing was sent."""
        from fluxbatch.report.job_summary import refusal_page
        from fluxbatch.report.junit import JUnitFile

        try:
            if self._junit is not None:
                with JUnitFile(self._junit) as junit:
                    if isinstance(error, ManifestError):
                        junit.refuse(error.problems)
                    else:
                        junit.complain(type(error).__name__, str(error))
                    junit.close()
            if _page():
                problems = "" if not isinstance(error, ManifestError) else str(error.problems[0])
                _append(refusal_page(error.message, problems or error.remedy))
        except OSError as problem:
            _say(f"fluxbatch: the reports for CI are not complete: {problem}")


def annotate(problems: Sequence[Problem], total: int) -> None:
    """Show findings of the checks at their lines, where GitHub Actions runs this."""
    if _on_github():
        notes = _annotations()
        notes.problems(problems, total)
        notes.flush()


def annotate_error(error: FluxbatchError) -> None:
    """Show what kept a command from doing its work, likewise."""
    if not _on_github():
        return
    if isinstance(error, ManifestError):
        annotate(error.problems, error.total)
        return
    notes = _annotations()
    notes.complain(str(error))
    notes.flush()


def _on_github() -> bool:
    return os.environ.get("GITHUB_ACTIONS", "") == "true"


def _page() -> str:
    return os.environ.get("GITHUB_STEP_SUMMARY", "")


def _annotations() -> Annotations:
    from fluxbatch.report.annotations import Annotations

    return Annotations(_say, _in_repository)


def _in_repository(file: str) -> str:
    """A path as the repository knows it; empty for what is not in there."""
    workspace = os.environ.get("GITHUB_WORKSPACE", "")
    root = Path(workspace) if workspace else Path.cwd()
    path = Path(os.path.abspath(file))  # noqa: PTH100  # not resolved: a link in the repository is a file of it
    for base in (root, root.resolve()):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return ""


def _append(text: str) -> None:
    """Add to the summary of the step, as far as there is room: GitHub drops one that is too large as a whole."""
    if not _page():
        return
    path = Path(_page())
    room = _MOST_OF_STEPS - (path.stat().st_size if path.exists() else 0)
    if len(text.encode()) < room:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


def _check_place(path: Path) -> None:
    """Find out before anything is paid for."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--junit {path}: {error.strerror}", remedy="name a file that can be written") from error
    # a pipe or a device would be replaced by a file
    if not os.access(path.parent, os.W_OK) or (path.exists() and not path.is_file()):
        raise UsageError(f"--junit {path} can't be written", remedy="name a file that can be written")


def _say(text: str) -> None:
    from contextlib import suppress

    with suppress(OSError):  # nobody reads it any more
        click.echo(text, err=True)
