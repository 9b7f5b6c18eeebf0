"""``fluxbatch init``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fluxbatch.cli.asking import shown
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["init"]

_TABLES: Final = {".csv", ".tsv", ".xlsx", ".parquet", ".jsonl", ".ndjson"}
_DOCUMENTS: Final = {".yaml", ".yml", ".json", ".toml"}

_HELP: Final = """Write a manifest to start from, with every option explained. Sends nothing, needs no key.

\b
  fluxbatch init photos/                          a job for each photo of a folder
  fluxbatch init mug.jpg bowl.jpg                 these photos, job by job
  fluxbatch init products.csv                     a job for each row; csv, tsv, xlsx, parquet, jsonl
  fluxbatch init products.csv -p "Place the {{ name }} from image 1 on a beach" -o beach.yaml

Of a table, header and first rows are looked at: which column is the id, which ones hold photos, which one the name.
"""


@click.command(help=_HELP, short_help="write a manifest to start from")
@click.argument("what", nargs=-1, required=True, metavar="PHOTOS… | TABLE", type=click.Path(path_type=Path))
@click.option("-p", "--prompt", default="", help="What to make.  [default: a plain white background]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("jobs.yaml"),
    show_default=True,
    metavar="FILE",
    help="The manifest to write.",
)
@click.option("--force", is_flag=True, help="Overwrite it.")
@click.option("--stdout", "to_stdout", is_flag=True, help="Write to stdout, and no file.")
def init(what: tuple[Path, ...], *, prompt: str, out: Path, force: bool, to_stdout: bool) -> int:
    """Write a manifest to start from."""
    if out.suffix.lower() not in {".yaml", ".yml"}:
        raise UsageError(f"{out}: a manifest to start from is YAML", remedy="name it .yaml")
    if not to_stdout and not force and os.path.lexists(out):
        raise UsageError(f"{out} is there already", remedy="-o FILE writes another one, --force overwrites it")
    text = _sketch(what, prompt, out.absolute().parent)
    if to_stdout:
        click.echo(text, nl=False)
        return 0
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} can't be written: {error.strerror}", remedy="-o FILE writes elsewhere") from None
    name = shlex.quote(str(shown(out)))
    click.echo(f"{shown(out)} is written. See what it would make, and try it without a key:")
    click.echo(f"  fluxbatch plan {name}\n  fluxbatch run {name} --simulate")
    return 0


def _sketch(what: Sequence[Path], prompt: str, base: Path) -> str:
    from fluxbatch.planning.flaw import Unreadable

    try:
        _check(what)
        tables = [path for path in what if path.suffix.lower() in _TABLES and not path.is_dir()]
        if len(what) > 1 and (tables or any(path.is_dir() for path in what)):
            raise UsageError(
                "give photos, or one folder, or one table", remedy="and put the manifests together by hand"
            )
        if tables:
            return _of_table(tables[0], prompt, base)
        return _of_folder(what[0], prompt, base) if what[0].is_dir() else _of_photos(what, prompt, base)
    except Unreadable as problem:
        raise UsageError(problem.message, remedy=problem.remedy) from None


def _check(what: Sequence[Path]) -> None:
    """Refuse what is not there, and what is neither photos nor a table."""
    from fluxbatch.planning.guess import is_picture
    from fluxbatch.planning.reading.text import similar_name

    for path in what:
        if not os.path.exists(path):  # noqa: PTH110 - a name that is too long is none, and no error
            similar = similar_name(path)
            raise UsageError(f"{path}: there is no such file", remedy=f"did you mean {similar!r}?" if similar else "")
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UsageError(f"{str(path)!r} is not valid Unicode", remedy="rename it") from None
        suffix = path.suffix.lower()
        if suffix in _DOCUMENTS and not path.is_dir():
            raise UsageError(f"{path} is a manifest already", remedy=f"see what it makes: fluxbatch plan {path}")
        if not path.is_dir() and suffix not in _TABLES and not is_picture(path.name):
            raise UsageError(f"{path} is neither a photo nor a table", remedy=f"tables are {' '.join(sorted(_TABLES))}")


def _of_photos(photos: Sequence[Path], prompt: str, base: Path) -> str:
    from fluxbatch.planning.ids import clash_key, unsafe_name
    from fluxbatch.planning.sketch import sketch_photos

    jobs: list[tuple[str, str]] = []
    taken: set[str] = set()
    for path in dict.fromkeys(photos):
        job_id = path.stem
        if clash_key(job_id) in taken or unsafe_name(job_id):
            job_id = ""  # one is made from its name and a digest
        taken.add(clash_key(job_id))
        jobs.append((job_id, _from(base, path)))
    return sketch_photos(jobs, prompt)


def _of_folder(folder: Path, prompt: str, base: Path) -> str:
    from fluxbatch.planning.ids import clash_key, unsafe_name
    from fluxbatch.planning.reading.photo_set import photos_in
    from fluxbatch.planning.sketch import sketch_folder

    names = [Path(name).stem for name in photos_in(folder, [])]
    if not names:
        raise UsageError(f"there are no photos in {folder}", remedy="it needs .jpg, .png or .webp files")
    alone = len({clash_key(name) for name in names}) == len(names)
    named = alone and not any(unsafe_name(name) for name in names)
    return sketch_folder(f"{_from(base, folder)}/", prompt, named=named)


def _of_table(table: Path, prompt: str, base: Path) -> str:
    from fluxbatch.planning.guess import guess_columns, sample_table
    from fluxbatch.planning.reading.encoding import detected
    from fluxbatch.planning.sketch import sketch_table

    try:
        header, rows = sample_table(table)
        encoding = detected(table) if table.suffix.lower() in {".csv", ".tsv"} else ""
        guess = guess_columns(header, rows)
        folder = _folder_of(guess.images[0].first, table, base) if guess.images else ""
    except OSError as error:
        raise UsageError(f"{table} can't be read: {error.strerror}", remedy="check its permissions") from None
    return sketch_table(_from(base, table), guess, prompt, folder=folder, encoding=encoding)


def _folder_of(photo: str, table: Path, base: Path) -> str:
    """Where the photos of a table lie, relative to the manifest: beside it, beside the table, or in a folder there."""
    here = table.parent
    if (base / photo).exists():
        return ""
    below = sorted(path for path in here.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = next((folder for folder in (here, *below) if (folder / photo).exists()), here)
    folder = _from(base, found)
    return "" if folder == "." else folder


def _from(base: Path, path: Path) -> str:
    """A path as the manifest writes it."""
    return path.as_posix() if path.is_absolute() else Path(os.path.relpath(path, base)).as_posix()
