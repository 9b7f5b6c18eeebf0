"""A model's limit of pixels over a whole request, shared out over its photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.errors import PhotoError
from fluxbatch.model.flux import known_models
from fluxbatch.model.job import ObjectPhoto, Photo
from fluxbatch.model.state import Reason
from fluxbatch.planning.rules import output_pixels
from fluxbatch.policy.fitting import MEGAPIXEL, SHRUNK_ABOVE, common_cap, sent_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.flux import FluxModel
    from fluxbatch.model.job import Fit, Image, PlannedJob
    from fluxbatch.planning.photos import PhotoBook

__all__ = ["fetched_cap", "share_out"]


def share_out(images: Sequence[Image], book: PhotoBook, model: FluxModel, output: int, fit: Fit) -> tuple[Image, ...]:
    """The images of a request, those above a common size made smaller so that the model takes them together.

    Args:
        images: checked with ``fit``; only local photos count.
        book: that checked them.
        model: that is asked.
        output: pixels of the result, as far as that is known, and of whatever else counts.
        fit: what the user wants done to them.
    """
    if fit.off or model.max_total_megapixels is None:
        return tuple(images)
    # larger ones are counted as what the service makes of them
    limit = int(model.max_total_megapixels * MEGAPIXEL) - output
    if len(images) * SHRUNK_ABOVE <= limit:
        return tuple(images)
    counted = [min(sent_pixels(image), SHRUNK_ABOVE) for image in images if isinstance(image, Photo)]
    cap = common_cap(counted, limit)
    if cap is None:
        return tuple(images)
    return tuple(
        book.capped(image, fit, cap) if isinstance(image, Photo) and sent_pixels(image) > cap else image
        for image in images
    )


def fetched_cap(job: PlannedJob, images: Sequence[Image]) -> int | None:
    """Pixels that no photo from an object store may exceed, so that the model takes all of them together.

    None if they may be as large as they are. At the time of the plan nobody had seen them.

    Args:
        job: as planned.
        images: its images, each as it would be sent.

    Raises:
        PhotoError: they are too large together, and are not to be made smaller.
    """
    model = known_models().get(job.model)
    if model is None or model.max_total_megapixels is None:
        return None
    fetched = [
        (image, min(sent_pixels(image), SHRUNK_ABOVE))
        for asked, image in zip(job.images, images, strict=True)
        if isinstance(asked, ObjectPhoto) and isinstance(image, Photo)
    ]
    if not fetched:
        return None
    here = sum(min(sent_pixels(image), SHRUNK_ABOVE) for image in images if isinstance(image, Photo))
    of_theirs = [pixels for _, pixels in fetched]
    others = here - sum(of_theirs) + output_pixels(job.fields)
    limit = int(model.max_total_megapixels * MEGAPIXEL)
    if sum(of_theirs) + others <= limit:
        return None
    off = any(image.fit is not None and image.fit.off for image in job.images if isinstance(image, ObjectPhoto))
    cap = None if off else common_cap(of_theirs, limit - others)
    if cap is None:
        megapixels = (sum(of_theirs) + others) / MEGAPIXEL
        names = ", ".join(dict.fromkeys(image.ref for image, _ in fetched))
        raise PhotoError(
            f"{names}: input and output have {megapixels:.1f} MP together, "
            f"{model.id} takes {model.max_total_megapixels:g}",
            remedy="leave out fit: off" if off else "make the photos smaller",
            reason=Reason.TOO_LARGE,
        )
    return cap
