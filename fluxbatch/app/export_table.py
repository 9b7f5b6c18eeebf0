"""What became of each row of a manifest: its own columns, in their order, and four of ours."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread
import orjson

from fluxbatch.app.look import open_ledger
from fluxbatch.app.new_table import new_table
from fluxbatch.errors import UsageError
from fluxbatch.model.state import JobState
from fluxbatch.planning.findings import Findings
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.intake import Intake
from fluxbatch.planning.reading.table import table_records
from fluxbatch.planning.sources import ManifestFile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from fluxbatch.adapters.ledger import SqliteLedger
    from fluxbatch.app.folder import Paths
    from fluxbatch.model.job import Record
    from fluxbatch.planning.places import Places

__all__ = ["export_table"]

_OURS: Final = ("fb_status", "fb_file", "fb_cost", "fb_error")
_TABLES: Final = frozenset({".csv", ".tsv", ".xlsx", ".parquet"})
_PAGE: Final = 500
_STATUS: Final = {JobState.STORED: "stored", JobState.FAILED: "failed"}
_WIDTH: Final = 20
_WIDEST: Final = 1 << 63

Key: TypeAlias = tuple[str, int]
"""a column: its header, and how many columns of that name stand before it"""
Row: TypeAlias = Mapping[Key, Any]


async def export_table(paths: Paths, target: Path, *, force: bool = False) -> int:
    """Write the rows of the manifests of an output folder, with what became of each; returns how many.

    Of a table, or a table of a catalogue, each row as it stands there now: once for each of its jobs, and once without
    any if it has none. Of all other jobs, their fields.

    Raises:
        UsageError: the file is there already, is one that is read for this, is of no known kind, or can't hold this;
            or a table can't be read.
        ManifestError: a manifest can't be read any more.
        StorageError: it can't be written.
    """
    async with new_table(target, force=force) as table:
        ledger = await open_ledger(paths)
        try:
            survey = _Columns()
            async with aclosing(_rows(ledger, survey.sources)) as pages:
                async for rows in pages:
                    survey.take(rows)
            if await anyio.to_thread.run_sync(_is_one_of, target, survey.sources):
                raise UsageError(f"{target} is what this table is made of", remedy="name another file")
            await table.open([(name, _WIDTH) for name, _ in survey.kinds], kinds=survey.arrow())
            count = 0
            async with aclosing(_rows(ledger, set())) as pages:
                async for rows in pages:
                    count += len(rows)
                    await table.add([[_cell(row.get(key)) for key in survey.kinds] for row in rows])
        finally:
            with anyio.CancelScope(shield=True):
                await ledger.close()
    return count


@dataclass(slots=True)
class _Columns:
    """The columns of all rows in the order in which they come, ours last, with the kinds of values in each.

    Attributes:
        sources: manifests and tables that the rows are of.
    """

    kinds: dict[Key, set[type]] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)

    def take(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for key, value in row.items():
                kinds = self.kinds.setdefault(key, set())
                if value is not None and value != "":
                    is_wide = isinstance(value, int) and not -_WIDEST <= value < _WIDEST
                    kinds.add(str if is_wide else type(value))
        for key in [(name, 0) for name in _OURS]:
            self.kinds[key] = self.kinds.pop(key, set())

    def arrow(self) -> list[str]:
        """What each is called in Arrow."""
        names = {bool: "bool_", int: "int64", float: "float64"}
        found = []
        for kinds in self.kinds.values():
            one = float if kinds == {int, float} else next(iter(kinds)) if len(kinds) == 1 else str
            found.append(names.get(one, "string"))
        return found


def _is_one_of(target: Path, sources: set[str]) -> bool:
    return target.exists() and any(Path(source).exists() and target.samefile(source) for source in sources)


async def _rows(ledger: SqliteLedger, sources: set[str]) -> AsyncGenerator[list[Row], None]:
    """All rows, in batches; what they are read from goes to ``sources``."""
    for name in await ledger.manifests():
        read = await anyio.to_thread.run_sync(_Manifest, name)
        sources |= {name, *(label for label, *_ in read.tables)}
        try:
            for label, encoding, sheet in read.tables:
                async for rows in _of_table(ledger, read, label, encoding, sheet):
                    yield rows
            async for rows in _of_jobs(ledger, name, read):
                yield rows
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(read.close)


class _Manifest:
    """The tables of a manifest, and where its jobs stand in them. Blocks.

    Attributes:
        tables: each with its encoding and sheet, empty to find out.

    Raises:
        ManifestError: nothing of it can be read.
    """

    def __init__(self, name: str) -> None:
        self.tables: list[tuple[str, str, str]] = []
        self.places: Places | None = None
        self._intake: Intake | None = None
        path = Path(name)
        if not path.is_absolute() or not path.is_file():
            return
        findings = Findings()
        self._intake = Intake([ManifestFile(path)], findings=findings, locks=False)
        try:
            self._read(self._intake, path)
            if findings.fatal:
                findings.raise_if_errors()
        except BaseException:
            self.close()
            raise

    def _read(self, intake: Intake, path: Path) -> None:
        intake.stage()
        if path.suffix.lower() in _TABLES:
            self.tables.append((str(path), "", ""))
        self.tables += [(label, *how) for label, how in intake.tables.items() if Path(label).suffix.lower() in _TABLES]
        if self.tables:
            self.places = intake.places()

    def close(self) -> None:
        if self._intake is not None:
            self._intake.close()
            self._intake = None


async def _of_table(
    ledger: SqliteLedger, read: _Manifest, label: str, encoding: str, sheet: str
) -> AsyncIterator[list[Row]]:
    assert read.places is not None
    records = table_records(Path(label), encoding, sheet)

    def page() -> list[tuple[int, Sequence[Any]]]:
        try:
            return [record for _, record in zip(range(_PAGE), records, strict=False)]
        except Unreadable as problem:
            raise UsageError(f"{label}:{problem.line}: {problem.message}", remedy=problem.remedy) from None
        except OSError as error:
            raise UsageError(f"{label} can't be read: {error.strerror}", remedy="put it back") from None

    header: list[Key] | None = None
    while lines := await anyio.to_thread.run_sync(page):
        if header is None:
            header = _header([str(cell).strip() for cell in lines[0][1]])
            del lines[0]
        numbers = [line for line, _ in lines]
        ids = await anyio.to_thread.run_sync(read.places.at, label, numbers)
        records_of = await ledger.recall([job_id for found in ids.values() for job_id in found])
        rows: list[Row] = []
        for line, cells in lines:
            own = {key: cell for key, cell in zip(header, cells, strict=False) if key[0] not in _OURS}
            own = dict.fromkeys((key for key in header if key[0] not in _OURS), "") | own
            rows += [own | _became(records_of.get(job_id)) for job_id in ids.get(line, [])] or [own | _nothing()]
        yield rows


async def _of_jobs(ledger: SqliteLedger, manifest: str, read: _Manifest) -> AsyncIterator[list[Row]]:
    """The jobs that stand in none of the tables."""
    labels = {label for label, *_ in read.tables}
    page: list[Record] = []
    async for record in ledger.rows():
        if record.job.manifest == manifest:
            page.append(record)
        if len(page) >= _PAGE:
            yield await anyio.to_thread.run_sync(_job_rows, page, read, labels)
            page = []
    if page:
        yield await anyio.to_thread.run_sync(_job_rows, page, read, labels)


def _job_rows(page: Sequence[Record], read: _Manifest, labels: set[str]) -> list[Row]:
    files = read.places.files_of([record.job.id for record in page]) if read.places is not None else {}
    return [_job_row(record) for record in page if files.get(record.job.id) not in labels]


def _job_row(record: Record) -> Row:
    job = record.job
    said: dict[str, Any] = {
        "id": job.id,
        "prompt": None,
        "images": "|".join(image.ref for image in job.images),
        "model": job.model,
    }
    said |= job.fields
    said |= {f"meta.{name}" if name in said else name: value for name, value in job.meta.items()}
    return {(name, 0): value for name, value in said.items() if name not in _OURS} | _became(record)


def _header(names: Sequence[str]) -> list[Key]:
    seen: dict[str, int] = {}
    header: list[Key] = []
    for name in names:
        header.append((name, seen.get(name, 0)))
        seen[name] = seen.get(name, 0) + 1
    return header


def _became(record: Record | None) -> dict[Key, Any]:
    """Ours; a row whose job was never planned is still to be made."""
    if record is None:
        return {(_OURS[0], 0): "pending"} | {(name, 0): None for name in _OURS[1:]}
    stored = record.stored if record.state is JobState.STORED else None
    failure = record.failure if record.state is JobState.FAILED else None
    ours = (
        _STATUS.get(record.state, "pending"),
        stored.file if stored is not None else None,
        round(float(record.cost_usd), 6),
        f"{failure.reason.value}: {failure.message}" if failure is not None else None,
    )
    return {(name, 0): value for name, value in zip(_OURS, ours, strict=True)}


def _nothing() -> dict[Key, Any]:
    """Ours, of a row of which no job is made."""
    return {(name, 0): None for name in _OURS}


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, list | dict) else value
