"""The live display on a terminal: progress is drawn again and again, log lines go above it."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from fluxbatch.cli.live import layout

if TYPE_CHECKING:
    from rich.segment import ControlCode

    from fluxbatch.model.summary import Progress

__all__ = ["Display"]


class Display(io.StringIO):
    """A stream for log lines, and the display below them. Drawn when it is told of progress; no thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(file=sys.stderr, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._widths: list[int] = []
        self._pending = ""

    def show(self, progress: Progress) -> None:
        """Draw it."""
        width, height = self._console.size
        lines = layout(progress, width, height)
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        self._forget_wrapped(width)
        self._widths = [line.cell_len for line in lines]
        self._live.update(Group(*lines), refresh=True)

    def _forget_wrapped(self, width: int) -> None:
        """A terminal that became narrower has wrapped what was drawn: erase the rows that this made."""
        rows = sum((drawn - 1) // width for drawn in self._widths if drawn)
        if rows > 0:
            erase: list[ControlCode] = [(ControlType.CARRIAGE_RETURN,), (ControlType.ERASE_IN_LINE, 2)]
            for _ in range(rows):
                erase += [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)]
            self._console.file.write(str(Control(*erase)))

    def write(self, text: str) -> int:
        """Print above the display; what comes is clean but for colours of our own."""
        if self._live is None:
            return sys.stderr.write(text)
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._console.print(Text.from_ansi(line), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Have what was written seen."""
        sys.stderr.flush()

    def close(self) -> None:
        """Erase the display; the terminal is as it was."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError):
                live.stop()
