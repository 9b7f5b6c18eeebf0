"""A simulator of the FLUX image API: strict, billed, with real images and every fault that is known.

It owns its wire format and its own table of rules, and imports nothing else of fluxbatch, so that it can catch the
client being wrong.
"""

from .billing import Call
from .catalog import MODELS
from .config import DEMO_KEY, DEMO_SYSTEM_TOKEN, SimulatorConfig
from .faults import DELIVERY_KINDS, GENERATE_KINDS, Faults
from .server import PortInUseError, Simulator, wall_clock
from .store import FolderInUseError, SimulatorError

__all__ = [
    "DELIVERY_KINDS",
    "DEMO_KEY",
    "DEMO_SYSTEM_TOKEN",
    "GENERATE_KINDS",
    "MODELS",
    "Call",
    "Faults",
    "FolderInUseError",
    "PortInUseError",
    "Simulator",
    "SimulatorConfig",
    "SimulatorError",
    "wall_clock",
]
