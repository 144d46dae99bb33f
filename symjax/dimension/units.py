"""Piecewise-linear hidden units: each is the largest of a few linear forms of the pre-activations that it reads.

==================  =======================  ==========================
:data:`RELU`        max(z, 0)                pieces ``((1,), (0,))``
:func:`leaky`       max(z, s z), s < 1       ``((1,), (s,))``
:func:`maxout`      max(z_1, .., z_k)        rows of the identity
:func:`max_pool`    max(z_1, .., z_k, 0)     the same and a row of zeros
==================  =======================  ==========================

The units of a layer read its pre-activations k by k, in order; the next layer has one column for each unit. Hidden
layers may be of different kinds. A *pattern* says which piece of every unit is the largest, in one boolean for each
piece but the last; of a ReLU this one says whether the unit is on. With the pattern fixed, a unit is the sum of its
pre-activations times *factors*: row by row those of the piece.

The largest piece is found by *switches*, one piece after the other: is the largest so far above the next one? They cut
the input space a little finer than the patterns do.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from symjax.arguments import scalar, whole_number
from symjax.dimension.networks import Params, as_params, as_points

__all__ = [
    "RELU",
    "Unit",
    "as_network",
    "as_patterns",
    "as_units",
    "by_unit",
    "factors",
    "leaky",
    "max_pool",
    "maxout",
    "outputs",
    "patterns_at",
    "patterns_of",
    "pooled",
    "switches_at",
    "unit_counts",
    "units_of",
]


class Unit(NamedTuple):
    """The largest of p linear forms of k pre-activations.

    Attributes:
      pieces: the coefficients of each form, p tuples of k numbers.
    """

    pieces: tuple[tuple[float, ...], ...]

    @property
    def reads(self) -> int:
        """Number of pre-activations that a unit reads, k."""
        return len(self.pieces[0])

    @property
    def switches(self) -> int:
        """Number of booleans of a unit's pattern, p - 1."""
        return len(self.pieces) - 1

    @property
    def matrix(self) -> np.ndarray:
        """The pieces as an array (p, k)."""
        return np.array(self.pieces, np.float64)

    @property
    def translation(self) -> np.ndarray | None:
        """What to add to the pre-activations (k,) so that the unit grows by 1 wherever it is; None: it cannot."""
        step, *_ = np.linalg.lstsq(self.matrix, np.ones(len(self.pieces)), rcond=None)
        return step if np.allclose(self.matrix @ step, 1) else None

    def leader(self, switches: np.ndarray) -> np.ndarray:
        """The piece that leads (...) after the first j switches (..., j)."""
        leads = np.zeros(switches.shape[:-1], int)
        for place in range(switches.shape[-1]):
            leads = np.where(switches[..., place], leads, place + 1)
        return leads

    def largest(self, pattern: np.ndarray) -> np.ndarray:
        """The piece that is the largest (...) by a pattern (..., p - 1)."""
        return np.argmax(np.concatenate([pattern, np.ones((*pattern.shape[:-1], 1), bool)], axis=-1), axis=-1)


RELU = Unit(((1.0,), (0.0,)))


def leaky(slope: float) -> Unit:
    """Describe a leaky ReLU, ``max(z, s z)``.

    Source: Maas, Hannun, Ng 2013.

    Args:
      slope: s, below 1; negative ones are allowed, and -1 is the absolute value.

    Raises:
      ValueError: a slope of 1 or more, or none.

    Example:
      >>> leaky(0.1).pieces
      ((1.0,), (0.1,))
    """
    slope = scalar("slope", slope)
    if not (slope < 1 and np.isfinite(slope)):
        raise ValueError(f"slope is {slope}, but must be a number below 1")
    return Unit(((1.0,), (slope,)))


def maxout(reads: int) -> Unit:
    """Describe a maxout unit, the largest of k pre-activations.

    Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013 (arXiv 1302.4389).

    Raises:
      ValueError: a number of pre-activations that is no positive integer.

    Example:
      >>> maxout(2).pieces
      ((1.0, 0.0), (0.0, 1.0))
    """
    return Unit(tuple(map(tuple, np.eye(whole_number("reads", reads, 1)).tolist())))


def max_pool(reads: int) -> Unit:
    """Describe the maximum over k ReLUs.

    Source: the definition, ``max(relu(z_1), .., relu(z_k)) = max(z_1, .., z_k, 0)``.

    Raises:
      ValueError: a number of ReLUs that is no positive integer.

    Example:
      >>> max_pool(2).pieces
      ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    """
    return Unit((*maxout(reads).pieces, (0.0,) * reads))


def as_units(unit: Any, layers: int) -> tuple[Unit, ...]:
    """Read the kinds of the hidden layers: one for all of them, or one for each.

    Source: this library's bookkeeping.

    Raises:
      ValueError: no :class:`Unit`, another number of them, pieces of unequal lengths or that are equal, or
        pre-activations of which some combination is read by no piece.
    """
    units = (unit,) * layers if isinstance(unit, Unit) else tuple(unit) if isinstance(unit, list | tuple) else (unit,)
    if not all(isinstance(each, Unit) for each in units):
        raise ValueError("unit holds something else than a Unit; make one with leaky, maxout or max_pool, or use RELU")
    if len(units) != layers:
        raise ValueError(f"unit holds {len(units)} kinds of units, but the network has {layers} hidden layers")
    for each in units:
        lengths = {len(piece) for piece in each.pieces}
        if lengths != {each.reads} or len(set(each.pieces)) < len(each.pieces) or not np.all(np.isfinite(each.matrix)):
            raise ValueError(f"pieces are {each.pieces}, but must be different tuples of equally many finite numbers")
        if np.linalg.matrix_rank(each.matrix) < each.reads:
            raise ValueError(f"pieces are {each.pieces}, which leave some combination of pre-activations unread")
    return units


def as_network(params: Any, unit: Any = RELU) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[Unit, ...]]:
    """Read a network and the kinds of its hidden layers.

    Source: this library's bookkeeping.

    Raises:
      ValueError: as :func:`as_units` and :func:`~symjax.dimension.networks.as_params`.
    """
    params = list(params)
    units = as_units(unit, max(len(params) - 1, 0))
    return as_params(params, [each.reads for each in units]), units


def as_patterns(name: str, patterns: Any, params: Params, units: Sequence[Unit]) -> np.ndarray:
    """Read patterns of a network as booleans (R, S).

    Source: this library's bookkeeping.

    Raises:
      ValueError: another shape, or no pattern.
    """
    read, size = np.asarray(patterns, bool), len(units_of(params, units))
    if read.ndim != 2 or not len(read) or read.shape[1] != size:
        raise ValueError(f"{name} have shape {read.shape}, but must have shape (R, {size}) with R at least 1")
    return read


def unit_counts(params: Params, units: Sequence[Unit]) -> list[int]:
    """Number of units in each hidden layer."""
    return [len(b) // unit.reads for (_, b), unit in zip(params[:-1], units, strict=True)]


def units_of(params: Params, units: Sequence[Unit]) -> np.ndarray:
    """The hidden unit that each boolean of a pattern, or each switch, belongs to."""
    switches = [
        unit.switches for count, unit in zip(unit_counts(params, units), units, strict=True) for _ in range(count)
    ]
    return np.repeat(np.arange(len(switches)), switches)


def by_unit(params: Params, patterns: np.ndarray, units: Sequence[Unit]) -> list[np.ndarray]:
    """Patterns or switches (..., S) as one array (..., number of units, p - 1) for each hidden layer."""
    shapes = [(count, unit.switches) for count, unit in zip(unit_counts(params, units), units, strict=True)]
    parts = np.split(patterns, np.cumsum([a * b for a, b in shapes])[:-1], axis=-1) if shapes else []
    return [part.reshape(*part.shape[:-1], *shape) for part, shape in zip(parts, shapes, strict=True)]


def factors(params: Params, patterns: np.ndarray, units: Sequence[Unit]) -> list[np.ndarray]:
    """The factor of every pre-activation for patterns (..., S): one array (..., n_l) for each hidden layer."""
    parts = zip(by_unit(params, patterns, units), units, strict=True)
    return [unit.matrix[unit.largest(part)].reshape(*part.shape[:-2], -1) for part, unit in parts]


def pooled(values: np.ndarray, count: int) -> np.ndarray:
    """Sums (..., count) of equally many neighbours of (..., n): pre-activations times factors make units of them."""
    size = values.shape[-1]
    return values if size == count else values.reshape(*values.shape[:-1], count, size // count).sum(axis=-1)


def patterns_of(params: Params, switches: np.ndarray, units: Sequence[Unit]) -> np.ndarray:
    """Patterns (..., S) from switches (..., S); for units of two pieces they are the same."""
    parts = [np.zeros((*switches.shape[:-1], 0), bool)]
    for part, unit in zip(by_unit(params, switches, units), units, strict=True):
        leads = unit.leader(part)[..., None] == np.arange(unit.switches)
        parts.append(leads.reshape(*switches.shape[:-1], -1))
    return np.concatenate(parts, axis=-1)


def _forms(params: Params, points: np.ndarray, units: Sequence[Unit]) -> tuple[np.ndarray, np.ndarray]:
    """Differences of the switches (m, S), and outputs (m, n_d)."""
    differences, h = [np.zeros((len(points), 0))], points
    for (w, b), unit in zip(params[:-1], units, strict=True):
        forms = (h @ w.T + b).reshape(len(points), -1, unit.reads) @ unit.matrix.T
        largest, apart = forms[..., 0], np.empty((*forms.shape[:-1], unit.switches))
        for place in range(unit.switches):
            apart[..., place] = largest - forms[..., place + 1]
            largest = np.where(apart[..., place] > 0, largest, forms[..., place + 1])
        differences.append(apart.reshape(len(points), -1))
        h = largest
    return np.concatenate(differences, axis=1), h @ params[-1][0].T + params[-1][1]


def switches_at(params: Params, points: np.ndarray, units: Sequence[Unit]) -> np.ndarray:
    """How far the largest piece so far is above the next one, at points (m, n_0): (m, S). Of a ReLU this is z."""
    return _forms(params, points, units)[0]


def patterns_at(params: Params, points: np.ndarray, unit: Unit | Sequence[Unit] = RELU) -> np.ndarray:
    """Find the patterns of a network at points.

    Source: the definition.

    Args:
      params: ``[(W, b), ...]``.
      points: (m, n_0).
      unit: the kind of the hidden units, or one for each hidden layer.

    Returns:
      Booleans (m, S).

    Raises:
      ValueError: bad layers or units, points of another shape or not finite.

    Example:
      >>> params = [(np.eye(2), np.zeros(2)), (np.ones((1, 1)), np.zeros(1))]
      >>> patterns_at(params, np.array([[2.0, 1.0], [-2.0, -1.0]]), max_pool(2)).tolist()
      [[True, False], [False, False]]
    """
    params, units = as_network(params, unit)
    points = as_points("points", points, params[0][0].shape[1])
    return patterns_of(params, switches_at(params, points, units) > 0, units)


def outputs(params: Params, points: np.ndarray, unit: Unit | Sequence[Unit] = RELU) -> np.ndarray:
    """Evaluate a network: outputs (m, n_d) at points (m, n_0).

    Source: the definition.

    Args:
      params: ``[(W, b), ...]``.
      points: (m, n_0).
      unit: the kind of the hidden units, or one for each hidden layer.

    Raises:
      ValueError: as :func:`patterns_at`.

    Example:
      >>> params = [(np.eye(2), np.zeros(2)), (np.ones((1, 1)), np.zeros(1))]
      >>> outputs(params, np.array([[2.0, 1.0], [-2.0, -1.0]]), maxout(2)).ravel().tolist()
      [2.0, -1.0]
    """
    params, units = as_network(params, unit)
    return _forms(params, as_points("points", points, params[0][0].shape[1]), units)[1]
