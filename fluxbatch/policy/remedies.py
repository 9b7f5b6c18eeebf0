"""What a person can do about each failure, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.model.state import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["REMEDY"]

REMEDY: Final[Mapping[Reason, str]] = {
    Reason.MODERATED: "the API refused the content: change prompt or photos, or raise safety_tolerance",
    Reason.INVALID_REQUEST: "correct the fields that the message names",
    Reason.TOO_LARGE: "shrink the photos: long edge 2048 pixels, about 1.5 MB each",
    Reason.UNAUTHORIZED: "check the key (FLUXBATCH_API_KEY) and what it is allowed to use",
    Reason.OUT_OF_CREDIT: "top up the account, then run the same command again",
    Reason.MODEL_UNAVAILABLE: "try again later, or choose another model (fluxbatch models)",
    Reason.RATE_LIMITED: "run the same command again, with a lower --concurrency if it persists",
    Reason.SERVER_ERROR: "run the same command again later",
    Reason.UNKNOWN_OUTCOME: "maybe billed; to send it once more: --retry unknown_outcome",
    Reason.EXPIRED: "paid but lost; to make it once more: --retry expired",
    Reason.BAD_IMAGE: "replace or convert the photo that the message names",
    Reason.DOWNLOAD_FAILED: "run the same command again: the URL is tried once more, then the image is made anew",
    Reason.INPUT_CHANGED: "the photo changed during the run: run the same command again",
    Reason.DEPENDENCY_FAILED: "first mend the job that it depends on",
    Reason.BUDGET: "raise --max-cost, then run the same command again",
    Reason.STORAGE_FAILED: "free space or mend the output folder, then run the same command again",
}
