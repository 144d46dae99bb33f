"""Verdicts: what follows from numbers and a threshold that was written down before them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Direction = Literal["above", "below", "within"]
Verdict = Literal["holds", "fails", "undecided"]

FEWEST_SEEDS = 3
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A confidence interval of a mean: without ends for a single value, NaN where a value is not finite."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Bound the mean of independent values by Student's t.

    mean +- t_{(1 + confidence) / 2, n - 1} s / sqrt(n)

    Source: Student, The probable error of a mean, Biometrika 6 (1908).

    Args:
        values: one number for each seed, shape (n,).
        confidence: the probability that the interval covers the mean.

    Returns:
        The mean and the ends of the interval.

    Raises:
        ValueError: for no values, or values that are not a list of numbers.

    >>> [round(number, 3) for number in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    numbers = as_numbers(values)
    if not np.isfinite(numbers).all():
        return Interval(math.nan, math.nan, math.nan)
    mean = float(numbers.mean())
    if numbers.size < 2:
        return Interval(mean, -math.inf, math.inf)
    from scipy.stats import t

    half = float(t.ppf((1 + confidence) / 2, numbers.size - 1) * numbers.std(ddof=1) / math.sqrt(numbers.size))
    return Interval(mean, mean - half, mean + half)


def share(successes: int, count: int) -> Interval:
    """Bound a probability by how often something happened, at 95 %; sound where it never or always did.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).

    Args:
        successes: how often it happened.
        count: of how many independent trials, at least 1.

    Returns:
        The share and the ends of its interval.

    >>> [round(number, 3) for number in share(87, 400)], [round(number, 3) for number in share(0, 50)]
    ([0.217, 0.18, 0.26], [0.0, 0.0, 0.071])
    """
    from scipy.stats import binomtest

    low, high = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / count, float(low), float(high))


def difference(more: Interval, less: Interval) -> Interval:
    """Bound the difference of two shares of independent trials by their intervals.

    ``d = p - p'`` lies in ``[d - sqrt((p - l)^2 + (u' - p')^2), d + sqrt((u - p)^2 + (p' - l')^2)]``, where the shares'
    own intervals are [l, u] and [l', u'].

    Source: Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17
    (1998), method 10.

    >>> [round(number, 4) for number in difference(share(56, 70), share(48, 80))]  # the paper's example: 0.0524, 0.3339
    [0.2, 0.0524, 0.3339]
    """
    mean = more.mean - less.mean
    down = math.hypot(more.mean - more.low, less.high - less.mean)
    return Interval(mean, mean - down, mean + math.hypot(more.high - more.mean, less.mean - less.low))


def verdict(values: Sequence[float] | Interval, threshold: float, direction: Direction) -> Verdict:
    """Decide a claim where the 95 % interval over at least three seeds lies wholly on one side of the threshold.

    Args:
        values: one number for each seed, shape (n,), or the interval of what was measured over many.
        threshold: written before the run; positive for ``within``.
        direction: the claim is that the mean is ``above`` or ``below`` the threshold, or ``within`` it in absolute
            value.

    Returns:
        ``undecided`` for fewer than three seeds, a value that is not finite, or an interval that reaches across.

    Raises:
        ValueError: for an unknown direction, a threshold that is not finite, or a negative one with ``within``.

    >>> verdict([0.91, 0.92, 0.93], 0.8, "above"), verdict([0.91, 0.92], 0.8, "above")
    ('holds', 'undecided')
    """
    _require_threshold(threshold, direction)
    if not isinstance(values, Interval):
        numbers = as_numbers(values)
        if numbers.size < FEWEST_SEEDS or not np.isfinite(numbers).all():
            return "undecided"
        values = interval(numbers)
    _, low, high = values
    if direction == "within":
        holds, fails = -threshold < low and high < threshold, low > threshold or high < -threshold
    else:
        above, below = low > threshold, high < threshold
        holds, fails = (above, below) if direction == "above" else (below, above)
    return "holds" if holds else "fails" if fails else "undecided"


def law_verdict(values: Sequence[float], threshold: float, direction: Direction) -> Verdict:
    """Decide a law by its worst case alone; a number that is not finite fails.

    Args:
        values: shape (n,), any number of seeds.
        threshold: as in :func:`verdict`.
        direction: as in :func:`verdict`.

    Returns:
        ``holds`` or ``fails``.

    Raises:
        ValueError: as :func:`verdict`.

    >>> law_verdict([1e-7], 1e-6, "below"), law_verdict([1e-7, 2e-6], 1e-6, "below")
    ('holds', 'fails')
    """
    _require_threshold(threshold, direction)
    worst = worst_case(values, direction)
    if not math.isfinite(worst):
        return "fails"
    holds = {"above": worst > threshold, "below": worst < threshold, "within": abs(worst) < threshold}
    return "holds" if holds[direction] else "fails"


def worst_case(values: Sequence[float], direction: Direction) -> float:
    """Find the number that is hardest on a law: the largest for ``below``, the smallest for ``above``.

    Args:
        values: shape (n,).
        direction: as in :func:`verdict`; ``within`` takes the number of the largest absolute value.

    Returns:
        That number, NaN where one of them is.

    >>> worst_case([1e-7, -3e-7], "within")
    -3e-07
    """
    numbers = as_numbers(values)
    if np.isnan(numbers).any():
        return math.nan
    if direction == "within":
        return float(numbers[np.abs(numbers).argmax()])
    return float(numbers.max() if direction == "below" else numbers.min())


def _require_threshold(threshold: float, direction: Direction) -> None:
    if direction not in ("above", "below", "within"):
        raise ValueError(f"direction is {direction!r}, but must be 'above', 'below' or 'within'")
    if not math.isfinite(threshold) or (direction == "within" and threshold <= 0):
        allowed = "positive and finite" if direction == "within" else "finite"
        raise ValueError(f"threshold is {threshold}, but must be {allowed}")


def as_numbers(values: Sequence[float]) -> np.ndarray:
    """One number for each seed as a float64 array (n,); a ValueError for anything else."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0:
        raise ValueError(f"values have the shape {numbers.shape}, but must be a list with one number for each seed")
    return numbers
