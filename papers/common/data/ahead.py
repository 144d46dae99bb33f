"""Making what will be asked for next while what was asked for is used, on threads of this process."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")


def ahead(make: Callable[[int], Made], count: int, size: int) -> Generator[list[Made], None, None]:
    """Yield ``[make(0), .. make(size - 1)]`` and the lists that follow it, each made while the one before is used.

    Pillow and NumPy work outside of Python's lock, so decoding uses every core. Closed or broken off, nothing more is
    begun.

    Args:
        make: of a number below ``count``; what it raises is raised where its list would be.
        count: how many in all.
        size: of a list; the last may be shorter.

    >>> list(ahead(lambda number: number**2, 5, 2))
    [[0, 1], [4, 9], [16]]
    """
    pool = ThreadPoolExecutor()
    try:
        waiting = [pool.submit(make, number) for number in range(min(size, count))]
        for first in range(size, count + size, size):
            now, waiting = waiting, [pool.submit(make, number) for number in range(first, min(first + size, count))]
            yield [future.result() for future in now]
    finally:
        pool.shutdown(cancel_futures=True)
