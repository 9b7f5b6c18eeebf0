"""What the model looks like as JSON, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxbatch.model.job import Fit, Fitting, JobOutput, ObjectPhoto, Photo, RemoteImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.job import Image

__all__ = ["image_of"]


def image_of(facts: Mapping[str, Any]) -> Image:
    """An image from its JSON; photos that were written down before there were fittings have none."""
    if "path" in facts:
        return Photo(**facts) if not facts.get("fitting") else Photo(**{**facts, "fitting": _fitting(facts["fitting"])})
    if "job" in facts:
        fit = facts.get("fit")
        return JobOutput(facts["job"], None if fit is None else Fit(**fit))
    if "etag" in facts:
        fit = facts.get("fit")
        return ObjectPhoto(**{**facts, "fit": None if fit is None else Fit(**fit)})
    return RemoteImage(**facts)


def _fitting(facts: Mapping[str, Any] | None) -> Fitting | None:
    return None if facts is None else Fitting(**{**facts, "why": tuple(facts["why"])})
