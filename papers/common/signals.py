"""Stopping: between two chunks of steps where a loop trains, at once everywhere else, and always with a word.

A command line runs inside :class:`Stopping`: SIGINT and SIGTERM raise :class:`Stopped` wherever the program is. A
training loop enters an :class:`Interrupt`, which holds the first signal back until the loop asks. A compiled program
that runs lets no handler of Python's begin, so what is waited for is said by a thread of its own.
"""

from __future__ import annotations

import _thread
import os
import signal
import socket
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, ClassVar

HANDLED = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 0.5
"""Seconds in which a program that can stop at once does so without a word."""
LAST_RESORT = 5.0
"""Seconds after a second signal until the process ends without having been asked; what is written is whole then too."""

LOOP = "finishing the steps under way and writing a checkpoint; a second signal stops at once"
ELSEWHERE = "stopping when the compiled program under way has ended; a second signal ends the process"


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stopping:
    """Raise :class:`Stopped` at SIGINT and SIGTERM, and say on the standard error what a stop waits for; a context.

    Outside the main thread Python allows no handlers: the signals then keep their usual meaning.

    Args:
        prog: what the lines begin with.

    Attributes:
        number: of the first signal that came, whoever handled it; None before.
    """

    _entered: ClassVar[list[Stopping]] = []

    def __init__(self, prog: str):
        self.prog = prog
        self.number: int | None = None
        self.waits_for: str | None = None
        self._handlers = _Handlers(self._receive)
        self._over = threading.Event()
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._wakeup = -1
        self._asked_again = 0

    def __enter__(self) -> Stopping:
        if self._handlers.install():
            self._ends = reading, writing = socket.socketpair()
            writing.setblocking(False)
            self._wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        self._entered.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._entered.remove(self)
        self._over.set()
        self._handlers.restore()
        if self._ends is not None:
            signal.set_wakeup_fd(self._wakeup)
            self._ends[1].close()

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells have it."""
        return 128 + (self.number or signal.SIGINT)

    @classmethod
    def note(cls, number: int, waits_for: str | None = None) -> None:
        """Tell the command line that a signal came and was held back, and what for."""
        for one in cls._entered:
            one.number, one.waits_for = one.number or number, waits_for

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.note(number)
        if _importing(frame):  # a package broken off in the middle may swallow the signal and print words of its own
            self._asked_again += 1
            again = threading.Timer(0.02, _thread.interrupt_main, (number,))
            again.daemon = True
            again.start()
            return
        raise Stopped(number)

    def _watch(self, reading: socket.socket) -> None:
        """Read the signals as they come, whatever the main thread does, and say what is waited for."""
        count = 0
        with reading:
            while received := reading.recv(1):
                if self._asked_again:  # our own, see _receive
                    self._asked_again -= 1
                    continue
                number, count = received[0], count + (received[0] in HANDLED)
                if number not in HANDLED or self._over.wait(PATIENCE if count == 1 else LAST_RESORT):
                    continue
                if count > 1:
                    self._say(number, "the process ends")
                    os._exit(128 + number)
                self._say(number, self.waits_for or ELSEWHERE)

    def _say(self, number: int, words: str) -> None:
        if sys.__stderr__ is not None:
            os.write(sys.__stderr__.fileno(), f"{self.prog}: {signal.Signals(number).name}: {words}\n".encode())


def cancel_timers() -> None:
    """Cancel every timer of the process: one left by a package that a signal broke off would keep it, and speak after.

    jax starts one of a minute before it looks for accelerators, and cancels it only where its own ``try`` was reached.
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


class Interrupt:
    """Hold SIGINT and SIGTERM back until the loop asks; a second one raises :class:`Stopped` at once.

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
        self._handlers = _Handlers(self._receive)

    @property
    def requested(self) -> bool:
        return self.name is not None

    def __enter__(self) -> Interrupt:
        self._handlers.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handlers.restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        Stopping.note(number, LOOP)
        if self.requested:
            raise Stopped(number)
        self.name = signal.Signals(number).name


class _Handlers:
    """One handler for both signals, and those of before."""

    def __init__(self, receive: Any):
        self._receive = receive
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> bool:
        """Install the handler; False outside the main thread, where nothing is done."""
        try:
            for number in HANDLED:
                self._before[number] = signal.signal(number, self._receive)
        except ValueError:
            self._before.clear()
        return bool(self._before)

    def restore(self) -> None:
        """Put the handlers of before back."""
        for number, handler in self._before.items():
            # None stands for a handler that was not installed by Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
