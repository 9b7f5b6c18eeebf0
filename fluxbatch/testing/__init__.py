"""What tests of fluxbatch, and of anything that is plugged into it, are made of: no network, no disk, no waiting.

Fakes of all ports, virtual time, and in ``fluxbatch.testing.conformance`` a suite for each port. Nothing here needs
pytest.
"""

from fluxbatch.testing.fetcher import Fetched, ScriptedFetcher, Serving
from fluxbatch.testing.fitter import MemoryFitter
from fluxbatch.testing.images import make_jpeg, make_png
from fluxbatch.testing.jobs import make_job
from fluxbatch.testing.ledger import MemoryLedger
from fluxbatch.testing.limiter import FixedLimiter
from fluxbatch.testing.memo import MemoryMemo
from fluxbatch.testing.objects import MemoryObjects
from fluxbatch.testing.provider import (
    Act,
    Congestion,
    Grant,
    Lose,
    Refuse,
    ScriptedProvider,
    Send,
    Sent,
    Silence,
    SpoilPhoto,
)
from fluxbatch.testing.recorder import Recorder
from fluxbatch.testing.rescue import MemoryRescue
from fluxbatch.testing.sink import MemoryLanding, MemorySink
from fluxbatch.testing.source import MemorySource
from fluxbatch.testing.virtual_time import EPOCH, VirtualClock, VirtualTimeLoop

__all__ = [
    "EPOCH",
    "Act",
    "Congestion",
    "Fetched",
    "FixedLimiter",
    "Grant",
    "Lose",
    "MemoryFitter",
    "MemoryLanding",
    "MemoryLedger",
    "MemoryMemo",
    "MemoryObjects",
    "MemoryRescue",
    "MemorySink",
    "MemorySource",
    "Recorder",
    "Refuse",
    "ScriptedFetcher",
    "ScriptedProvider",
    "Send",
    "Sent",
    "Serving",
    "Silence",
    "SpoilPhoto",
    "VirtualClock",
    "VirtualTimeLoop",
    "make_job",
    "make_jpeg",
    "make_png",
]
