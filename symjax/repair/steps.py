"""One correction of one place: from its mean and variance to ``x -> factor x + summand``."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from symjax.channels import leaf_paths
from symjax.repair.places import Place
from symjax.repair.statistics import Statistics

__all__ = ["Affine", "Correction", "Mode", "Running", "Step", "correct", "running", "step"]

Correction = Literal["none", "reset", "std", "mean", "repair"]
Mode = Literal["exact", "torch", "closed"]

_EPSILON = {"exact": 0.0, "torch": 1e-5, "closed": 0.0}


class Affine(NamedTuple):
    """``x -> factor x + summand`` on the units of one place."""

    factor: np.ndarray
    summand: np.ndarray


class Step(NamedTuple):
    """What the correction of one place wants, as arrays (units,): :func:`correct` makes it an affine map.

    Attributes:
      deviation: standard deviation to have.
      scale: by which the variance seen is divided first.
      epsilon: that is added to it.
      scaled: bool, where the deviation is corrected at all.
      centre: mean to have; None leaves the mean as it is.
      rounding: deviations up to this share of the mean are a constant's rounding.
    """

    deviation: np.ndarray
    scale: np.ndarray
    epsilon: float
    scaled: np.ndarray
    centre: np.ndarray | None
    rounding: float


def step(place: Place, how: Correction, goal: Statistics | None, merged: Any, mode: Mode) -> Step:
    """The correction of one place, before its own mean and variance are known."""
    if how == "reset":
        old = running(place, merged)
        return Step(np.sqrt(old.var + old.epsilon), old.safe**2, old.epsilon, old.slope != 0, old.bias, 0.0)
    scaled = np.full(goal.mean.shape, how != "mean")
    rounding = 2 * float(jnp.finfo(place.value.dtype).eps)
    centre = None if how == "std" else goal.mean
    return Step(goal.deviation, np.ones(scaled.shape), _EPSILON[mode], scaled, centre, rounding)


def correct(wanted: Step, mean: Any, variance: Any) -> tuple[Any, Any]:
    """Factor and summand (units,) for the mean and variance seen at a place, in the namespace of these."""
    space = np if isinstance(variance, np.ndarray) else jnp
    seen = variance / wanted.scale + wanted.epsilon
    fine = wanted.scaled & (seen > (wanted.rounding * mean) ** 2)
    factor = space.where(fine, wanted.deviation / space.sqrt(space.where(fine, seen, 1.0)), 1.0)
    return factor, (mean if wanted.centre is None else wanted.centre) - factor * mean


class Running(NamedTuple):
    """The leaves of a normalisation ``slope (x - mean) + bias`` with ``slope = gain / sqrt(var + epsilon)``."""

    mean: np.ndarray
    var: np.ndarray
    bias: np.ndarray
    slope: np.ndarray
    epsilon: float

    @property
    def safe(self) -> np.ndarray:
        """The slope, 1 where it vanishes."""
        return np.where(self.slope == 0, 1.0, self.slope)


def running(place: Place, variables: Any) -> Running:
    """The leaves of a place's normalisation, in float64."""
    leaves, norm = leaf_paths(variables), place.normalisation
    mean, var, bias = (np.asarray(leaves[path], np.float64) for path in (norm.mean, norm.var, place.bias))
    own = [leaf.path for leaf in place.gains if np.ndim(leaves[leaf.path]) == 1]
    gain = np.asarray(leaves[own[0]], np.float64) if len(own) == 1 == len(place.gains) else np.ones_like(var)
    return Running(mean, var, bias, gain / np.sqrt(var + norm.epsilon), norm.epsilon)
