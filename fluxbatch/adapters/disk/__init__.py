"""Local files: photos in, images out, and what a run keeps beside them."""

from fluxbatch.adapters.disk.events import EventLog
from fluxbatch.adapters.disk.filesystem import network_kind
from fluxbatch.adapters.disk.lock import FolderLock
from fluxbatch.adapters.disk.memo import SqliteMemo
from fluxbatch.adapters.disk.photos import FileSource
from fluxbatch.adapters.disk.rescue import FileRescue, default_places
from fluxbatch.adapters.disk.sink import FolderSink
from fluxbatch.adapters.disk.turn import turn

__all__ = [
    "EventLog",
    "FileRescue",
    "FileSource",
    "FolderLock",
    "FolderSink",
    "SqliteMemo",
    "default_places",
    "network_kind",
    "turn",
]
