"""Mean and variance of the conserved quantity under fan-in initialisation."""

from math import exp, expm1
from typing import Literal, NamedTuple

from symjax.arguments import whole_number

__all__ = ["Moments", "xavier_moments"]


class Moments(NamedTuple):
    """Mean and variance of the total Q over initialisations."""

    mean: float
    variance: float


def xavier_moments(activation: str, m: int, h: int, n: int, scale: Literal["paper", "half"] = "paper") -> Moments:
    """Give mean and variance of the total Q for ``U ~ N(0, 1/h)`` (m, h) and ``V ~ N(0, 1/n)`` (h, n).

    In the authors' normalisation, with ``t = 1/n``: linear ``m - h`` and ``2 (m/h + h/n)``; relu ``m - h/2`` and
    ``2m/h + 5h/(4n)``; tanh ``m - nh (1 + e^2t)/2`` and ``2m/h + nh/8 (e^4t - 1)^2``; sigmoid
    ``m/2 - nh e^(t/2)`` and ``m/(2h) + nh (t + 2t e^(t/2) + e^t (e^t - 1))``.

    Source: Zhao et al. 2023, section 5 (distribution of Q); the formulas beyond the linear one are derived.

    Args:
      activation: ``"linear"``, ``"relu"``, ``"tanh"`` or ``"sigmoid"``.
      m: number of outputs.
      h: number of hidden units.
      n: number of inputs.
      scale: ``"paper"`` as the figures plot it, ``"half"`` as :func:`symjax.conserved.pointwise` has it by default.

    Returns:
      Moments of the sum over neurons.

    Raises:
      ValueError: an activation or a scale without a formula, or a size that is no positive integer.

    Example:
      >>> xavier_moments("linear", 100, 200, 100)
      Moments(mean=-100.0, variance=5.0)
    """
    formulas = {"linear": _linear, "relu": _relu, "tanh": _tanh, "sigmoid": _sigmoid}
    if activation not in formulas:
        raise ValueError(f"activation is {activation!r}, but moments are known for {', '.join(formulas)}")
    if scale not in ("paper", "half"):
        raise ValueError(f"scale is {scale!r}, but it must be 'paper' or 'half'")
    m, h, n = whole_number("m", m, 1), whole_number("h", h, 1), whole_number("n", n, 1)
    mean, variance = formulas[activation](m, h, n)
    if scale == "half" and activation != "sigmoid":  # the authors' code halves the sigmoid's Q alone
        mean, variance = mean / 2, variance / 4
    return Moments(float(mean), float(variance))


def _linear(m: int, h: int, n: int) -> tuple[float, float]:
    return m - h, 2 * (m / h + h / n)


def _relu(m: int, h: int, n: int) -> tuple[float, float]:
    return m - h / 2, 2 * m / h + 5 * h / (4 * n)


def _tanh(m: int, h: int, n: int) -> tuple[float, float]:
    t = 1 / n
    return m - n * h * (1 + exp(2 * t)) / 2, 2 * m / h + n * h / 8 * expm1(4 * t) ** 2


def _sigmoid(m: int, h: int, n: int) -> tuple[float, float]:
    t = 1 / n
    variance = t + 2 * t * exp(t / 2) + exp(t) * expm1(t)
    return m / 2 - n * h * exp(t / 2), m / (2 * h) + n * h * variance
