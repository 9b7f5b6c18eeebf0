"""The live display on a terminal: progress is drawn again and again, log lines go above it."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

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


_MOST_LINES: Final = 10_000
"""log lines that wait while the terminal takes none"""
_LAST_WORDS_S: Final = 2.0
"""how long the end of a run waits for such a terminal"""


class Display(io.StringIO):
    """A stream for log lines, and the display below them.

    A thread of its own writes: a terminal that takes nothing (Ctrl-S) must not hold up downloads. Ctrl-Z erases the
    display before the process sleeps: the shell writes where it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(file=sys.stderr, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._widths: list[int] = []
        self._changed = threading.Condition()
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._progress: Progress | None = None
        self._part = ""
        self._over = False
        self._leaving = False
        self._thread: threading.Thread | None = None
        self._at_stop: Any = None

    def show(self, progress: Progress) -> None:
        """Have it drawn; an earlier one that was not drawn yet is not drawn at all. Main thread only."""
        with self._changed:
            self._progress = progress
            if self._thread is None:
                if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
                    self._at_stop = signal.signal(signal.SIGTSTP, self._sleep)
                self._thread = threading.Thread(target=self._work, name="fluxbatch-display", daemon=True)
                self._thread.start()
            self._changed.notify()

    def write(self, text: str) -> int:
        """Print above the display; what comes is clean but for colours of our own."""
        with self._changed:
            if self._thread is None:
                return sys.stderr.write(text)
            *lines, self._part = (self._part + text).split("\n")
            self._lines += lines
            self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread writes as soon as it can."""

    def close(self) -> None:
        """Erase the display; the terminal is as it was."""
        with self._changed:
            self._over = True
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None:
            thread.join(_LAST_WORDS_S)
        if self._at_stop is not None:
            signal.signal(signal.SIGTSTP, self._at_stop)
            self._at_stop = None

    def _sleep(self, _number: int, _frame: object) -> None:
        """Ctrl-Z: leave the terminal to the shell, and come back below what it has written."""
        with self._changed:
            self._leaving, self._progress = True, None
            self._changed.notify()
            self._changed.wait_for(lambda: not self._leaving, _LAST_WORDS_S)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)  # sleeps here until it is continued
        signal.signal(signal.SIGTSTP, self._sleep)

    def _work(self) -> None:
        with suppress(OSError):  # the terminal is gone, and nobody looks at it any more
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._over or self._leaving or self._lines or self._progress is not None
                    )
                    lines, over, leaving = list(self._lines), self._over, self._leaving
                    progress, self._progress = self._progress, None
                    self._lines.clear()
                self._print(lines)
                if over:
                    break
                if leaving:
                    self._erase()
                elif progress is not None:
                    self._draw(progress)
            self._erase()

    def _erase(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live, self._widths = None, []
        with self._changed:
            self._leaving = False
            self._changed.notify_all()

    def _print(self, lines: list[str]) -> None:
        for line in lines:
            self._console.print(Text.from_ansi(line), soft_wrap=True)

    def _draw(self, progress: Progress) -> None:
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
