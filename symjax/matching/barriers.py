"""Barriers between networks and their middle, with bootstrap intervals over the examples."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from symjax.arguments import finite_number, scalar, whole_number

__all__ = ["Barrier", "barrier", "highest_barrier"]

Kind = Literal["relative", "absolute", "loss"]


class Barrier(NamedTuple):
    """A barrier and its bootstrap interval.

    Attributes:
      value: of the barrier; negative where the middle is better than the ends.
      low: lower end of the interval.
      high: upper end of the interval.
    """

    value: float
    low: float
    high: float


def barrier(
    first: Any,
    second: Any,
    middle: Any,
    kind: Kind = "relative",
    *,
    alpha: float = 0.5,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Barrier:
    """Barrier at one place of the line between two networks, from what each says about the same examples.

    With ``e = (1 - alpha) z_a + alpha z_b``: "absolute" ``e - z`` of accuracies, "relative" ``(e - z) / e``, "loss"
    ``z - e`` of losses. The interval resamples examples, the same ones for all three networks.

    Source: Bökman & Kahl 2023 (relative, at the middle); Entezari et al. 2022 and Frankle et al. 2020 (absolute,
      loss). Efron 1979 (percentile bootstrap).

    Args:
      first: array (n,), per example whether the first network is right (0 or 1), or its loss.
      second: array (n,), of the second network.
      middle: array (n,), of the merged network.
      kind: which barrier.
      alpha: place of the merged network on the line.
      confidence: of the interval.
      resamples: how many; 0 gives an interval of nan.
      seed: of the resampling.

    Returns:
      The barrier; nan where a relative barrier has ends that are never right.

    Raises:
      ValueError: arrays of different lengths, empty, or not finite; accuracies outside 0 to 1; an unknown option.

    Example:
      >>> barrier([1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], resamples=0).value  # (0.875 - 0.5) / 0.875
      0.42857142857142855
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}, but must be one of {', '.join(map(repr, get_args(Kind)))}")
    scores = np.stack(_same(first=first, second=second, middle=middle))
    if kind != "loss" and (scores.min() < 0 or scores.max() > 1):
        raise ValueError("accuracies must lie between 0 and 1; for losses take kind='loss'")
    alpha, confidence = finite_number("alpha", alpha), scalar("confidence", confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, but must lie between 0 and 1")
    rng, n = np.random.default_rng(seed), scores.shape[1]
    times = whole_number("resamples", resamples, 0)
    counts = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(times))
    drawn = [_value(scores @ each / n, kind, alpha) for each in counts]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail)) if drawn else (np.nan, np.nan)
    return Barrier(_value(scores.mean(1), kind, alpha), float(low), float(high))


def _same(**arrays: Any) -> list[np.ndarray]:
    found = [np.asarray(array, np.float64) for array in arrays.values()]
    for name, array in zip(arrays, found, strict=True):
        if array.ndim != 1 or not array.size or array.shape != found[0].shape:
            raise ValueError(f"{name} has shape {array.shape}, but must hold one number for each of the same examples")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has entries that are not finite")
    return found


def _value(means: np.ndarray, kind: Kind, alpha: float) -> float:
    ends = (1 - alpha) * means[0] + alpha * means[1]
    height = means[2] - ends if kind == "loss" else ends - means[2]
    if kind != "relative":
        return float(height)
    return float(height / ends) if ends > 0 else float("nan")


def highest_barrier(
    evaluate: Callable[[float], Any], alphas: Sequence[float], kind: Kind = "loss"
) -> tuple[float, float]:
    """Largest barrier over places of the line, with its place: the barrier of linear mode connectivity.

    Source: Frankle et al. 2020; Entezari et al. 2022, definition 1.

    Args:
      evaluate: alpha -> the merged network's score (a number, or one for each example).
      alphas: places, the first 0 and the last 1.
      kind: as for :func:`barrier`.

    Returns:
      The barrier and its alpha.

    Raises:
      ValueError: places that do not run from 0 to 1; a score that is not finite.

    Example:
      >>> highest_barrier(lambda alpha: alpha * (1 - alpha), [0.0, 0.5, 1.0])
      (0.25, 0.5)
    """
    alphas = [scalar("alphas", alpha) for alpha in alphas]
    if len(alphas) < 2 or alphas[0] != 0 or alphas[-1] != 1 or sorted(alphas) != alphas:
        raise ValueError(f"alphas are {alphas}, but must run from 0 to 1")
    scores = [float(np.mean(np.asarray(evaluate(alpha)))) for alpha in alphas]
    for alpha, score in zip(alphas, scores, strict=True):
        if not np.isfinite(score):
            raise ValueError(f"the score at alpha = {alpha} is {score}, so there is no barrier")
    ends = scores[0], scores[-1]
    return max((_value(np.array([*ends, z]), kind, alpha), alpha) for alpha, z in zip(alphas, scores, strict=True))
