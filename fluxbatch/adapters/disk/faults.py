"""What a disk says, in our words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.errors import DeliveryError, StorageError, TargetBlocked
from fluxbatch.model.state import Reason

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["corrupt", "storage_error", "target_blocked", "unreadable"]


def corrupt(message: str) -> DeliveryError:
    return DeliveryError(message, reason=Reason.DOWNLOAD_FAILED, corrupt=True)


def target_blocked(path: Path, what: str) -> TargetBlocked:
    return TargetBlocked(
        f"{path} is a {what}",
        remedy="move it away, or give the job another file name, then run the same command again",
    )


def unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} can't be read: {error.strerror or error}", remedy="mend the folder, then run the same command again"
    )


def storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} can't be written: {error.strerror or error}",
        remedy="free space or mend the folder, then run the same command again",
    )
