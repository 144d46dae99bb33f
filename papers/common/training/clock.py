"""The time that training took, without what the compiler took of it."""

import time
from functools import cache

import jax

COMPILING = "/jax/core/compile/"


class Clock:
    """Runs from its making; tracing and compiling in this process do not count.

    >>> Clock().seconds() < 1
    True
    """

    def __init__(self) -> None:
        _listen()
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Seconds since the clock was made, less those in which a program was traced or compiled."""
        now = time.monotonic()
        return now - self._began - sum(max(0.0, end - max(begin, self._began)) for begin, end in _SPANS)


_SPANS: list[tuple[float, float]] = []
"""Disjoint spans of compiling, in order; what is traced inside another trace is within its span."""


def _record(event: str, duration: float, **_: object) -> None:
    if not event.startswith(COMPILING):
        return
    end = time.monotonic()
    begin = end - duration
    while _SPANS and _SPANS[-1][1] > begin:
        begin = min(begin, _SPANS.pop()[0])
    _SPANS.append((begin, end))


@cache
def _listen() -> None:
    jax.monitoring.register_event_duration_secs_listener(_record)
