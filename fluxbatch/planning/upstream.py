"""Jobs that others take their images from, as far as planning those others needs to know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.model.job import Failure, JobOutput
from fluxbatch.model.state import Reason
from fluxbatch.planning.flaw import Flaw
from fluxbatch.planning.keys import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.job import Image, PlannedJob
    from fluxbatch.planning.graph import Graph
    from fluxbatch.planning.scratch import Scratch

__all__ = ["Upstream"]

_MOST_SUGGESTIONS: Final = 20
_MOST_IDS: Final = 20_000


class Upstream:
    """What is known of the jobs that a batch needs."""

    def __init__(self, scratch: Scratch, graph: Graph) -> None:
        self._scratch = scratch
        self._graph = graph
        self._known: dict[str, dict[str, Any]] = {}
        self._suggestions = _MOST_SUGGESTIONS

    def prepare(self, ids: Sequence[str]) -> None:
        """Look up the jobs that a batch needs."""
        found = self._graph.resolved(sorted(set(ids))) if ids else {}
        self._known = {job_id: orjson.loads(body) for job_id, body in found.items()}

    def remember(self, jobs: Sequence[PlannedJob], variants: Sequence[int]) -> None:
        """Keep what those that come later need to know of these jobs, which are variants of those numbers."""
        if not self._graph.empty:
            both = zip(jobs, variants, strict=True)
            self._graph.resolve({job.id: _facts(job, variant) for job, variant in both})

    def flaws(self, job_id: str) -> Sequence[Flaw]:
        """What is wrong with taking the image of a job."""
        if job_id in self._known or self._scratch.known([job_id]):
            return ()  # one that stands in a circle is known, but not planned: that is told once for the circle
        remedy = "name its manifest too, or mend the id"
        if self._suggestions:
            self._suggestions -= 1
            meant = nearest(job_id, self._scratch.some_ids(_MOST_IDS))
            remedy = f"did you mean {meant!r}?" if meant else remedy
        return (Flaw("", f"there is no job {job_id!r}", remedy),)

    def mark(self, job_id: str) -> str:
        """What the image of a job adds to a fingerprint: all that was asked of it, and not how it turned out.

        Variants are asked for in the same words: their numbers tell them apart.
        """
        facts = self._known.get(job_id)
        if facts is None:
            return "job:"
        variant = f"#{facts['variant']}" if facts["variant"] > 1 else ""
        return f"job:{facts['fingerprint']}{variant}"

    def defect(self, images: Sequence[Image]) -> Failure | None:
        """Why a job can't be made whose own fields are in order."""
        if not self._known:
            return None
        for image in images:
            if isinstance(image, JobOutput) and (why := self._known.get(image.job, {}).get("defect")):
                return Failure(Reason.DEPENDENCY_FAILED, f"needs {image.job!r}, which can't be made: {why}")
        return None


def _facts(job: PlannedJob, variant: int) -> bytes:
    defect = None if job.defect is None else str(job.defect.reason)
    return orjson.dumps({"fingerprint": job.fingerprint, "variant": variant, "defect": defect})
