"""Order and cycles of a matching with the flipped self: is it an involution?"""

from math import lcm
from typing import Any, NamedTuple

import numpy as np

from symjax.matching.assignment import cycles_of

__all__ = ["Cycles", "cycles"]


class Cycles(NamedTuple):
    """The cycle type of a permutation.

    Attributes:
      order: the smallest power that is the identity.
      fixed: share of the units that stay.
      involutive: share of the units with ``p[p[i]] == i``, fixed ones included.
      confident: the same share among units whose matched correlation is above the threshold; nan if there are none.
      lengths: length of a cycle -> number of cycles.
    """

    order: int
    fixed: float
    involutive: float
    confident: float
    lengths: dict[int, int]


def cycles(perm: Any, matched: Any = None, threshold: float = 0.5) -> Cycles:
    """Describe the cycles of a permutation.

    Near duplicates among the units make a matching ambiguous without changing the function; the confident share leaves
    out what is matched badly.

    Source: Bökman & Kahl 2023 (the flip acts on the channels of a GCNN by an involution).

    Args:
      perm: integers (n,), a permutation.
      matched: array (n,), the correlation of each matched pair; None counts all as confident.
      threshold: above which a pair is confident.

    Returns:
      The cycles.

    Raises:
      ValueError: what is no permutation, or matched correlations of another length.

    Example:
      >>> cycles([1, 0, 2, 4, 5, 3])
      Cycles(order=6, fixed=0.16666666666666666, involutive=0.5, confident=0.5, lengths={1: 1, 2: 1, 3: 1})
    """
    perm = np.asarray(perm)
    integers = perm.ndim == 1 and perm.size and perm.dtype.kind in "iu"
    if not integers or not np.array_equal(np.sort(perm), np.arange(len(perm))):
        raise ValueError(f"perm must hold each of 0 ... n - 1 once, but is {perm!r}")
    found = cycles_of(perm)
    lengths = [len(cycle) for cycle in found]
    back = perm[perm] == np.arange(len(perm))
    sure = np.ones(len(perm), bool) if matched is None else np.asarray(matched) > threshold
    if sure.shape != perm.shape:
        raise ValueError(f"matched has shape {sure.shape}, but the permutation has {perm.shape}")
    return Cycles(
        order=lcm(*lengths),
        fixed=float(np.mean(perm == np.arange(len(perm)))),
        involutive=float(back.mean()),
        confident=float(back[sure].mean()) if sure.any() else float("nan"),
        lengths={length: lengths.count(length) for length in sorted(set(lengths))},
    )
