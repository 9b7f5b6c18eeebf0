"""What makes a job another one than before, in words for people."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from fluxbatch.model.job import JobOutput, ObjectPhoto, Photo

if TYPE_CHECKING:
    from fluxbatch.model.job import Image, PlannedJob

__all__ = ["difference"]

_MOST: Final = 4


def difference(before: PlannedJob, now: PlannedJob) -> tuple[str, str]:
    """What changed, in full and in short.

    In full as ``prompt changed``, ``photo cat.jpg changed``, several joined; in short it names no photo and no job, so
    that thousands can be counted.
    """
    fields = [name for name in {**before.fields, **now.fields} if before.fields.get(name) != now.fields.get(name)]
    changes = [f"{name} changed" for name in fields]
    shorts = list(changes)
    for number, (old, new) in enumerate(zip_longest(before.images, now.images), 1):
        if change := _image_change(number, old, new):
            changes.append(change)
            shorts.append("images changed")
    if not changes:
        # neither its words nor its photos: what is left is asked of others, or of how photos are fitted
        outputs = [image.job for image in now.images if isinstance(image, JobOutput)]
        changes = [f"made from {', '.join(outputs)}, which changed" if outputs else "fit changed"]
        shorts = ["made from jobs that changed" if outputs else "fit changed"]
    more = f" and {len(changes) - _MOST} more" if len(changes) > _MOST else ""
    return ", ".join(changes[:_MOST]) + more, ", ".join(dict.fromkeys(shorts))


def _image_change(number: int, old: Image | None, new: Image | None) -> str:
    if old is None or new is None:
        left = old or new
        assert left is not None
        return f"image {number} {'added' if old is None else 'removed'} ({_named(left)})"
    if isinstance(old, Photo) and isinstance(new, Photo):
        if old.digest == new.digest:
            return "" if old.fitting == new.fitting else f"fit of {new.ref} changed"
        if old.ref == new.ref:
            return f"photo {new.ref} changed"
    elif isinstance(old, ObjectPhoto) and isinstance(new, ObjectPhoto):
        if (old.etag, old.size) == (new.etag, new.size):
            return "" if old.fit == new.fit else f"fit of {new.ref} changed"
        if old.ref == new.ref:
            return f"photo {new.ref} changed"
    elif old.ref == new.ref:
        return ""
    return f"image {number} is {_named(new)} instead of {_named(old)}"


def _named(image: Image) -> str:
    """Of a URL without its query, which may be signed."""
    return image.ref.partition("?")[0]
