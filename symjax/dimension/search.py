"""The search for rows that span all gradients of a network: at points, or of the regions that they lie in.

A few rows are factored and their kernel is found. A random vector of the kernel is sent through the network with all
points: rows that do not see it lie in the span, with probability one. Of those that do, a few are projected on the
kernel, the independent ones among them are kept, the kernel shrinks by them, and the rest is tried again.
"""

from itertools import pairwise

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.gradients import gradients, of_patterns, unit_rows
from symjax.dimension.row_space import RowSpace
from symjax.dimension.screening import Screen, Screening

__all__ = ["Gradients", "Search", "free_columns", "refuse_size"]

_SEEN = 1e-12  # a product above this part of the two lengths is no rounding
_NEW = 1e-10  # and above this, worth a dimension before all rows are factored together
_MORE = 64  # rows to start with beyond the number of columns
_CHUNK = 2**22  # entries of the rows formed at once
_MEMORY = 2**33  # bytes; a triangle and its factors beyond this are refused


def free_columns(params: nets.Params) -> np.ndarray:
    """Which parameters to keep so that no scaling is left, booleans (D,): all but one a hidden unit.

    Left out is the largest weight into the unit, or its bias where it has none. The scalings' tangents are triangular
    on what is left out, so the gradients without these columns have the same rank.

    Source: this library's own.

    Example:
      >>> free_columns([(np.array([[1.0, -2.0]]), np.ones(1)), (np.ones((1, 1)), np.ones(1))])
      array([ True, False,  True,  True,  True])
    """
    free, start = np.ones(sum(w.size + b.size for w, b in params), bool), 0
    for (w, b), (above, _) in pairwise(params):
        units = above.shape[1]
        weights, biases = np.abs(w).reshape(units, -1), np.abs(b).reshape(units, -1)
        numbers, largest, bias = np.arange(units), weights.argmax(axis=1), biases.argmax(axis=1)
        moved, shifted = weights[numbers, largest] > 0, biases[numbers, bias] > 0
        free[(start + numbers * weights.shape[1] + largest)[moved]] = False
        free[(start + w.size + numbers * biases.shape[1] + bias)[~moved & shifted]] = False
        start += w.size + b.size
    return free


def refuse_size(count: int) -> None:
    """Refuse so many parameters whose row space needs more than 8 GiB.

    Source: this library's bookkeeping.

    Raises:
      ValueError: more parameters than that.
    """
    if (needed := 5 * 8 * count**2) > _MEMORY:
        raise ValueError(
            f"params hold {count:,} parameters, whose row space needs {needed:,} bytes, more than {_MEMORY:,}; "
            "a network this large has no dense rank here"
        )


class Gradients:
    """Gradient rows of a network, by number: those at points, or the n_0 + 1 that span those of a region.

    Args:
      params: the network.
      points: (m, n_0); for regions random ones, at which a region's affine map is tried.
      masks: (m, H) patterns of regions, or factors of all pre-activations; None for the gradients at the points.
    """

    def __init__(self, params: nets.Params, points: np.ndarray, masks: np.ndarray | None = None) -> None:
        self.params, self.points, self.masks, self.screen = params, points, masks, Screen(params)
        self.each = nets.widths(params)[-1] * (1 if masks is None else points.shape[1] + 1)

    def __len__(self) -> int:
        return len(self.points)

    def unit_rows(self, which: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Rows (k each, F) of length one in Fortran's order, some columns of each; zeros stay."""
        if self.masks is None:
            return unit_rows(self.params, self.points[which], columns)
        slices = of_patterns(self.masks[which], self.points.shape[1])
        rows = gradients(self.params, slices).reshape(-1, len(columns))
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        rows /= np.where(lengths > 0, lengths, 1)[:, None]
        return rows.T[columns].T

    def along(self, which: np.ndarray | slice, vector: np.ndarray) -> Screening:
        """A pass of some of them through the network, along a vector (D,)."""
        return self.screen.along(self.points[which], vector, None if self.masks is None else self.masks[which])


class Search:
    """Adds to a row space what the gradients have and it has not."""

    def __init__(self, gradients: Gradients, ceiling: int, random: np.random.Generator) -> None:
        self.gradients, self.ceiling, self.random = gradients, ceiling, random
        self.free = free_columns(gradients.params)
        refuse_size(len(self.free))
        self.space = RowSpace(int(self.free.sum()))
        self._added: list[np.ndarray] = []
        self._taken = np.zeros(len(gradients), bool)
        self._waiting: list[np.ndarray] = []  # rows to be folded

    def run(self, first: int) -> Screening:
        """Look at the first gradients, then at the others; returns the pass of all of them through the network.

        ``half`` is the rank of the first then, and ``looked`` how many were looked at: fewer than all at the ceiling.
        """
        self.begin(first)
        self.half, self.looked = self.rank, int(self.added[-1]) + 1
        if self.done:
            self.confirm(self.added[:0])
        if self.done:
            return self.gradients.screen.patterns(self.gradients.points)
        passed = self.gradients.along(slice(None), self.vector())
        seeing = self.seeing(np.arange(len(self.gradients)), passed.along)
        self.extend(seeing[seeing < first])
        self.half, self.looked = self.rank, first if self.done else len(self.gradients)
        self.extend(self.retried(seeing[seeing >= first]))
        self.confirm(seeing)
        self.half = min(self.half, self.evidence.rank)
        return passed

    def begin(self, among: int) -> None:
        """Factor the first rows, of the first so many gradients."""
        count = min(among, -(-(self.space.triangle.shape[1] + _MORE) // self.gradients.each))
        step = max(1, _CHUNK // (self.gradients.each * len(self.free)))
        for start in range(0, count, step):
            which = np.arange(start, min(start + step, count))
            self._keep(which, self.gradients.unit_rows(which, self.free))
            self._fold()
        self.basis, self.factors = self.space.nulls()

    @property
    def rank(self) -> int:
        """The rank so far."""
        return self.space.triangle.shape[1] - self.basis.shape[1]

    @property
    def done(self) -> bool:
        """Whether the largest rank is reached."""
        return self.rank >= self.ceiling

    @property
    def added(self) -> np.ndarray:
        """Numbers of the gradients whose rows were added."""
        return np.concatenate(self._added)

    def vector(self) -> np.ndarray:
        """A random vector (D,) of the kernel, of length one when divided by the factors."""
        along = self.basis @ self.random.normal(size=self.basis.shape[1])
        whole = np.zeros(len(self.free))
        whole[self.free] = self.factors * along / (np.linalg.norm(along) or 1.0)
        return whole

    def seeing(self, which: np.ndarray, along: np.ndarray) -> np.ndarray:
        """Those of some gradients whose derivatives along the vector are no rounding.

        Every row is at least as long as its entry for the output's bias.
        """
        return which[np.any(np.abs(along) > _SEEN * self.factors[-1], axis=1)]

    def retried(self, pending: np.ndarray) -> np.ndarray:
        """Those of some gradients that still see the kernel."""
        if not len(pending) or self.done:
            return pending[:0]
        return self.seeing(pending, self.gradients.along(pending, self.vector()).along)

    def extend(self, pending: np.ndarray) -> None:
        """Add of these what is new; the kernel is shrunk by projections alone."""
        while len(pending) and not self.done:
            pending = self.retried(self._shrink(pending))

    def confirm(self, seeing: np.ndarray) -> None:
        """Find the kernel of all rows added together, and whether any of these is still seen."""
        rows = 0
        while self.space.rows + len(self._waiting) > rows:
            self._fold()
            rows = self.space.rows
            self.basis, self.factors, self.evidence = self.space.kernel()
            if len(seeing) and not self.done:
                self.extend(self.retried(seeing[~self._taken[seeing]]))

    def kernel(self) -> np.ndarray:
        """Vectors (k, D) of the kernel of the gradients, which with the scalings' tangents span it."""
        basis, factors, _ = self.space.kernel()
        whole = np.zeros((basis.shape[1], len(self.free)))
        whole[:, self.free] = (factors[:, None] * basis).T
        return whole

    def _keep(self, which: np.ndarray, rows: np.ndarray) -> None:
        self._added.append(which)
        self._taken[which] = True
        self._waiting.append(rows)

    def _fold(self) -> None:
        for rows in [np.concatenate([rows.T for rows in self._waiting], axis=1).T] if self._waiting else []:
            self.space.fold(rows)
        self._waiting = []

    def _shrink(self, pending: np.ndarray) -> np.ndarray:
        """Take a few gradients, keep what is new in them, and shrink the kernel by it; the others are returned."""
        from scipy.linalg import lapack

        each, width = self.gradients.each, self.basis.shape[1]
        count = -(-(2 * width + 32) // each)
        taken, pending = pending[:count], pending[count:]
        rows = self.gradients.unit_rows(taken, self.free)
        seen = (self.factors[:, None] * self.basis).T @ rows.T
        factored, order, scales, _, _ = lapack.dgeqp3(seen, lwork=64 * (width + seen.shape[1]))
        new = int(np.sum(np.abs(np.diagonal(factored)) > _NEW))
        if not new:  # nothing but rounding, which these rows improve
            self._keep(taken, rows)
            self._fold()
            self.basis, self.factors = self.space.nulls()
        else:
            chosen = order[:new] - 1
            self._keep(np.unique(taken[chosen // each]), np.asfortranarray(rows[chosen]))
            square = np.zeros((width, width), order="F")
            square[:, : min(seen.shape)] = factored[:, : min(seen.shape)]
            whole = lapack.dorgqr(square, np.append(scales, np.zeros(width - len(scales))), lwork=64 * width)[0]
            self.basis = self.basis @ whole[:, new:]
        return pending
