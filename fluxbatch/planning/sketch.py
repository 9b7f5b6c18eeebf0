"""A manifest to start from, as text: what is needed, and the other options behind ``#``. Pure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import yaml

from fluxbatch.model.flux import DEFAULT_MODEL
from fluxbatch.planning.reading.yaml_document import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fluxbatch.planning.guess import Column, Guess

__all__ = ["scalar", "sketch_folder", "sketch_photos", "sketch_table"]

_COMMENTS_AT: Final = 38
_PLAIN: Final = "Place the {0} of image 1 on a plain white background, in soft light"
_TEXT_ALONE: Final = "A photo of the {0} on a plain white background, in soft light"
_OBJECTS: Final = (".jsonl", ".ndjson")
_TEXT_TABLES: Final = (".csv", ".tsv")


def sketch_photos(photos: Sequence[tuple[str, str]], prompt: str) -> str:
    """A manifest that lists jobs.

    Args:
        photos: an id, empty for one that is derived, and the path, relative to the manifest, of each.
        prompt: of all jobs; empty for one to start from.
    """
    said = scalar(prompt or _PLAIN.format("subject"))
    head = _head(_line(f"prompt: {said}", "of every job that has none of its own", 1))
    jobs = ["", "jobs:"]
    for job_id, path in photos:
        jobs.append(f"  - images: [{scalar(path)}]" if not job_id else f"  - id: {scalar(job_id)}")
        if job_id:
            jobs.append(f"    images: [{scalar(path)}]")
    jobs += [
        _off('- prompt: "Using the style of image 2, render image 1"', "a job with a prompt of its own", 1),
        _off(f"  images: [{scalar(photos[0][1])}, {scalar(photos[-1][1])}]", "image 1, image 2 … up to 8", 1),
        _off("  aspect_ratio: 16:9", "all that stands below defaults can stand here", 1),
        _off("  variants: 3", "as many images, with different seeds: ID-1, ID-2 …", 1),
    ]
    return _text([*head, *jobs])


def sketch_folder(rows: str, prompt: str, *, named: bool) -> str:
    """A catalogue over a folder of photos.

    Args:
        rows: the folder, relative to the manifest.
        prompt: empty for one to start from.
        named: the names of the photos can be ids.
    """
    why = "unique; names the file" if named else "two photos have the same name, or one is no file name"
    catalog = [
        _line(f"rows: {scalar(rows)}", "each photo is a row: photo, name, folder", 1),
        _line('id: "{{ name }}"', why, 1, on=named),
        _line(f"prompt: {scalar(prompt or _PLAIN.format('subject'))}", "{{ name }} can stand in it", 1),
        _line('images: ["{{ photo }}"]', "image 1; add a logo, a scene … up to 8", 1),
        _off("where: name != 'cover'", "which photos to take", 1),
        *_of_catalogs(),
    ]
    return _text([*_head(), "", "catalog:", *catalog])


def sketch_table(rows: str, guess: Guess, prompt: str, *, folder: str = "", encoding: str = "") -> str:
    """A catalogue over a table.

    Args:
        rows: the table, relative to the manifest.
        guess: what its columns are.
        prompt: empty for one to start from.
        folder: that the images of the table lie in, relative to the manifest; empty for that of the manifest.
        encoding: of its text, if it has one.
    """
    catalog = [_line(f"rows: {scalar(rows)}", "the first line names the columns", 1)]
    if rows.lower().endswith(_TEXT_TABLES):
        catalog.append(_off(f"encoding: {encoding or 'utf-8'}", "found out by itself; here if it is wrong", 1))
    if rows.lower().endswith(".xlsx"):
        catalog.append(_off("sheet: Sheet1", "by default the first", 1))
    if guess.renamed:
        renamed = ", ".join(f"{name}: {scalar(header)}" for name, header in guess.renamed.items())
        catalog.append(_line(f"columns: {{{renamed}}}", "names for templates, and what the table calls them", 1))
    if guess.id:
        catalog.append(_line(f'id: "{{{{ {guess.id.name} }}}}"', "unique; names the file", 1))
    else:
        catalog.append(_off('id: "{{ … }}"', "no column is unique: ids are made from photo and prompt", 1))
    catalog += [
        _line(f"prompt: {scalar(prompt or _prompt(guess))}", "{{ column }} for any column of the table", 1),
        *_images(guess, folder),
        *_where(rows, guess),
        *_of_catalogs(),
    ]
    return _text([*_head(), "", "catalog:", *catalog])


def scalar(text: str) -> str:
    """Text as YAML, in one line: plain where nothing can be taken for something else."""
    flow = yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=sys.maxsize)
    if flow == f"[{text}]\n" and isinstance(resolve(text), str):
        return text
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize).removesuffix("\n")


def _head(*common: str) -> list[str]:
    """All that stands before the jobs; ``common``: further defaults."""
    return [
        "# A manifest to start from. What stands behind a '#' is an option: take the '#' away to use it.",
        "# for completion in editors: fluxbatch schema > fluxbatch.schema.json",
        "version: 1",
        _off("out: images", "where images land; by default in NAME-out beside this file"),
        _off('filename: "{{ id }}"', 'of images, without extension; folders are fine: "2026/{{ id }}"'),
        _off("lock: true", "keep fluxbatch.lock beside this file, for images that are in a repository"),
        "",
        "defaults:",
        *common,
        _line(f"model: {DEFAULT_MODEL}", "`fluxbatch models` lists them with limits and prices", 1),
        _line("output_format: jpeg", "or png", 1),
        _off("aspect_ratio: 16:9", "by default that of image 1", 1),
        _off("size: 1024x1024", "in place of aspect_ratio", 1),
        _off("seed: 42", "by default made from the id, so that an image can be made again", 1),
        _off("safety_tolerance: 2", "0 strictest to 6", 1),
        _off("prompt_upsampling: true", "let the service expand the prompt", 1),
        _off("fit: {long_edge: 2048}", "make large photos smaller before they are sent", 1),
    ]


def _of_catalogs() -> Iterable[str]:
    """Options of every catalogue."""
    yield _off("matrix: {scene: [beach, studio]}", "each row with each scene: {{ scene }} goes into prompt and id", 1)
    yield _off("variants: 3", "as many images of each row, with different seeds: ID-1, ID-2 …", 1)
    yield _off("meta: {campaign: spring}", "echoed into results.jsonl; {{ column }} is fine here too", 1)


def _prompt(guess: Guess) -> str:
    about = "product"
    if guess.title:
        name = guess.title.name
        about = f"{{{{ {name} }}}}" if guess.title.full else f'{{{{ {name} | default("product") }}}}'
    return (_PLAIN if guess.images else _TEXT_ALONE).format(about)


def _images(guess: Guess, folder: str) -> Iterable[str]:
    if not guess.images:
        yield _off('images: ["{{ photo }}"]', "no column has file names of photos: text to image", 1)
        return
    first = guess.images[0]
    if first.several:
        yield _line(f'images: "{{{{ {first.name} }}}}"', "image 1, 2 …: a cell lists them with '|' between", 1)
        return
    written = [_image(one, folder, optional=number > 0) for number, one in enumerate(guess.images)]
    yield _line(f"images: [{', '.join(written)}]", "image 1, image 2 … up to 8; add a logo, a scene …", 1)


def _image(column: Column, folder: str, *, optional: bool) -> str:
    path = f"{folder}/" if folder and column.local else ""
    template = scalar(f"{path}{{{{ {column.name} }}}}")
    return f"{{optional: {template}}}" if optional and not column.full else template


def _where(rows: str, guess: Guess) -> Iterable[str]:
    """Rows without the first image are left out; else an example with texts of the table."""
    empty = "{} | default('') != ''" if rows.lower().endswith(_OBJECTS) else "{} != ''"
    about = guess.id or guess.title
    if guess.images and not guess.images[0].full:
        condition = scalar(empty.format(guess.images[0].name))
        yield _line(f"where: {condition}", "which rows to make: here those that have a photo", 1)
    elif guess.group:
        column, text = map(scalar, guess.group)
        yield _off(
            f"where: {{{column}: [{text}]}}", 'which rows to make; or: stock | int > 0, row["In stock"] | int > 0', 1
        )
    elif about:
        yield _off(f"where: {scalar(empty.format(about.name))}", "which rows to make; or: stock | int > 0", 1)


def _line(text: str, comment: str, depth: int = 0, *, on: bool = True) -> str:
    start = "  " * depth + ("" if on else "# ") + text
    return f"{start:<{_COMMENTS_AT}}  # {comment}"


def _off(text: str, comment: str, depth: int = 0) -> str:
    return _line(text, comment, depth, on=False)


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
