"""Batch image fusion on a FLUX API: every image you pay for lands on disk, and none is paid for twice.

>>> import fluxbatch
>>> result = fluxbatch.run("jobs.yaml", simulate=True)  # doctest: +SKIP
>>> [r.path for r in result.results()]  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxbatch.app.api import Job, Result, ResultError, RunResult, arun, run
    from fluxbatch.errors import (
        FluxbatchError,
        FolderInUse,
        Interrupted,
        ManifestError,
        StorageError,
        UsageError,
    )
    from fluxbatch.model.events import (
        DeliveryRetried,
        Event,
        JobFailed,
        JobGranted,
        JobLost,
        JobRequeued,
        JobStored,
        JobSubmitted,
        LimitChanged,
        RunEnded,
        RunPaused,
        RunStarted,
        RunStopping,
        StepsRescued,
    )
    from fluxbatch.model.state import Charge, Reason
    from fluxbatch.model.summary import Summary
    from fluxbatch.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Charge",
    "DeliveryRetried",
    "Event",
    "FluxbatchError",
    "FolderInUse",
    "Interrupted",
    "Job",
    "JobFailed",
    "JobGranted",
    "JobLost",
    "JobRequeued",
    "JobStored",
    "JobSubmitted",
    "LimitChanged",
    "ManifestError",
    "Reason",
    "Result",
    "ResultError",
    "RunEnded",
    "RunPaused",
    "RunResult",
    "RunStarted",
    "RunStopping",
    "Settings",
    "StepsRescued",
    "StorageError",
    "Summary",
    "UsageError",
    "__version__",
    "arun",
    "run",
]

_HOME = {
    "fluxbatch.app.api": ("Job", "Result", "ResultError", "RunResult", "arun", "run"),
    "fluxbatch.errors": ("FluxbatchError", "FolderInUse", "Interrupted", "ManifestError", "StorageError", "UsageError"),
    "fluxbatch.model.events": (
        *("DeliveryRetried", "Event", "JobFailed", "JobGranted", "JobLost", "JobRequeued", "JobStored"),
        *("JobSubmitted", "LimitChanged", "RunEnded", "RunPaused", "RunStarted", "RunStopping", "StepsRescued"),
    ),
    "fluxbatch.model.state": ("Charge", "Reason"),
    "fluxbatch.model.summary": ("Summary",),
    "fluxbatch.settings": ("Settings",),
}


def __getattr__(name: str) -> Any:
    # imported when asked for: `fluxbatch --help` needs none of it
    import importlib

    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'fluxbatch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
