"""Stopping a run between two chunks of steps instead of inside one."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Hold SIGINT and SIGTERM back until the loop asks; a second one raises KeyboardInterrupt at once.

    The first signal only sets ``requested``; the training loop looks at it after each chunk of steps, saves and
    returns. Enter it after ``jax.distributed.initialize``, which takes SIGTERM for itself. Outside the main thread
    Python allows no handlers: the signals then keep their usual meaning and ``requested`` stays false. On leaving, the
    handlers of before are back.

    Attributes:
        requested: whether a signal came.
        name: the signal that came first, ``SIGINT`` or ``SIGTERM``; None before.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        return self.name is not None

    def __enter__(self) -> Interrupt:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        except ValueError:
            self._before.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not installed by Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
