"""Ctrl-C at the wrong moment: it waits until what belongs together has changed together."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Shield"]


class Shield:
    """Between `up()` and the end of the `with` block, SIGINT and SIGTERM wait.

        with Shield() as shield:
            found = engine.train(..., shield)     up() before the state changes
            self.position = ...                   the counters that belong to it

    One that came is delivered at the end of the block. Before `up()` it comes at once. Only the
    main thread gets signals; elsewhere nothing happens.
    """

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}
        self.came: list[int] = []

    def __enter__(self) -> Shield:
        return self

    def up(self) -> None:
        """From here on signals wait."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self.before[number] = handler
                    signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in reversed(self.before.items()):
            signal.signal(number, handler)
        if self.came and error is None:
            self.before[self.came[0]](self.came[0], None)
