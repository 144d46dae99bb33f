"""Claims: sentences of a paper made measurable, and the verdict of a measurement over seeds.

A threshold is written down before the run; the verdict follows from it and the values alone. A claim that fails is a
result.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence of a paper, what was measured about it, and what follows."""

    claim: str
    """The sentence."""

    figure: str
    """The figure, table or equation it belongs to."""

    paper: str
    """What the paper reports."""

    source: str
    """Where that is known from."""

    measured: float
    """Mean over the seeds."""

    spread: float
    """Standard deviation over the seeds (n - 1 in the denominator); NaN for a single seed."""

    seeds: int
    """How many seeds were run."""

    threshold: str
    """Direction and threshold, such as ``above 0.9``, as written before the run."""

    verdict: Verdict
    """About the paper's own setting; undecided for a reduced run."""

    data: str
    """Data set, classes and size of the images."""

    model: str
    """Model and width."""

    device: Any
    """As in :func:`papers.common.environment.environment`."""

    versions: Mapping[str, str | None]
    """As in :func:`papers.common.environment.environment`."""

    commit: str | None
    """As in :func:`papers.common.environment.environment`."""

    command: str
    """The command that measures it again."""

    reduced: bool = False
    """Whether the run is smaller than the paper's."""

    reduced_verdict: Verdict | None = None
    """The verdict of a reduced run about its own setting; None for a run at the paper's."""


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
    numbers = _numbers(values)
    if not np.isfinite(numbers).all():
        return Interval(math.nan, math.nan, math.nan)
    mean = float(numbers.mean())
    if numbers.size < 2:
        return Interval(mean, -math.inf, math.inf)
    from scipy.stats import t

    half = float(t.ppf((1 + confidence) / 2, numbers.size - 1) * numbers.std(ddof=1) / math.sqrt(numbers.size))
    return Interval(mean, mean - half, mean + half)


def verdict(values: Sequence[float], threshold: float, direction: Direction) -> Verdict:
    """Decide a claim where the 95 % interval over at least three seeds lies wholly on one side of the threshold.

    Args:
        values: one number for each seed, shape (n,).
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
    if direction not in ("above", "below", "within"):
        raise ValueError(f"direction is {direction!r}, but must be 'above', 'below' or 'within'")
    if not math.isfinite(threshold) or (direction == "within" and threshold <= 0):
        allowed = "positive and finite" if direction == "within" else "finite"
        raise ValueError(f"threshold is {threshold}, but must be {allowed}")
    numbers = _numbers(values)
    if numbers.size < FEWEST_SEEDS or not np.isfinite(numbers).all():
        return "undecided"
    _, low, high = interval(numbers)
    if direction == "within":
        holds, fails = -threshold < low and high < threshold, low > threshold or high < -threshold
    else:
        above, below = low > threshold, high < threshold
        holds, fails = (above, below) if direction == "above" else (below, above)
    return "holds" if holds else "fails" if fails else "undecided"


def claim_over_seeds(
    values: Sequence[float],
    threshold: float,
    direction: Direction,
    *,
    reduced: bool,
    environment: Mapping[str, Any],
    **words: str,
) -> Claim:
    """Make a claim of one value for each seed.

    Args:
        values: one number for each seed, shape (n,).
        threshold: written before the run.
        direction: as in :func:`verdict`.
        reduced: whether the run is smaller than the paper's; it then stays undecided about the paper's own setting.
        environment: holds ``device``, ``versions`` and ``commit``, as
            :func:`papers.common.environment.environment` gives them.
        **words: ``claim``, ``figure``, ``paper``, ``source``, ``data``, ``model``, ``command``.

    Returns:
        The claim, with its verdict.
    """
    numbers = _numbers(values)
    decided = verdict(numbers, threshold, direction)
    spread = numbers.std(ddof=1) if numbers.size > 1 and np.isfinite(numbers).all() else math.nan
    return Claim(
        measured=float(numbers.mean()) if np.isfinite(numbers).all() else math.nan,
        spread=float(spread),
        seeds=int(numbers.size),
        threshold=f"{direction} {threshold:g}",
        verdict="undecided" if reduced else decided,
        device=environment["device"],
        versions=environment["versions"],
        commit=environment["commit"],
        reduced=reduced,
        reduced_verdict=decided if reduced else None,
        **words,
    )


def format_claims(claims: Sequence[Claim]) -> str:
    """Lay claims out as a table for the terminal, one line each.

    A reduced run shows the verdict about its own setting, marked as such.
    """
    rows = [("figure", "claim", "measured", "threshold", "seeds", "verdict")]
    for claim in claims:
        measured = f"{claim.measured:.4g}" + ("" if math.isnan(claim.spread) else f" +- {claim.spread:.2g}")
        shown = f"{claim.reduced_verdict} (reduced)" if claim.reduced else claim.verdict
        rows.append((claim.figure, claim.claim, measured, claim.threshold, str(claim.seeds), shown))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if any(claim.reduced for claim in claims):
        lines.append("(reduced): the verdict about this reduced setting; about the paper's own it is undecided")
    return "\n".join(lines)


def _numbers(values: Sequence[float]) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0:
        raise ValueError(f"values have the shape {numbers.shape}, but must be a list with one number for each seed")
    return numbers
