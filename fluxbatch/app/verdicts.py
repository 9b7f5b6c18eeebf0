"""The ``reviews.jsonl`` of one folder: where it is, and taking down what people say."""

from __future__ import annotations

import getpass
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.disk.journal import Journal
from fluxbatch.model.review import LONGEST_NAME, Review
from fluxbatch.planning.reviews import REVIEWS_NAME, Verdicts, moment_text, review_line, review_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fluxbatch.app.folder import Paths
    from fluxbatch.model.review import Verdict

__all__ = ["Refused", "Said", "VerdictFile", "folder_of", "own_name"]

_GIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of an image. It replaces what was said before, the note too.

    Attributes:
        id: of the job.
        sha256: of the image that they saw.
        verdict: None takes back an earlier one.
        note: ``LONGEST_NOTE`` characters at most.
        after: ``at`` of the review that they saw, empty if there was none: refused if somebody said something else
            since. None doesn't care.
    """

    id: str
    sha256: str
    verdict: Verdict | None
    note: str = ""
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Something said that was not taken down.

    Attributes:
        why: for people.
        now: what stands instead, if it is about this very image.
    """

    said: Said
    why: str
    now: Review | None = None


class VerdictFile:
    """The ``reviews.jsonl`` of one folder. Its methods block, and raise as ``Journal``'s do."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / REVIEWS_NAME
        self.verdicts = Verdicts()
        self._journal = Journal(self.path, review_of)

    def refresh(self) -> set[str]:
        """Take in what others said. Returns the jobs that it is about."""
        return self._take_in(*self._journal.news())

    def append(self, said: Sequence[Said], by: str, now_s: float) -> list[Review | Refused]:
        """Take something down, in one go; what is refused is not written. In the order of ``said``."""
        answers: list[Review | Refused] = []

        def decide(anew: bool, news: list[Review]) -> list[bytes]:
            self._take_in(anew, news)
            answers[:], lines = self._decided(said, by, now_s)
            return [review_line(review) for review in lines]

        self._journal.append(decide)
        self.refresh()
        return answers

    def _decided(self, said: Sequence[Said], by: str, now_s: float) -> tuple[list[Review | Refused], list[Review]]:
        """The answers, and what is news: not what says what stands already."""
        latest: dict[tuple[str, str], Review] = {}
        answers: list[Review | Refused] = []
        for one in said:
            known = latest.get((one.id, one.sha256)) or self._of(one.id, one.sha256)
            is_same = known is not None and (known.verdict, known.note) == (one.verdict, one.note)
            if is_same or (known is None and one.verdict is None and not one.note):
                answers.append(known or Review(one.id, one.sha256, None, "", by, moment_text(now_s)))
                continue
            if one.after is not None and one.after != ("" if known is None else known.at):
                what = "withdrawn" if known is None or known.verdict is None else known.verdict.value
                who = f" by {known.by} at {known.at}" if known is not None else ""
                answers.append(Refused(one, f"somebody else was at it since: {what}{who}", known))
                continue
            at = moment_text(now_s, "" if known is None else known.at)
            review = Review(one.id, one.sha256, one.verdict, one.note, by, at)
            latest[one.id, one.sha256] = review
            answers.append(review)
        return answers, list(latest.values())

    def _of(self, job_id: str, sha256: str) -> Review | None:
        return self.verdicts.of(job_id, sha256)

    def _take_in(self, anew: bool, news: Iterable[Review]) -> set[str]:
        about: set[str] = set()
        if anew:
            about, self.verdicts = self.verdicts.jobs, Verdicts()
        for review in news:
            self.verdicts.add(review)
            about.add(review.id)
        return about


def folder_of(paths: Paths, manifest: str, *, simulated: bool) -> Path:
    """Where what is said of a manifest's images is kept: beside the manifest, so that git can carry it.

    In the output folder, if there is nothing to be beside: photos and jobs given without a manifest, and manifests that
    are gone. What is said of simulated images stays with them: it must change nothing about real ones. May block.
    """
    if simulated or not Path(manifest).is_absolute() or not Path(manifest).exists():
        return paths.out
    return Path(manifest).parent


def own_name(folder: Path) -> str:
    """Who is at work: the user's name in git, as it is in this folder, or the login name. Blocks."""
    try:
        said = subprocess.run(
            ["git", "config", "user.name"],  # noqa: S607  # the user's own, wherever it is
            cwd=folder,
            capture_output=True,
            timeout=_GIT_S,
            check=False,
        )
        name = said.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.SubprocessError):
        name = ""
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a user without a name, as containers have them
            name = "unknown"
    return name.encode("utf-8", "replace").decode()[:LONGEST_NAME]  # of a login name, bytes may be anything
