"""What a run is asked for: manifests, photos with a prompt, or jobs given by Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fluxbatch.model.spelling import unspeakable
from fluxbatch.planning.flaw import Unreadable
from fluxbatch.planning.reading.mappings import open_mappings
from fluxbatch.planning.reading.photo_set import open_photos

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fluxbatch.model.job import Json
    from fluxbatch.planning.reading.draft import Opened

__all__ = ["JobList", "ManifestFile", "PhotoSet", "SourceSpec"]


@dataclass(frozen=True)
class ManifestFile:
    """A manifest by its extension: documents (``.yaml .yml .json .toml``) or tables, a row a job."""

    path: Path

    @property
    def name(self) -> str:
        """How the ledger knows it: the absolute path."""
        return str(self.path.absolute())

    @property
    def default_out(self) -> Path:
        """``<manifest name>-out`` beside the manifest."""
        return self.path.absolute().parent / f"{self.path.stem}-out"

    def open(self) -> Opened:
        """Start reading.

        Raises:
            Unreadable: there is nothing that can be read.
        """
        _refuse_unspeakable(self.path)
        label = str(self.path)
        match self.path.suffix.lower():
            case ".yaml" | ".yml" | ".json" | ".toml":
                from fluxbatch.planning.reading.document import open_document

                return open_document(self.path, label)
            case ".jsonl" | ".ndjson":
                from fluxbatch.planning.reading.json_lines import open_json_lines

                return open_json_lines(self.path, label)
            case ".csv" | ".tsv" | ".parquet" | ".xlsx":
                from fluxbatch.planning.reading.table import open_table

                return open_table(self.path, label)
            case suffix:
                raise _unknown_extension(self.path, suffix)


@dataclass(frozen=True)
class PhotoSet:
    """Photos that all get the same prompt; each is image 1 of its own job, and its name without extension the id.

    Attributes:
        paths: a folder, or photos, relative to the working folder.
        prompt: for all of them.
        with_images: images 2, 3 … of every job: paths or URLs.
        model: None for the default.
        overrides: further request fields of all jobs.
    """

    paths: tuple[Path, ...]
    prompt: str
    with_images: tuple[Path | str, ...] = ()
    model: str | None = None
    overrides: Mapping[str, Json] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How the ledger knows it."""
        return "photos"

    @property
    def default_out(self) -> Path:
        """``<folder>-out`` beside a folder; ``photos-out`` in the working folder for anything else."""
        if len(self.paths) == 1 and self.paths[0].is_dir():
            folder = self.paths[0].resolve()
            return folder.parent / f"{folder.name}-out"
        return Path.cwd() / "photos-out"

    def open(self) -> Opened:
        """Start reading.

        Raises:
            Unreadable: there is nothing that can be read.
        """
        for path in self.paths:  # the name of a photo is an id, which is looked at as such
            _refuse_unspeakable(path if path.is_dir() else path.parent)
        for image in self.with_images:
            _refuse_unspeakable(Path(image))
        values: dict[str, Json] = {**self.overrides, "prompt": self.prompt}
        if self.model is not None:
            values["model"] = self.model
        return open_photos(self.paths, values, [str(image) for image in self.with_images])


@dataclass(frozen=True)
class JobList:
    """Jobs given by Python, each a mapping of fields as in a document.

    Attributes:
        jobs: read once, one after the other; may be a generator.
        base: the folder that paths are relative to.
        name: how the ledger knows them; jobs of the same name replace each other.
    """

    jobs: Iterable[Mapping[str, Json]]
    base: Path
    name: str = "python"

    @property
    def default_out(self) -> Path:
        """``<name>-out`` in the base folder."""
        return self.base.absolute() / f"{self.name}-out"

    def open(self) -> Opened:
        """Start reading.

        Raises:
            Unreadable: there is nothing that can be read.
        """
        _refuse_unspeakable(self.base)
        return open_mappings(self.jobs, self.base, self.name)


SourceSpec: TypeAlias = ManifestFile | PhotoSet | JobList


def _refuse_unspeakable(path: Path) -> None:
    """Paths of manifests and photos go into the ledger, and into JSON."""
    if odd := unspeakable(path.absolute()):
        raise Unreadable(0, f"the name {odd} is no UTF-8", "rename it, or the folder")


def _unknown_extension(path: Path, suffix: str) -> Unreadable:
    if suffix in {".jpg", ".jpeg", ".png", ".webp"}:
        return Unreadable(0, "is a photo, not a manifest", f"say what to make of it: fluxbatch run {path} -p PROMPT")
    remedy = "documents are .yaml .yml .json .toml, tables .jsonl .csv .tsv .xlsx .parquet"
    if path.is_dir():
        remedy = f"it is a folder; for its photos: fluxbatch run {path} -p PROMPT"
    return Unreadable(0, f"{suffix!r} is no kind of manifest" if suffix else "has no extension", remedy)
