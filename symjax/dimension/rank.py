"""Functional dimension of ReLU networks from sampled inputs, with the evidence for it.

Three ranks, told apart by name: of the gradients *at the points of a batch*, of the gradients of all regions that
random points *sample*, and the *generic* rank that the same patterns allow at random weights, the upper bound by
algebra.

The search (:mod:`~symjax.dimension.search`) adds rows until no row is left that sees a random vector of their kernel;
the bound, once reached, is the answer and ends it.
"""

from typing import Literal, NamedTuple

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.gradients import scaling_tangents
from symjax.dimension.row_space import Evidence
from symjax.dimension.screening import Screen
from symjax.dimension.search import Gradients, Search, refuse_size

__all__ = [
    "Dimension",
    "Dimensions",
    "batch_dimension",
    "dimensions",
    "generic_dimension",
    "measure",
    "sampled_dimension",
]

_COUNTED = 2**16  # numbers below this are counted, larger ones are sorted


class Dimension(NamedTuple):
    """A functional dimension and the evidence for it.

    Attributes:
      rank: the dimension found, a lower bound of the functional dimension.
      bound: its largest value at these parameters, D less the rank of the scalings' tangents.
      largest_possible: the bound of the architecture, ``n_d + sum_l n_{l-1} n_l``.
      evidence: singular values, gap and threshold.
      points: number of points looked at; the search ends at the bound.
      patterns: number of different patterns among all points.
      half: the rank of the first half of the points; equal to ``rank`` where sampling has saturated.
      on_hyperplanes: points at which some hidden unit is exactly 0, so that the function may have no derivative there.
      witnesses: points (k, n_0) whose rows were added: together they have the rank.
    """

    rank: int
    bound: int
    largest_possible: int
    evidence: Evidence
    points: int
    patterns: int
    half: int
    on_hyperplanes: int
    witnesses: np.ndarray

    @property
    def hidden(self) -> int:
        """Number of hidden directions: kernel of the gradients without the scalings."""
        return self.bound - self.rank

    @property
    def full(self) -> bool:
        """Whether the bound of the architecture is reached: no hidden symmetry of positive dimension."""
        return self.rank == self.largest_possible

    @property
    def undetermined(self) -> bool:
        """Whether the singular values have no clear gap."""
        return self.evidence.undetermined


class Dimensions(NamedTuple):
    """The three ranks of one network: on a batch, on random inputs, and the generic one for the sampled patterns."""

    batch: Dimension
    sampled: Dimension
    generic: int


def _tangents_rank(params: nets.Params) -> int:
    biases = [b for _, b in params[:-1]]
    if all(np.all(b != 0) for b in biases):  # each bias occurs in one tangent only
        return sum(map(len, biases))
    tangents = scaling_tangents(params)
    lengths = np.linalg.norm(tangents, axis=1, keepdims=True)
    return int(np.linalg.matrix_rank(tangents / np.where(lengths > 0, lengths, 1))) if len(tangents) else 0


def measure(
    params: nets.Params, points: np.ndarray, method: Literal["points", "patterns"], random: np.random.Generator
) -> tuple[Dimension, Search]:
    """The dimension at points ("points") or of the regions they lie in ("patterns"), and the search for it."""
    sizes = nets.widths(params)
    refuse_size(nets.parameters(sizes))
    places, passed = np.arange(len(points)), None
    if method == "points":
        gradients = Gradients(params, points)
    else:
        passed = Screen(params).patterns(points)
        places = np.sort(np.unique(passed.codes, return_index=True)[1])
        probes = random.normal(size=(len(places), sizes[0]))
        gradients = Gradients(params, probes, nets.patterns(params, points[places]))
    search = Search(gradients, nets.parameters(sizes) - _tangents_rank(params), random)
    last = search.run(int(np.searchsorted(places, (len(points) + 1) // 2)))
    passed = passed or last
    decided = search.evidence
    dimension = Dimension(
        rank=decided.rank,
        bound=search.ceiling,
        largest_possible=nets.bound(sizes),
        evidence=decided,
        points=len(points) if search.looked == len(places) else int(places[search.looked - 1]) + 1,
        patterns=_different(passed.codes),
        half=search.half,
        on_hyperplanes=int(passed.boundary.sum()),
        witnesses=points[places[search.added]],
    )
    return dimension, search


def _different(codes: np.ndarray) -> int:
    """How many different numbers."""
    if len(codes) and codes.max() < _COUNTED:
        return int(np.count_nonzero(np.bincount(codes.astype(np.int64))))
    ordered = np.sort(codes)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def batch_dimension(params: nets.Params, points: np.ndarray, random: np.random.Generator | None = None) -> Dimension:
    """Batch functional dimension: the rank of the Jacobian of all outputs at the points of a batch.

    ``rank [d F_k(x_i) / d theta]``, (m n_d) x D

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179).

    Args:
      params: [(W, b), ...].
      points: (m, n_0).
      random: of the vectors that screen rows; None takes seed 0.

    Returns:
      The rank with its evidence.

    Raises:
      ValueError: parameters or points of wrong shapes or not finite; a network too large for a dense rank.

    Example:
      >>> params = nets.random_params((2, 3, 1), np.random.default_rng(0))
      >>> batch_dimension(params, np.random.default_rng(1).normal(size=(5, 2))).rank
      5
    """
    params = nets.as_params(params)
    points = nets.as_points("points", points, nets.widths(params)[0])
    return measure(params, points, "points", random or np.random.default_rng(0))[0]


def sampled_dimension(params: nets.Params, points: np.ndarray, random: np.random.Generator | None = None) -> Dimension:
    """Functional dimension on all regions that some points lie in.

    A region counts with everything it contains, not only with the points sampled from it: n_0 + 1 rows a pattern, and
    neither its size nor its place matters. At least the batch functional dimension of the points, and at most the
    functional dimension.

    Source: Grigsby, Lindsey, Rolnick 2023; the rows of a pattern are this library's own.
    Deviation: the paper takes the gradients at the points; that is :func:`batch_dimension`.

    Args:
      params: [(W, b), ...].
      points: (m, n_0), such as 100 times the bound of standard normal ones.
      random: of the vectors that screen rows; None takes seed 0.

    Returns:
      The rank with its evidence.

    Raises:
      ValueError: as :func:`batch_dimension`.

    Example:
      >>> params = nets.random_params((2, 3, 1), np.random.default_rng(0))
      >>> found = sampled_dimension(params, np.random.default_rng(1).normal(size=(500, 2)))
      >>> found.rank, found.bound, found.full
      (10, 10, True)
    """
    params = nets.as_params(params)
    points = nets.as_points("points", points, nets.widths(params)[0])
    return measure(params, points, "patterns", random or np.random.default_rng(0))[0]


def generic_dimension(params: nets.Params, points: np.ndarray, random: np.random.Generator | None = None) -> int:
    """The rank that the patterns at these points allow: at random weights, with the patterns frozen.

    The upper bound of :func:`sampled_dimension` by algebra; what a network has less than this, it owes to its weights.

    Source: this library's own.

    Args:
      params: [(W, b), ...].
      points: (m, n_0).
      random: of the weights; None takes seed 0.

    Raises:
      ValueError: as :func:`batch_dimension`.
    """
    params, random = nets.as_params(params), random or np.random.default_rng(0)
    sizes = nets.widths(params)
    points = nets.as_points("points", points, sizes[0])
    masks = np.unique(nets.patterns(params, points), axis=0)
    other, probes = nets.random_params(sizes, random, 1.0), random.normal(size=(len(masks), sizes[0]))
    search = Search(Gradients(other, probes, masks), nets.bound(sizes), random)
    search.run(len(masks))
    return search.evidence.rank


def dimensions(params: nets.Params, batch: np.ndarray, random: np.random.Generator, count: int = 0) -> Dimensions:
    """The three ranks of a network, in one record.

    Source: Grigsby, Lindsey, Rolnick 2023.

    Args:
      params: [(W, b), ...].
      batch: (m, n_0), the data of the first rank.
      random: of the standard normal points of the second and third, and of the weights of the third.
      count: how many such points; 0 takes 100 times the bound.

    Raises:
      ValueError: as :func:`batch_dimension`.
    """
    params = nets.as_params(params)
    sizes = nets.widths(params)
    points = random.normal(size=(count or 100 * nets.bound(sizes), sizes[0]))
    return Dimensions(
        batch_dimension(params, batch, random),
        sampled_dimension(params, points, random),
        generic_dimension(params, points, random),
    )
