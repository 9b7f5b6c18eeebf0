"""JUnit XML: a test case a job, as CI servers show them.

As with pytest, a *failure* is a job that came to a bad end; an *error* is something that went wrong around it (a
request whose outcome nobody knows, a run that had to stop, a manifest that can't be run); *skipped* is what was not
tried.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final, Self
from xml.sax.saxutils import escape, quoteattr

from fluxbatch.report.case import End
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from fluxbatch.model.problem import Problem
    from fluxbatch.model.summary import Stop, Summary
    from fluxbatch.report.case import Case

__all__ = ["JUnitFile", "xml_text"]

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
"""what XML 1.0 can't express, and what terminals and parsers stumble over"""
_HEAD: Final = 800
"""bytes kept for the counts, which are known last; what is left of them is blank"""
_LONGEST: Final = 2000
_NAME: Final = "fluxbatch"


class JUnitFile:
    """Written as the jobs come, in place all at once with ``close``; without that, nothing is there.

    Raises:
        OSError: (any method) it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        self._file: IO[bytes] = self._temporary.open("wb")
        self._file.write(b" " * _HEAD)
        self._counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def add(self, cases: Sequence[Case], stop: Stop | None = None) -> None:
        """Take jobs, in order; ``stop``: why those that were not sent were not."""
        for case in cases:
            self._job(case, stop)

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Take what keeps a run from starting."""
        for problem in problems:
            text = f"{problem.message}\n{problem.remedy}".strip()
            place = problem.where
            self._case(problem.job_id or place.file, place.file, place.line, _child("error", "manifest", text))

    def complain(self, kind: str, text: str) -> None:
        """Take what is the matter with the run as a whole."""
        self._case("run", _NAME, 0, _child("error", kind, text))

    def close(self, summary: Summary | None = None, begun_at: float | None = None) -> None:
        """Put it in place; ``begun_at``: when the run began, epoch seconds."""
        if summary is not None and summary.stop is not None and summary.stopped_early and not summary.forgiven:
            self.complain(summary.stop_reason, f"{summary.stop.message}\n{summary.stop.remedy}".strip())
        self._file.write(b"</testsuite></testsuites>\n")
        counts = " ".join(f'{name}="{number}"' for name, number in self._counts.items())
        said = f'name="{_NAME}" {counts} time="{0.0 if summary is None else summary.wall_s:.3f}"'
        head = f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites {said}>\n<testsuite {said}'
        if begun_at is not None:
            head += f' timestamp="{datetime.fromtimestamp(begun_at, UTC):%Y-%m-%dT%H:%M:%S}"'
        self._file.seek(0)
        self._file.write(f"{head:<{_HEAD - 2}}>\n".encode())
        self._file.close()
        self._temporary.replace(self._path)

    def _job(self, case: Case, stop: Stop | None) -> None:
        child = ""
        match case.end:
            case End.FAILED:
                child = _child("failure", case.code, f"{case.message}\n{case.remedy}")
            case End.HELD:
                child = _child("error", case.code, f"{case.message}\n{case.remedy}")
            case End.UNSENT:
                why = "not sent" if stop is None else f"not sent: {stop.message}"
                child = _child("skipped", stop.reason if stop is not None else "pending", why)
            case End.MADE | End.UNCHANGED:
                pass
        self._case(case.record.job.id, case.where.file, case.where.line, child, case.seconds)

    def _case(self, name: str, file: str, line: int, child: str, seconds: float = 0.0) -> None:
        self._counts["tests"] += 1
        for kind, count in (("<failure", "failures"), ("<error", "errors"), ("<skipped", "skipped")):
            self._counts[count] += child.startswith(kind)
        place = f" file={_attribute(file)}" + (f' line="{line}"' if line else "")
        head = f'<testcase classname={_attribute(file)} name={_attribute(name)} time="{seconds:.3f}"{place}'
        self._file.write((f"{head}>{child}</testcase>\n" if child else f"{head}/>\n").encode())


def xml_text(text: str) -> str:
    """Text without what XML can't express, at most 2000 characters; not escaped yet."""
    text = _NOT_XML.sub("\ufffd", text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _child(tag: str, kind: str, text: str) -> str:
    first, _, _ = text.partition("\n")
    body = escape(xml_text(text))
    return f"<{tag} type={_attribute(kind)} message={_attribute(clean(first, limit=_LONGEST))}>{body}</{tag}>"


def _attribute(text: str) -> str:
    return quoteattr(xml_text(text), {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})
