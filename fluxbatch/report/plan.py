"""A plan in words: for a terminal, for scripts, and for the discussion of a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.model.outline import Action
from fluxbatch.report.markdown import escaped, harmless
from fluxbatch.report.summary import count, roughly, usd
from fluxbatch.telemetry.redact import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fluxbatch.model.outline import PlanEntry
    from fluxbatch.planning.quote import Quote
    from fluxbatch.policy.outlook import Outlook

__all__ = ["plan_json", "plan_lines", "plan_markdown", "plan_row"]

_MARKS: Final = {
    Action.MAKE: "~",
    Action.FETCH: ">",
    Action.COPY: "=",
    Action.KEEP: " ",
    Action.REFUSE: "!",
    Action.SKIP: "-",
}
_SHOWN_REASONS: Final = 6
_MARKDOWN_ROWS: Final = 100


def plan_row(entry: PlanEntry, width: int) -> str:
    """One job in a line, the id filled up to ``width`` columns."""
    mark = "+" if entry.action is Action.MAKE and entry.why == "new" else _MARKS[entry.action]
    price = f"  {usd(entry.usd)}" if entry.usd else ""
    return f"  {mark} {printable(entry.id):<{width}}  {printable(entry.why)}{price}"


def plan_lines(facts: Mapping[str, Any], quote: Quote, command: str, outlook: Outlook) -> Iterator[str]:
    """The account of a plan. ``facts``: as data; ``command``: that would run it."""
    if quote.make:
        price = "no money, it is simulated" if facts["simulated"] else f"about {usd(quote.usd)}"
        yield f"{count(quote.make, 'image')} to make ({_reasons(quote)}): {price}, about {roughly(facts['seconds'])}"
        if len(facts["models"]) > 1:
            for name, model in facts["models"].items():
                time = roughly(model["seconds"])
                yield f"  {printable(name)}: {count(model['images'], 'image')}, {usd(model['usd'])}, about {time}"
    else:
        yield "nothing to make"
    if quote.unpriced:
        refused = ", else --budget can't be kept" if facts["budget"] else ""
        yield f"{quote.unpriced} of unknown price: name it with --price MODEL=USD{refused}"
    yield from outlook.lines()
    yield "; ".join(_standing(quote))
    if facts["orphans"]:
        shown = ", ".join(printable(file) for file in facts["orphan_files"][:3])
        more = ", …" if facts["orphans"] > 3 else ""
        yield f"{count(facts['orphans'], 'image')} that no job asks for (fluxbatch prune removes them): {shown}{more}"
    if quote.make:
        yield f"digest {quote.digest}"
        if command:
            yield f"  {command} --expect-digest {quote.digest}    runs this plan, and nothing else"


def plan_json(facts: Mapping[str, Any], entries: Iterable[PlanEntry]) -> Iterator[str]:
    """The plan as one JSON object, a line a job, in pieces."""
    head = orjson.dumps(dict(facts)).decode()
    yield f'{head[:-1]},"jobs":['
    separator = "\n"
    for entry in entries:
        yield separator + orjson.dumps(entry).decode()
        separator = ",\n"
    yield "\n]}\n"


def plan_markdown(
    facts: Mapping[str, Any], quote: Quote, entries: Iterable[PlanEntry], outlook: Outlook
) -> Iterator[str]:
    """The plan for a pull request: what people write is escaped, so that it can't pass for more than text."""
    if not quote.has_work:
        yield "### fluxbatch: nothing to do\n"
        yield f"{escaped('; '.join(_standing(quote)))}.\n"
        return
    yield f"### fluxbatch: {count(quote.make, 'image')} to make, about {usd(quote.usd)}\n"
    yield "| model | images | USD | time |\n|---|---:|---:|---:|"
    for name, model in facts["models"].items():
        yield f"| {escaped(name)} | {model['images']:,} | {usd(model['usd'])} | {roughly(model['seconds'])} |"
    yield f"\n{escaped('; '.join(_standing(quote)))}. Digest `{quote.digest}`.\n"
    yield from (f"{escaped(line)}.\n" for line in outlook.lines())
    yield f"<details><summary>{harmless(_reasons(quote)) or 'jobs'}</summary>\n"
    yield "| job | | why | USD |\n|---|---|---|---:|"
    hidden = 0
    shown = 0
    for entry in entries:
        if entry.action is Action.KEEP:
            continue
        if shown == _MARKDOWN_ROWS:
            hidden += 1
            continue
        shown += 1
        price = usd(entry.usd) if entry.usd else ""
        yield f"| {escaped(entry.id)} | {entry.action} | {escaped(entry.why)} | {price} |"
    if hidden:
        yield f"\n… and {hidden:,} more"
    yield "\n</details>"


def _standing(quote: Quote) -> list[str]:
    """What is not made, and why."""
    parts = [f"{quote.cached} unchanged"]
    if quote.copied:
        parts.append(f"{quote.copied} of them copied, their id is new")
    if quote.owed or quote.fetch:
        parts.append(f"{quote.owed + quote.fetch} paid for and to be fetched")
    if quote.refuse:
        parts.append(f"{quote.refuse} can't be sent")
    if quote.left_out:
        parts.append(f"{quote.left_out} left out")
    if quote.edited_count:
        parts.append(f"{quote.edited_count} edited and kept (--retry altered makes them anew)")
    parts += [f"{n} failed before ({code}; --retry {code})" for code, n in sorted(quote.kept_failures.items())]
    return parts


def _reasons(quote: Quote) -> str:
    """Why images are made, most frequent first: ``new: 20, prompt changed: 10``."""
    by_number = sorted(quote.why.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{printable(why)}: {number:,}" for why, number in by_number[:_SHOWN_REASONS]]
    rest = sum(number for _, number in by_number[_SHOWN_REASONS:])
    return ", ".join([*shown, f"other reasons: {rest:,}"] if rest else shown)
