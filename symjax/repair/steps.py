"""One correction of one place: from its mean and variance to ``x -> factor x + summand``."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from symjax.channels import leaf_paths
from symjax.repair.places import Place
from symjax.repair.statistics import Statistics

__all__ = ["Affine", "Correction", "Mode", "Running", "running", "step"]

Correction = Literal["none", "reset", "std", "bias", "repair"]
Mode = Literal["exact", "torch", "closed"]

_EPSILON = {"exact": 0.0, "torch": 1e-5, "closed": 0.0}


class Affine(NamedTuple):
    """``x -> factor x + summand`` on the units of one place."""

    factor: np.ndarray
    summand: np.ndarray


def step(place: Place, how: Correction, goal: Statistics | None, merged: Any, mode: Mode) -> Callable[..., Any]:
    """The correction of one place as a function of its mean and variance, in the namespace of these."""
    epsilon = _EPSILON[mode]
    if how == "reset":
        old = running(place, merged)

        def correct(mean: Any, variance: Any) -> tuple[Any, Any]:
            factor = _ratio(np.sqrt(old.var + old.epsilon), variance / old.safe**2 + old.epsilon, old.slope != 0)
            return factor, old.bias - factor * mean

        return correct

    def correct(mean: Any, variance: Any) -> tuple[Any, Any]:
        ones = np.ones_like(goal.mean)
        factor = ones if how == "bias" else _ratio(goal.deviation, variance + epsilon, ones > 0)
        return factor + 0 * mean, (mean if how == "std" else goal.mean) - factor * mean

    return correct


def _ratio(numerator: Any, variance: Any, where: Any) -> Any:
    """``numerator / sqrt(variance)``, 1 where that cannot be."""
    space = np if isinstance(variance, np.ndarray) else jnp
    fine = where & (variance > 0)
    return space.where(fine, numerator / space.sqrt(space.where(fine, variance, 1.0)), 1.0)


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
