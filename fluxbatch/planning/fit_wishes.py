"""``fit:`` as the user wrote it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fluxbatch.planning.flaw import Flaw, shown
from fluxbatch.planning.keys import nearest
from fluxbatch.planning.names import FIT_WISHES
from fluxbatch.planning.values import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.job import Json

__all__ = ["read_fit"]


def read_fit(value: Any) -> tuple[dict[str, Json], list[Flaw]]:
    """The keywords of ``model.job.Fit``, and what is wrong with them.

    ``auto`` is what happens by itself, and so the same as nothing.

    Args:
        value: ``auto``, ``off``, or a mapping.
    """
    if value == "auto":
        return {}, []
    if value == "off" or value is False:
        return {"off": True}, []
    if not isinstance(value, dict):
        return {}, [Flaw("fit", f"{shown(value)} is not a way to fit photos", "write auto, off, or {long_edge: 2048}")]
    flaws = [_no_wish(key) for key in value if key not in FIT_WISHES]
    fit, wrong = typed(_known(value), "fit")
    return fit, flaws + [replace(flaw, field=f"fit.{flaw.field}") for flaw in wrong]


def _known(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {key: wish for key, wish in value.items() if key in FIT_WISHES and wish is not None}


def _no_wish(key: Any) -> Flaw:
    meant = nearest(str(key), FIT_WISHES)
    remedy = f"did you mean {meant!r}?" if meant else f"there are {', '.join(sorted(FIT_WISHES))}"
    return Flaw(f"fit.{key}", f"{shown(key)} is no part of 'fit'", remedy)
