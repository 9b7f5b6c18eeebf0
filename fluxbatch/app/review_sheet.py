"""Reviews as a table that people fill in: written for them, and read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.app.new_table import new_table
from fluxbatch.app.remakes import RemakeFile
from fluxbatch.app.review import Refused, Reviewed, Said, Standing, folder_of
from fluxbatch.errors import ManifestError
from fluxbatch.model.problem import Problem, Where
from fluxbatch.model.review import Review, Verdict
from fluxbatch.planning.remakes import Remake
from fluxbatch.planning.review_rows import plain_lines, read_rows
from fluxbatch.planning.reviews import moment_text, read_moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fluxbatch.app.review import Reviews
    from fluxbatch.planning.review_rows import FilledRow

__all__ = ["Imported", "Which", "export_sheet", "import_sheet"]

Which: TypeAlias = Literal["approved", "rejected", "unreviewed", "all"]

_COLUMNS: Final = (
    *(("id", 24), ("file", 28), ("prompt", 60), ("model", 18), ("seed", 12)),
    *(("verdict", 12), ("note", 40), ("by", 16), ("at", 28), ("sha256", 12)),
)
_PAGE: Final = 500
_MOST_PROBLEMS: Final = 200


@dataclass(slots=True)
class Imported:
    """What a filled-in table came to.

    Attributes:
        approved, rejected, withdrawn: verdicts that are new.
        notes: notes that are new, without a new verdict.
        prompts: prompts that are new, to be used when their image is made again.
        unchanged: rows that say nothing new.
        refused: rows that were not taken over: line, id, why.
        ignored: cells of columns that nobody reads which were filled in differently: line, column.
    """

    approved: int = 0
    rejected: int = 0
    withdrawn: int = 0
    notes: int = 0
    prompts: int = 0
    unchanged: int = 0
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    ignored: list[tuple[int, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As data, for scripts."""
        refused = [{"line": line, "id": job_id, "why": why} for line, job_id, why in self.refused]
        ignored = [{"line": line, "column": column} for line, column in self.ignored]
        names = ("approved", "rejected", "withdrawn", "notes", "prompts", "unchanged")
        return {name: getattr(self, name) for name in names} | {"refused": refused, "ignored": ignored}


async def export_sheet(reviews: Reviews, path: Path, which: Which = "rejected", *, force: bool = False) -> int:
    """Write images and what is said of them into a table; returns how many. ``unreviewed`` includes outdated ones.

    Raises:
        UsageError: the file is there already, is of no known kind, or can't hold this.
        StorageError: it can't be written.
    """
    async with new_table(path, kinds=(".csv", ".xlsx"), force=force) as table:
        await table.open(_COLUMNS, choices={"verdict": list(Verdict)}, marked=True)
        wishes = _Wishes(reviews)
        count, rows = 0, []
        async for one in reviews.images():
            if _is_wanted(one, which):
                rows.append(_row_of(one, await wishes.of(one)))
                count += 1
            if len(rows) >= _PAGE:
                await table.add(rows)
                rows = []
        await table.add(rows)
    return count


async def import_sheet(reviews: Reviews, path: Path, *, by: str, by_others: bool = True) -> Imported:
    """Take over what people filled in: verdicts, notes and prompts.

    Args:
        reviews: of the folder that the table was written for.
        path: of the table.
        by: who says so.
        by_others: believe a ``by`` that somebody filled in for a row.

    Raises:
        ManifestError: cells are wrong; each is named, and nothing was taken over.
        UsageError: the table can't be read.
        StorageError: what is said can't be written.
    """
    problems: list[Problem] = []
    rows = await anyio.to_thread.run_sync(partial(read_rows, path, problems))
    await reviews.refresh()
    wishes = _Wishes(reviews)
    found = Imported()
    changes: list[_Change] = []
    for start in range(0, len(rows), _PAGE):
        page = rows[start : start + _PAGE]
        images = await reviews.images_of([row.id for row in page])
        for row in page:
            one = images.get(row.id)
            if one is None or one.sha256 != row.sha256:
                found.refused.append((row.line, row.id, _why_not(one)))
                continue
            found.ignored += [(row.line, name) for name in _filled_in(row, one)]
            change = _compare(row, one, await wishes.of(one), by, by_others=by_others)
            if problem := _prompt_problem(change, str(path)):
                problems.append(problem)
            changes.append(change)
    if problems:
        raise _wrong(problems)
    await _take_over(reviews, changes, wishes, found)
    return found


@dataclass(frozen=True, slots=True)
class _Change:
    """What a row says that is new; None for what it doesn't change."""

    row: FilledRow
    one: Reviewed
    said: Said | None
    prompt: str | None
    by: str


class _Wishes:
    """Prompts for images that are to be made again, by the folders where they are kept."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews
        self._files: dict[str, RemakeFile] = {}

    async def of(self, one: Reviewed) -> Remake | None:
        """What is wished for in place of an image."""
        return (await self.file(one.record.job.manifest)).remakes.wish(one.id, one.sha256)

    async def file(self, manifest: str) -> RemakeFile:
        """Where they are kept, read up to now."""
        if manifest not in self._files:
            self._files[manifest] = await anyio.to_thread.run_sync(self._open, manifest)
        return self._files[manifest]

    def _open(self, manifest: str) -> RemakeFile:
        folder = folder_of(self._reviews.paths, manifest, simulated=self._reviews.simulated)
        file = next((file for file in self._files.values() if file.path.parent == folder), RemakeFile(folder))
        file.refresh()
        return file


def _is_wanted(one: Reviewed, which: Which) -> bool:
    if which == "unreviewed":
        return one.standing in {Standing.UNREVIEWED, Standing.OUTDATED}
    return which in {"all", one.standing.value}


def _row_of(one: Reviewed, wish: Remake | None) -> list[Any]:
    job, stored, review = one.record.job, one.record.stored, one.review
    assert stored is not None
    seed = job.fields.get("seed") if stored.seed is None else stored.seed
    verdict = "" if review is None or review.verdict is None else review.verdict.value
    said = ("", "", "") if review is None else (review.note, review.by, _latest(review, wish))
    model = stored.model or job.model
    return [one.id, one.file, _prompt_of(one, wish), model, seed, verdict, *said, one.sha256]


def _latest(review: Review, wish: Remake | None) -> str:
    """When the last was said of an image: what somebody has seen who has seen that."""
    return review.at if wish is None else max(review.at, wish.at, key=read_moment)


def _prompt_of(one: Reviewed, wish: Remake | None) -> str:
    prompt = one.record.job.fields.get("prompt") if wish is None else wish.prompt
    return prompt if isinstance(prompt, str) else ""


def _filled_in(row: FilledRow, one: Reviewed) -> Iterator[str]:
    """Columns that were filled in differently, though nobody reads them."""
    facts = dict(zip((name for name, _ in _COLUMNS), _row_of(one, None), strict=True))
    for name, cell in row.others.items():
        if cell != plain_lines(str("" if facts[name] is None else facts[name])):
            yield name


def _compare(row: FilledRow, one: Reviewed, wish: Remake | None, by: str, *, by_others: bool) -> _Change:
    review = one.review
    before = (None, "") if review is None else (review.verdict, review.note)
    note = before[1] if row.note is None or row.note == plain_lines(before[1]) else row.note
    said = None
    if (row.verdict, note) != before and not (row.seen_at == "" and row.verdict is None and not row.note):
        seen = review is not None and _has_seen(row, review.at)
        said = Said(
            one.id, one.sha256, row.verdict, note, after=review.at if review is not None and seen else row.seen_at
        )
    asked = row.prompt if row.prompt is not None and row.prompt != plain_lines(_prompt_of(one, wish)) else None
    if wish is not None and asked == plain_lines(_prompt_of(one, None)) and not _has_seen(row, wish.at):
        asked = None  # left as it was before somebody asked for another one
    names = row.by if by_others and row.by and row.by != (review.by if review is not None else "") else by
    return _Change(row, one, said, asked, names)


def _has_seen(row: FilledRow, at: str) -> bool:
    """Whether who filled in a row had seen what was said then; a table that doesn't tell is taken at its word."""
    if row.seen_at is None:
        return True
    return bool(row.seen_at) and read_moment(row.seen_at) >= read_moment(at)


def _prompt_problem(change: _Change, file: str) -> Problem | None:
    """A new prompt is for an image that is to be made again."""
    if change.prompt is None or change.row.verdict is Verdict.REJECTED:
        return None
    message, remedy = "is a new one, for an image that is not rejected", "say rejected, or put back the prompt"
    return Problem(Where(file, change.row.line), message, remedy, "prompt", change.row.id[:200])


def _why_not(one: Reviewed | None) -> str:
    if one is None:
        return (
            "there is no image of such a job (a spreadsheet may have changed the id: have it keep its column as text)"
        )
    return "the image has changed since: look at it again"


async def _take_over(reviews: Reviews, changes: Sequence[_Change], wishes: _Wishes, found: Imported) -> None:
    refused: set[int] = set()
    for by in dict.fromkeys(change.by for change in changes):
        mine = [change for change in changes if change.by == by and change.said is not None]
        answers = await reviews.record([change.said for change in mine if change.said is not None], by=by)
        for change, answer in zip(mine, answers, strict=True):
            if isinstance(answer, Refused):
                found.refused.append((change.row.line, change.row.id, answer.why))
                refused.add(change.row.line)
            else:
                _count(change, answer, found)
    taken = [change for change in changes if change.row.line not in refused]
    found.unchanged += sum(change.said is None and change.prompt is None for change in taken)
    found.refused.sort()
    asked = [change for change in taken if change.prompt is not None]
    found.prompts = len(asked)
    by_manifest: dict[str, list[Remake]] = {}
    now = SystemClock().now()
    for change in asked:
        manifest = change.one.record.job.manifest
        by_manifest.setdefault(manifest, []).append(_wish_of(change, await wishes.of(change.one), now))
    for manifest, remakes in by_manifest.items():
        await anyio.to_thread.run_sync((await wishes.file(manifest)).append, remakes)


def _wish_of(change: _Change, before: Remake | None, now_s: float) -> Remake:
    """What is put on record; the prompt that the job has takes back another one."""
    one = change.one
    is_its_own = change.prompt == plain_lines(_prompt_of(one, None))
    at = moment_text(now_s, "" if before is None else before.at)
    return Remake(one.id, 0, None, None if is_its_own else change.prompt, one.sha256, "", change.by, at)


def _count(change: _Change, review: Review, found: Imported) -> None:
    before = change.one.review
    if (None if before is None else before.verdict) is review.verdict:
        found.notes += 1
    elif review.verdict is None:
        found.withdrawn += 1
    else:
        found.approved += review.verdict is Verdict.APPROVED
        found.rejected += review.verdict is Verdict.REJECTED


def _wrong(problems: list[Problem]) -> ManifestError:
    problems.sort(key=lambda problem: problem.where.line)
    error = ManifestError(problems[:_MOST_PROBLEMS], total=len(problems))
    error.message = f"{len(problems)} cells are wrong, nothing was taken over"
    return error
