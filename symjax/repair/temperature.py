"""Softmax temperature: the least correction of a merged network, of one number."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Temperature", "temperature"]


class Temperature(NamedTuple):
    """The best temperature, and the mean cross-entropy (nats) before and after dividing the logits by it."""

    temperature: float
    before: float
    after: float


def temperature(logits: Any, labels: Any) -> Temperature:
    """Find the temperature T > 0 with the least cross-entropy of ``softmax(logits / T)``; it changes no accuracy.

    The loss is convex in 1/T: bisection on its derivative, between 1e-3 and 1e3.

    Source: Guo et al. 2017 (temperature scaling).

    Args:
      logits: array (n, classes).
      labels: integers (n,).

    Returns:
      The temperature; an end of the interval where every example is right, or none better than chance.

    Raises:
      ValueError: shapes that do not fit, labels that are no class, logits that are not finite.

    Example:
      >>> best = temperature([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]], [0, 0, 0, 1])
      >>> round(best.temperature, 4)  # softmax = 3/4 at logit log 3
      3.641
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not logits.size:
        raise ValueError(
            f"logits have shape {logits.shape} and labels {labels.shape}, but must be (n, classes) and (n,)"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be integers from 0 to {logits.shape[1] - 1}")
    if not np.isfinite(logits).all():
        raise ValueError("logits are not finite, so no temperature can be found")
    own = logits[np.arange(len(labels)), labels]

    def loss(beta: float) -> tuple[float, float]:
        z = beta * logits
        top = z.max(1, keepdims=True)
        weights = np.exp(z - top)
        total = weights.sum(1, keepdims=True)
        slope = (weights / total * logits).sum(1) - own
        return float(np.mean(np.log(total[:, 0]) + top[:, 0] - beta * own)), float(slope.mean())

    low, high = np.log(1e-3), np.log(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if loss(np.exp(middle))[1] > 0 else (middle, high)
    beta = float(np.exp((low + high) / 2))
    return Temperature(1 / beta, loss(1.0)[0], loss(beta)[0])
