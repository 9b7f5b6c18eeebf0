"""Fields that several jobs have in common: checked once, and handed down to those that don't say otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fluxbatch.model.problem import Level
from fluxbatch.planning.names import IMAGE_FIELDS
from fluxbatch.planning.reading.draft import Fault
from fluxbatch.planning.reading.marked import Table, lines_of
from fluxbatch.planning.spec import read_spec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["checked_constants", "inherited"]

# Several ways to say one thing: a job that uses one of them inherits none of the others.
_ONE_OF: Final = (frozenset({"images", *IMAGE_FIELDS}), frozenset({"prompt", "prompt_file", "chain"}))


def checked_constants(table: Table, prefix: str, faults: list[Fault], wrong: Collection[str] = ()) -> Table:
    """The fields without what is wrong with them: that is reported here.

    Args:
        table: the fields.
        prefix: what they are called in messages.
        faults: takes what is wrong.
        wrong: keys that are known to be wrong.
    """
    bad = set(wrong)
    lines = lines_of(table)
    for flaw in read_spec(table).flaws:
        top = flaw.field.partition(".")[0].partition("[")[0]
        bad.add(top)
        line = lines.get(flaw.field) or lines.get(top, table.line)
        faults.append(Fault(line, flaw.message, flaw.remedy, f"{prefix}.{flaw.field}", flaw.level is Level.WARNING))
    usable = Table(table.line)
    for key in table:
        if key not in bad:
            usable.put(key, table[key], table.lines[key])
    return usable


def inherited(defaults: Mapping[str, Any], job: Collection[str]) -> dict[str, Any]:
    """What a job with these keys takes from the defaults."""
    values = dict(defaults)
    for keys in _ONE_OF:
        if not keys.isdisjoint(job):
            for key in keys:
                values.pop(key, None)
    return values
