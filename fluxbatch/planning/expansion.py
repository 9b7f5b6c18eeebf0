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
    for variant in _variants(spec, job_id):
        yield from _steps(spec, variant) if spec.chain else (variant,)


def _variants(spec: Spec, job_id: str) -> Iterator[Part]:
    part = Part(job_id, spec.fields, spec.images, numbered=spec.numbered)
    if spec.variants == 1:
        yield part
        return
    seed = spec.fields.get("seed")
    for number in range(spec.variants):
        fields = spec.fields
        if isinstance(seed, int):
            fields = {**fields, "seed": (seed + number) % _SEEDS}
        yield replace(part, id=f"{job_id}-{number + 1}", fields=fields, variant=number + 1)


def _steps(spec: Spec, whole: Part) -> Iterator[Part]:
    before = ""
    for number, link in enumerate(spec.chain, 1):
        last = number == len(spec.chain)
        job_id = whole.id if last else f"{whole.id}-step{number}"
        images: list[Reference] = [{"job": before}] if before else list(whole.images)
        yield Part(
            job_id,
            {**whole.fields, **link.fields},
            [*images, *link.images],
            prompt_at=f"chain[{number}]",
            numbered=whole.numbered and not before,
            variant=whole.variant,
        )
        before = job_id
