"""Real manifests in a real folder, through the whole intake."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fluxbatch.planning.findings import Findings
from fluxbatch.planning.intake import Intake, JobList, ManifestFile, PhotoSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fluxbatch.model.job import Json, PlannedJob
    from fluxbatch.planning.sources import SourceSpec
    from fluxbatch.ports import Memo

PHOTOS = Path(__file__).parents[2] / "jobs/photos"


@dataclass
class Taken:
    """What an intake made of its sources. ``lines`` are its findings as a person reads them."""

    jobs: list[PlannedJob]
    lines: list[str]
    errors: int
    warnings: int
    fatal: int
    total: int
    unusable: int
    outs: list[tuple[str, Path | None, Path]] = field(default_factory=list)

    @property
    def job(self) -> PlannedJob:
        (job,) = self.jobs
        return job

    @property
    def line(self) -> str:
        (line,) = self.lines
        return line


def take(
    *sources: SourceSpec, memo: Memo | None = None, prices: Mapping[str, float] | None = None, root: Path | None = None
) -> Taken:
    """Stage and check; paths below ``root`` are shown relative to it."""
    findings = Findings()
    with Intake(sources, findings=findings, memo=memo, prices=prices) as intake:
        intake.stage()
        intake.check()
        jobs = [job for batch in intake.planned() for job in batch]
        total, unusable, outs = intake.total, intake.unusable, intake.outs
    lines = [str(problem) for problem in findings.first(1000)]
    if root is not None:
        lines = [line.replace(f"{root}/", "") for line in lines]
    return Taken(jobs, lines, findings.errors, findings.warnings, findings.fatal, total, unusable, outs)


class Desk:
    """A folder with photos to write manifests in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def photo(self, name: str, source: str = "person.jpg") -> Path:
        """A copy of a real photo."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PHOTOS / source, target)
        return target

    def write(self, name: str, content: str | bytes) -> ManifestFile:
        """A file of the given content."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return ManifestFile(path)

    def take(self, name: str, content: str | bytes) -> Taken:
        """Take one manifest in."""
        return take(self.write(name, content), root=self.folder)

    def take_jobs(self, *jobs: Mapping[str, Json], prices: Mapping[str, float] | None = None) -> Taken:
        """Take in jobs given by Python."""
        return take(JobList(jobs, self.folder), root=self.folder, prices=prices)

    def take_rules(self, **fields: Json) -> Taken:
        """Take in one text-only job with these fields."""
        return self.take_jobs({"id": "a", "prompt": "x", **fields})

    def take_photos(self, paths: Iterable[Path], prompt: str = "White background", **options: object) -> Taken:
        """Take in photos with one prompt."""
        return take(PhotoSet(tuple(paths), prompt, **options), root=self.folder)  # type: ignore[arg-type]
