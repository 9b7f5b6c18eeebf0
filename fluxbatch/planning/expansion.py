"""From an entry to its jobs: one for each variant, and for each step of a chain. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbatch.planning.references import Reference
    from fluxbatch.planning.spec import Spec

__all__ = ["Part", "parts_of"]

_SEEDS = 1 << 32


@dataclass(slots=True)
class Part:
    """One job of an entry.

    Attributes:
        id: its own.
        fields: of the request, as written.
        images: image 1 first.
        prompt_at: where its prompt stands in the entry, as ``prompt`` or ``chain[2]``.
        numbered: the images were written as ``input_image…``.
        variant: its number among those that differ in their seeds alone; 0 if there are no others.
    """

    id: str
    fields: dict[str, Any]
    images: list[Reference]
    prompt_at: str = "prompt"
    numbered: bool = False
    variant: int = 0


def parts_of(spec: Spec, job_id: str) -> Iterator[Part]:
    """The jobs of an entry, what others need first.

    Variants are ``ID-1``, ``ID-2`` …; a seed that is written is that of the first, the others count on from there. The
    steps of a chain are ``ID-step1``, ``ID-step2`` …, and the last one has the id itself.
    """
    if spec.variants == 1 and not spec.chain:
        return iter((_whole(spec, job_id),))
    if not spec.chain:
        return _variants(spec, job_id)
    return (part for variant in _variants(spec, job_id) for part in _steps(spec, variant))


def _whole(spec: Spec, job_id: str) -> Part:
    return Part(job_id, spec.fields, spec.images, numbered=spec.numbered)


def _variants(spec: Spec, job_id: str) -> Iterator[Part]:
    part = _whole(spec, job_id)
    if spec.variants == 1:
        yield part
        return
    for number in range(1, spec.variants + 1):
        yield replace(part, id=f"{job_id}-{number}", fields=_counted_on(spec.fields, number), variant=number)


def _counted_on(fields: dict[str, Any], variant: int) -> dict[str, Any]:
    """Fields with a seed that is written made those of a variant."""
    seed = fields.get("seed")
    return {**fields, "seed": (seed + variant - 1) % _SEEDS} if variant and isinstance(seed, int) else fields


def _steps(spec: Spec, whole: Part) -> Iterator[Part]:
    before = ""
    for number, link in enumerate(spec.chain, 1):
        last = number == len(spec.chain)
        job_id = whole.id if last else f"{whole.id}-step{number}"
        images: list[Reference] = [{"job": before}] if before else list(whole.images)
        yield Part(
            job_id,
            {**whole.fields, **_counted_on(link.fields, whole.variant)},
            [*images, *link.images],
            prompt_at=f"chain[{number}]",
            numbered=whole.numbered and not before,
            variant=whole.variant,
        )
        before = job_id
