"""What the bytes of objects were found to be, when they were fetched to be sent: kept for the plans that follow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import orjson

from fluxbatch.formats import ImageFacts, NotAnImage
from fluxbatch.model.job import Fit, ObjectPhoto, Photo
from fluxbatch.model.problem import Level
from fluxbatch.planning.photo_rules import photo_flaws, unusable
from fluxbatch.policy.fitting import DECODABLE, fitting_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.planning.flaw import Flaw

__all__ = ["ObjectFacts", "error_among", "facts_key", "object_flaws"]

_VERSION: Final = 1
_AUTO: Final = Fit()


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """The facts of an object's bytes, or what is wrong with them."""

    facts: ImageFacts | None
    problem: NotAnImage | None = None

    @property
    def lasts(self) -> bool:
        """Whether the same bytes will be judged so tomorrow: for some kinds, a decoder may be installed by then."""
        return self.problem is None or self.problem.kind not in DECODABLE

    def pack(self) -> bytes:
        """As ``unpack`` reads it."""
        if self.facts is not None:
            return orjson.dumps({"facts": asdict(self.facts)})
        problem = self.problem
        assert problem is not None
        return orjson.dumps({"problem": [problem.message, problem.kind, problem.remedy]})

    @classmethod
    def unpack(cls, packed: bytes) -> ObjectFacts:
        """Read it back."""
        values = orjson.loads(packed)
        if "facts" in values:
            return cls(ImageFacts(**values["facts"]))
        message, kind, remedy = values["problem"]
        return cls(None, NotAnImage(message, kind=kind, remedy=remedy))


def facts_key(image: ObjectPhoto) -> str:
    """How the facts of an object are remembered: another ETag or size is another photo."""
    return f"object:{_VERSION}:{image.etag}:{image.size}:{image.ref}"


def object_flaws(image: ObjectPhoto, found: ObjectFacts, photo: Photo | None = None) -> list[Flaw]:
    """What is wrong with an object as it is to be sent, by the rules for local photos; the flaws name no field yet.

    Args:
        image: as it is asked for.
        found: by its bytes.
        photo: as it is to be sent, if that is known already.
    """
    fit, facts = image.fit or _AUTO, found.facts
    if facts is None:
        assert found.problem is not None
        return [unusable(image.ref, found.problem)]
    fitting = fitting_of(facts, image.size, fit)
    sent = photo or Photo(image.ref, "", facts.mime, image.size, 0, 0, facts.width, facts.height, "", fitting)
    return photo_flaws(replace(sent, ref=image.ref), facts, off=fit.off)


def error_among(flaws: Sequence[Flaw]) -> Flaw | None:
    """The first flaw that keeps a job from being sent."""
    return next((flaw for flaw in flaws if flaw.level is Level.ERROR), None)
