"""Documents (YAML, JSON, TOML): the keys around the jobs, and defaults merged into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fluxbatch.planning.flaw import Unreadable, shown
from fluxbatch.planning.keys import forbidden, nearest
from fluxbatch.planning.names import JOB_KEYS
from fluxbatch.planning.reading.constants import checked_constants, inherited
from fluxbatch.planning.reading.draft import Draft, Fault, Opened
from fluxbatch.planning.reading.json_document import parse_json
from fluxbatch.planning.reading.marked import Items, Table, lines_of
from fluxbatch.planning.reading.text import read_document
from fluxbatch.planning.reading.toml_document import parse_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DOCUMENT_KEYS", "open_document"]

DOCUMENT_KEYS: Final = ("version", "out", "filename", "lock", "inputs", "defaults", "jobs", "catalog")
_MERGED: Final = ("meta", "extra")
_INPUTS: Final = (None, "inline", "presign")


def open_document(path: Path, label: str) -> Opened:
    """Read a document as a whole.

    Raises:
        Unreadable: it can't be read, or is not of the form that documents have.
    """
    root = _parse(path)
    if not isinstance(root, Table):
        raise Unreadable(1, "is not a mapping with the key 'jobs'", "write the jobs below 'jobs:'")
    if "jobs" not in root and "catalog" not in root and "prompt" in root:
        raise Unreadable(1, "is one job, not a list of jobs", "write it below 'jobs:', as a list with one entry")
    opened = Opened(label, path.parent, ())
    _read_top(root, opened)
    opened.drafts = _drafts(root, opened)
    return opened


def _parse(path: Path) -> Any:
    text = read_document(path)
    match path.suffix.lower():
        case ".json":
            return parse_json(text)
        case ".toml":
            return parse_toml(text)
        case _:
            from fluxbatch.planning.reading.yaml_document import parse_yaml

            return parse_yaml(text)


def _read_top(root: Table, opened: Opened) -> None:
    for key in root:
        if key not in DOCUMENT_KEYS:
            opened.faults.append(_unknown(key, root.lines[key]))
    version = root.get("version", 1)
    if version != 1 or isinstance(version, bool):
        message = f"{version!r} is not a version of the manifest that this fluxbatch knows"
        opened.faults.append(Fault(root.lines["version"], message, "write version: 1", "version"))
    opened.out = _text(root, "out", opened, "write a folder, relative to the manifest")
    if opened.out and "://" in opened.out:
        remedy = "write a folder here, or give the address with -o"
        opened.faults.append(Fault(root.lines["out"], "is an address, not a folder", remedy, "out"))
        opened.out = None
    filename = _text(root, "filename", opened, 'write a template as "{{ id }}"')
    opened.filename = (filename, root.lines["filename"]) if filename else None
    lock = root.get("lock")
    if lock is not None and not isinstance(lock, bool):
        message = f"{shown(lock)} is neither true nor false"
        opened.faults.append(Fault(root.lines["lock"], message, "write true", "lock"))
    opened.lock = lock is True
    inputs = root.get("inputs")
    if inputs not in _INPUTS:
        remedy = "write presign: photos in object stores are sent as URLs that die; or leave it out"
        opened.faults.append(Fault(root.lines["inputs"], f"{shown(inputs)} is no way to send photos", remedy, "inputs"))
    opened.presign = inputs == "presign"


def _unknown(key: str, line: int) -> Fault:
    flaw = forbidden(key)
    if flaw:
        return Fault(line, flaw.message, flaw.remedy, key)
    if key in JOB_KEYS:
        return Fault(line, f"{key!r} belongs to a job", f"write it below 'defaults:' or in a job: {key}", key)
    meant = nearest(key, DOCUMENT_KEYS)
    remedy = f"did you mean {meant!r}?" if meant else f"a manifest has the keys {', '.join(DOCUMENT_KEYS)}"
    return Fault(line, f"{key!r} is not a key of a manifest", remedy, key)


def _text(root: Table, key: str, opened: Opened, remedy: str) -> str | None:
    value = root.get(key)
    if value is None:
        return None
    if isinstance(value, str) and value.strip():
        return value
    opened.faults.append(Fault(root.lines[key], "is empty or not text", remedy, key))
    return None


def _drafts(root: Table, opened: Opened) -> Iterator[Draft | Unreadable]:
    defaults = _defaults(root, opened)
    if "jobs" not in root and "catalog" not in root:
        remedy = "write the jobs below 'jobs:', each with '- '"
        opened.faults.append(Fault(0, "there is no list of jobs", remedy, "jobs"))
    for key in root:
        if key == "jobs":
            yield from _job_drafts(root, defaults, opened)
        elif key == "catalog":
            from fluxbatch.planning.catalog.reader import catalog_drafts

            yield from catalog_drafts(root, defaults, opened)


def _job_drafts(root: Table, defaults: Table, opened: Opened) -> Iterator[Draft | Unreadable]:
    jobs, line = root["jobs"], root.lines["jobs"]
    if not isinstance(jobs, Items):
        remedy = "write the jobs below 'jobs:', each with '- '"
        opened.faults.append(Fault(line, "there is no list of jobs", remedy, "jobs"))
        return
    if not jobs:
        opened.faults.append(Fault(line, "the list of jobs is empty", "write at least one job", "jobs"))
    for job, at in zip(jobs, jobs.lines, strict=True):
        if isinstance(job, Table):
            yield _merged(defaults, job)
        else:
            yield Unreadable(at, "a job is a mapping of fields to values", "write at least 'prompt: …'")


def _defaults(root: Table, opened: Opened) -> Table:
    """The defaults without what is wrong with them: that is reported here, once, and not for every job."""
    defaults = root.get("defaults")
    if defaults is None:
        return Table(0)
    if not isinstance(defaults, Table):
        line = root.lines["defaults"]
        opened.faults.append(Fault(line, "is not a mapping of fields to values", "write model: …", "defaults"))
        return Table(0)
    if "id" in defaults:
        remedy = "each job has an id of its own"
        opened.faults.append(Fault(defaults.lines["id"], "an id can't be a default", remedy, "defaults.id"))
    return checked_constants(defaults, "defaults", opened.faults, wrong=("id",))


def _merged(defaults: Table, job: Table) -> Draft:
    lines = lines_of(job)
    if not defaults:
        return Draft(job.line, job, lines)
    values = inherited(defaults, job)
    values.update(job)
    for key in _MERGED:
        if isinstance(job.get(key), dict) and isinstance(defaults.get(key), dict):
            values[key] = {**defaults[key], **job[key]}
    return Draft(job.line, values, {**lines_of(defaults), **lines})
