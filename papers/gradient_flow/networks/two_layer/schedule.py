"""Schedules of records cut into pieces, so that a long training can be stopped between two of them."""

from typing import NamedTuple

import numpy as np

CHUNK_STEPS = 50_000
"""Most steps of a block between two looks at whether to stop: half a second on a core of 2023."""
CHUNK_RECORDS = 64
"""Most records of a chunk whose gaps are unequal; one with fewer is filled up with gaps of no steps."""


class Piece(NamedTuple):
    """A part of a schedule of records.

    Attributes:
      schedule: steps at which to record, counted from the last one of the piece before.
      taken: indices of the records that belong to the whole schedule.
      every: the gap between all of them where it is known when compiling.
    """

    schedule: np.ndarray
    taken: np.ndarray
    every: int | None


def cut(steps: np.ndarray, longest: int = CHUNK_STEPS, most: int = CHUNK_RECORDS) -> list[Piece]:
    """Cut a schedule into pieces of a bounded number of steps, each beginning with the last record of the one before.

    A record at the end of a piece is taken from the beginning of the next, so that all but the last come out of the
    same loop as in an uncut run. Records of unequal gaps are filled up to one number of records, so that all pieces go
    through one program.

    Source: this project's bookkeeping, no equation of the paper.

    Args:
      steps: increasing integers (records,), from 0 on.
      longest: most steps of a piece.
      most: most records of a piece of unequal gaps.

    Returns:
      The pieces in order.

    Example:
      >>> [piece.schedule.tolist() for piece in cut(np.array([0, 1, 5, 9]), longest=5, most=3)]
      [[0, 1, 5], [0, 4, 4]]
    """
    gaps = np.unique(np.diff(steps))
    every = int(gaps[0])
    if len(gaps) == 1 and steps[0] == 0 and every <= longest:
        count = len(steps) - 1
        size = longest // every
        lengths = [min(size, count - first) for first in range(0, count, size)]
        return [
            Piece(np.arange(length + 1) * every, np.arange(length + (place == len(lengths) - 1)), every)
            for place, length in enumerate(lengths)
        ]
    marks, wanted = _marks(steps, longest)
    records = min(most, len(marks))
    pieces, first, base = [], 0, 0
    while first < len(marks) - 1:
        fits = np.searchsorted(marks, base + longest, side="right") - 1
        last = min(int(fits), first + records - 1)
        schedule = np.concatenate([marks[first : last + 1], np.repeat(marks[last], records - 1 - last + first)]) - base
        taken = np.flatnonzero(wanted[first:last])
        if last == len(marks) - 1:
            taken = np.append(taken, records - 1)
        pieces.append(Piece(schedule, taken, None))
        first, base = last, int(marks[last])
    return pieces


def _marks(steps: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The steps with further ones between those too far apart, and which are the steps themselves."""
    marks, wanted, before = [], [], 0
    for step in steps.tolist():
        between = list(range(before + longest, step, longest))
        marks += [*between, step]
        wanted += [*(False for _ in between), True]
        before = step
    return np.array(marks, np.int64), np.array(wanted)
