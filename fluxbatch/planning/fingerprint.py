"""What the user asked for, in 64 hex digits: an image with the same fingerprint is kept, not bought again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson
from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbatch.model.job import Json

__all__ = ["fingerprint", "short_digest", "written_digest"]

_VERSION: Final = 1


def fingerprint(
    fields: Mapping[str, Json],
    images: Sequence[str],
    extra: Mapping[str, Json],
    fit: Mapping[str, Json] | None = None,
) -> str:
    """The fingerprint of a job.

    Our own defaults are no part of it: were they, a new default would buy whole catalogues again.

    Args:
        fields: of the request as the user wrote them, typed, after the manifest's defaults.
        images: image 1 first: the digest of a local photo, the URL of a remote one, ``object:``, ETag and size of
            one in an object store, ``job:`` and the fingerprint of another job whose output it is.
        extra: request fields that this version does not know.
        fit: what the user wants done to photos; nothing for what happens by itself.
    """
    return _digest(fields, images, extra, fit).hexdigest()


def short_digest(
    fields: Mapping[str, Json],
    images: Sequence[str],
    extra: Mapping[str, Json],
    fit: Mapping[str, Json] | None = None,
) -> str:
    """Eight hex digits of a job as written (images by their names), for ids that nobody wrote."""
    return _digest(fields, images, extra, fit).hexdigest(4)


def written_digest(
    fields: Mapping[str, Json],
    images: Sequence[str],
    extra: Mapping[str, Json],
    fit: Mapping[str, Json] | None = None,
) -> str:
    """A job as written (images by their names), in 64 hex digits: what only an edit of the manifest changes."""
    return _digest(fields, images, extra, fit).hexdigest()


def _digest(
    fields: Mapping[str, Json],
    images: Sequence[str],
    extra: Mapping[str, Json],
    fit: Mapping[str, Json] | None,
) -> blake3:
    whole: dict[str, object] = {"v": _VERSION, "fields": fields, "images": images, "extra": extra}
    if fit:
        whole["fit"] = fit
    return blake3(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS))
