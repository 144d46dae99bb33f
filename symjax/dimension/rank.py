"""Functional dimension of ReLU networks from sampled inputs, with the evidence for it.

Three ranks, told apart by name: of the gradients *at the points of a batch*, of the gradients of all regions that
random points *sample*, and the *generic* rank that the same patterns allow at random weights, the upper bound by
algebra.

Rows are never kept. A random vector of the kernel of what was added so far is multiplied with all remaining rows, by
one pass through the network; a row that does not see it lies in the span (with probability one) and is done with; of
those that do, some are added, and the next vector is drawn. The bound, once reached, is the answer and ends the search.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.gradients import Slices, gradients, of_patterns, products, scaling_tangents
from symjax.dimension.row_space import Evidence, RowSpace

__all__ = [
    "Dimension",
    "Dimensions",
    "Search",
    "batch_dimension",
    "dimensions",
    "generic_dimension",
    "measure",
    "sampled_dimension",
]

_SEEN = 1e-12  # a product above this part of the two lengths' is no rounding
_CHUNK = 2**22  # entries of a chunk's largest array
_MEMORY = 2**33  # bytes; a triangle and its factors beyond this are refused


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


class Search:
    """Adds to a row space what the slices have and it has not."""

    def __init__(self, params: nets.Params, ceiling: int, random: np.random.Generator) -> None:
        self.params, self.ceiling, self.random = params, ceiling, random
        columns = sum(w.size + len(b) for w, b in params)
        _refuse_size(columns)
        self.space = RowSpace(columns)
        self.null = self.space.null_vector(random)

    @property
    def rank(self) -> int:
        """The rank so far, by the pivots."""
        return self.null.rank

    def extend(self, slices: Slices) -> list[np.ndarray]:
        """Look at every slice, and say which were taken."""
        pending, added = np.arange(len(slices.masks)), []
        rows_each = len(slices.constants) * nets.widths(self.params)[-1]
        most = -(-(self.space.triangle.shape[1] + 64) // rows_each)
        while len(pending) and self.rank < self.ceiling:
            if self.rank:
                pending = self._seeing(slices, pending, most)
                if not len(pending):
                    break
            chosen, pending = pending[:most], pending[most:]
            self.space.add(gradients(self.params, slices.take(chosen)).reshape(-1, self.space.triangle.shape[1]))
            self.null = self.space.null_vector(self.random)
            added.append(chosen)
        return added

    def _seeing(self, slices: Slices, pending: np.ndarray, enough: int) -> np.ndarray:
        """Those pending whose rows see a null vector; the walk ends at enough of them, the rest stays pending."""
        found, count = [], 0
        step = max(1, _CHUNK // (len(slices.constants) * max(nets.widths(self.params))))
        for start in range(0, len(pending), step):
            part = pending[start : start + step]
            along, lengths = products(self.params, slices.take(part), self.null.vector, self.null.factors)
            part = part[np.any(np.abs(along) > _SEEN * lengths, axis=(1, 2))]
            found.append(part)
            count += len(part)
            if count >= enough:
                return np.concatenate([*found, pending[start + step :]])
        return np.concatenate(found)


def _new_patterns(masks: np.ndarray, seen: set[bytes]) -> np.ndarray:
    """Numbers of the first point of every pattern that was not seen before; those seen now are remembered."""
    packed = np.packbits(masks, axis=1) if masks.shape[1] else np.zeros((len(masks), 1), np.uint8)
    whole = packed.view(f"V{packed.shape[1]}").ravel()
    numbers = [i for i in np.unique(whole, return_index=True)[1] if whole[i].tobytes() not in seen]
    seen.update(whole[i].tobytes() for i in numbers)
    return np.sort(np.asarray(numbers, int))


def _refuse_size(count: int) -> None:
    if (needed := 5 * 8 * count**2) > _MEMORY:
        raise ValueError(
            f"params hold {count:,} parameters, whose row space needs {needed:,} bytes, more than {_MEMORY:,}; "
            "a network this large has no dense rank here"
        )


def _tangents_rank(params: nets.Params) -> int:
    tangents = scaling_tangents(params)
    lengths = np.linalg.norm(tangents, axis=1, keepdims=True)
    return int(np.linalg.matrix_rank(tangents / np.where(lengths > 0, lengths, 1))) if len(tangents) else 0


def measure(
    params: nets.Params, points: np.ndarray, method: Literal["points", "patterns"], random: np.random.Generator
) -> tuple[Dimension, RowSpace]:
    """The dimension at points ("points") or of the regions they lie in ("patterns"), and the space of the rows."""
    sizes = nets.widths(params)
    ceiling = nets.parameters(sizes) - _tangents_rank(params)
    search = Search(params, ceiling, random)
    boundary, seen, looked, half = 0, set(), 0, None
    witnesses, middle = [np.zeros((0, sizes[0]))], (len(points) + 1) // 2
    for start, stop in _chunks(len(points), middle, sum(sizes)):
        part = points[start:stop]
        z = nets.hidden(params, part)
        boundary += int(np.any(z == 0, axis=1).sum())
        fresh = _new_patterns(z > 0, seen)
        if search.rank < ceiling:
            looked = stop
            if method == "patterns":
                part, slices = part[fresh], of_patterns(z[fresh] > 0, sizes[0])
            else:
                slices = Slices(z > 0, part[:, None, :], np.ones(1))
            witnesses += [part[chosen] for chosen in search.extend(slices)]
        if stop == middle:
            half = search.space.evidence().rank
    decided = search.space.evidence()
    dimension = Dimension(
        rank=decided.rank,
        bound=ceiling,
        largest_possible=nets.bound(sizes),
        evidence=decided,
        points=looked,
        patterns=len(seen),
        half=decided.rank if half is None else half,
        on_hyperplanes=boundary,
        witnesses=np.concatenate(witnesses),
    )
    return dimension, search.space


def _chunks(count: int, middle: int, wide: int) -> Iterator[tuple[int, int]]:
    """Chunks of points, one of which ends in the middle."""
    step = max(1, _CHUNK // wide)
    for begin, end in ((0, middle), (middle, count)):
        for start in range(begin, end, step):
            yield start, min(start + step, end)


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
    masks = nets.patterns(params, points)
    search = Search(nets.random_params(sizes, random, 1.0), nets.bound(sizes), random)
    search.extend(of_patterns(masks[_new_patterns(masks, set())], sizes[0]))
    return search.space.evidence().rank


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
