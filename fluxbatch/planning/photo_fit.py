"""A model's limit of pixels over a whole request, shared out over its photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.model.job import Photo
from fluxbatch.policy.fitting import MEGAPIXEL, SHRUNK_ABOVE, common_cap, sent_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.flux import FluxModel
    from fluxbatch.model.job import Fit, Image
    from fluxbatch.planning.photos import PhotoBook

__all__ = ["share_out"]


def share_out(
    images: Sequence[Image], book: PhotoBook, model: FluxModel, output_pixels: int, fit: Fit
) -> tuple[Image, ...]:
    """The images of a request, those above a common size made smaller so that the model takes them together.

    Args:
        images: checked with ``fit``; only local photos count.
        book: that checked them.
        model: that is asked.
        output_pixels: of the result, as far as that is known, and of whatever else counts.
        fit: what the user wants done to them.
    """
    if fit.off or model.max_total_megapixels is None:
        return tuple(images)
    # larger ones are counted as what the service makes of them
    limit = int(model.max_total_megapixels * MEGAPIXEL) - output_pixels
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
