"""Jobs and rows to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.model.flux import DEFAULT_MODEL
from fluxbatch.model.job import PlannedJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.job import Failure, Image, Json

__all__ = ["make_job"]


def make_job(  # noqa: PLR0913  # as many as a job has fields that matter
    position: int = 0,
    *,
    id: str = "",  # noqa: A002  # the job's own word for it
    model: str = DEFAULT_MODEL,
    manifest: str = "jobs.yaml",
    images: tuple[Image, ...] = (),
    fields: Mapping[str, Json] | None = None,
    fingerprint: str = "",
    price: float | None = 0.03,
    defect: Failure | None = None,
) -> PlannedJob:
    """A planned job; what isn't given follows from its position."""
    name = id or f"job-{position:05}"
    said: dict[str, Json] = {"prompt": f"a picture of {name}", "seed": position, "output_format": "png"}
    return PlannedJob(
        id=name,
        manifest=manifest,
        position=position,
        model=model,
        fields={**said, **(fields or {})},
        images=images,
        filename=name,
        fingerprint=fingerprint or f"fingerprint of {name}",
        price=price,
        defect=defect,
    )
