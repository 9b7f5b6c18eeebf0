"""What can go wrong, as the caller sees it. The exit code of the command line is written on the class.

FluxbatchError                70  a defect of ours, unless a subclass says otherwise
├── UsageError                 2  an option, a setting or the key is missing or wrong; nothing was sent
│   └── ManifestError          2  the manifest has problems; it carries all of them
├── StoppedEarly               3  the run can't go on, and is resumable (bad key, no credit, outage, storage)
│   └── StorageError           3  the output folder or the ledger can't be written
│       └── TargetBlocked      1  something stands where one job's output belongs
├── FolderInUse               75  another run holds the output folder
├── PhotoError                 1  one photo of one job can't be sent
│   └── PhotoChanged           1  it is no longer the file that was checked
├── DeliveryError              1  one try to fetch a result failed; says whether another may succeed
├── Interrupted              130  a signal came before anything was sent (143 for SIGTERM)
└── LedgerError               70  the ledger was asked for a step it does not allow
    └── StepRefused           70  the job is not in the state that the step starts from
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbatch.model.state import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.problem import Problem

__all__ = [
    "DeliveryError",
    "FluxbatchError",
    "FolderInUse",
    "Interrupted",
    "LedgerError",
    "ManifestError",
    "PhotoChanged",
    "PhotoError",
    "StepRefused",
    "StoppedEarly",
    "StorageError",
    "TargetBlocked",
    "UsageError",
    "unwrapped",
]


class FluxbatchError(Exception):
    """Base of all errors that fluxbatch raises on purpose."""

    exit_code: int = 70

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class UsageError(FluxbatchError):
    """An option, a setting or the key is missing or wrong; nothing was sent."""

    exit_code = 2


class ManifestError(UsageError):
    """The manifest has problems.

    Attributes:
        problems: the first problems found (all of them up to a bound), in the order of the manifest.
        total: how many there are in all.
    """

    def __init__(self, problems: Sequence[Problem], *, total: int | None = None) -> None:
        self.problems = tuple(problems)
        self.total = len(self.problems) if total is None else total
        plural = "" if self.total == 1 else "s"
        super().__init__(f"{self.total} problem{plural} found, nothing was sent")

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if self.total > len(lines):
            lines.append(f"… and {self.total - len(lines)} more")
        return "\n".join([*lines, self.message])


class StoppedEarly(FluxbatchError):
    """The run can't go on; the same command takes it up again.

    Attributes:
        stop_reason: one word for scripts, as in the summary's ``stop_reason``.
    """

    exit_code = 3

    def __init__(self, message: str, *, stop_reason: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.stop_reason = stop_reason


class StorageError(StoppedEarly):
    """The output folder or the ledger can't be written."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message, stop_reason="storage", remedy=remedy)


class TargetBlocked(StorageError):
    """Something stands where one job's output belongs: a matter of that job, not of the disk.

    Attributes:
        reason: what the job failed of.
    """

    exit_code = 1
    reason = Reason.STORAGE_FAILED


class FolderInUse(FluxbatchError):
    """Another run holds the output folder."""

    exit_code = 75


class PhotoError(FluxbatchError):
    """One photo of one job can't be sent.

    Attributes:
        reason: what the job failed of.
    """

    exit_code = 1
    reason = Reason.BAD_IMAGE

    def __init__(self, message: str, *, remedy: str = "", reason: Reason | None = None) -> None:
        super().__init__(message, remedy=remedy)
        if reason is not None:
            self.reason = reason


class PhotoChanged(PhotoError):
    """The photo is no longer the file that was checked before the run."""

    reason = Reason.INPUT_CHANGED


class DeliveryError(FluxbatchError):
    """One try to fetch a result failed.

    Attributes:
        reason: what the job is said to have failed of, should no further try succeed.
        refused: the host says that this URL gives no image (403, 404, 410): past its deadline that is final.
        corrupt: what came is of no use: the next try starts over.
        retry_after: seconds that the host asked to wait, if it did.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        refused: bool = False,
        corrupt: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.refused = refused
        self.corrupt = corrupt
        self.retry_after = retry_after


class Interrupted(FluxbatchError):
    """A signal came before anything was sent."""

    exit_code = 130

    def __init__(self, exit_code: int = 130) -> None:
        super().__init__("interrupted, nothing was sent")
        self.exit_code = exit_code


class LedgerError(FluxbatchError):
    """The ledger was asked for a step that it does not allow."""


class StepRefused(LedgerError):
    """The job is not in the state that the step starts from."""


def unwrapped(error: BaseException, *, sole: bool = False) -> BaseException:
    """The error in a group of groups: of several the first; with ``sole``, a group of several as it is."""
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        if sole and len(inner.exceptions) > 1:
            return error
        inner = inner.exceptions[0]
    return inner
