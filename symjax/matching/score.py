"""Scores of pairs of units of one class, and the best element of the class's own group for them."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from symjax.channels import Channel
from symjax.matching.assignment import Assignment, assign, assign_involution, assign_orthogonal
from symjax.matching.moments import Moments
from symjax.matching.sites import Read

__all__ = ["Constraint", "Group", "Score", "correlation", "dead_units", "group_of", "solve"]

Constraint = Literal["none", "involution"]
Kind = Literal["permutation", "signed", "orthogonal"]


class Group(NamedTuple):
    """What acts on a class in a matching.

    Attributes:
      kind: permutations, with signs, or orthogonal matrices.
      parts: names of the channel's signs, or of its linear group; none for permutations.
      over: the batch indices on which the element depends.
      negated: for each sign the numbers of the places that it negates; no place is negated by two.
    """

    kind: Kind
    parts: tuple[str, ...]
    over: tuple[int, ...]
    negated: tuple[frozenset[int], ...] = ()


class Score(NamedTuple):
    """Scores of pairs (batch, units, batch, units): what signs leave, and (signs, ...) what each of them negates."""

    plain: np.ndarray
    signed: np.ndarray

    def block(self, first: int, second: int) -> "Score":
        """Of one setting of the first network's batch indices against one of the second's."""
        return Score(self.plain[first, :, second], self.signed[:, first, :, second])


def group_of(channel: Channel, reads: Sequence[Read]) -> Group:
    """The group in which a channel's units are matched.

    Matrices where the channel has a linear group, by its orthogonal elements; signs where one of its signs, or several
    (each LayerNorm that reads a stream has one), negate what readers multiply; permutations else. A sign that no reader
    shows (of a unit whose absolute value is taken, of a kernel and the gain behind it) is left as it is, and so is one
    sign of all units together.

    Source: this library's own.
    """
    every = tuple(range(len(channel.batch)))
    for mixing in channel.mixings:
        over = every if mixing.over is None else tuple(i % len(every) for i in mixing.over)
        if channel.size > 1 and over in ((), every):
            return Group("orthogonal", (mixing.name,), over)
    negated: dict[str, frozenset[int]] = {}
    for sign in channel.signs:
        if tuple(i % (len(every) + 1) for i in sign.over) == (len(every),):
            paths = {site.path for site in sign.sites}
            here = frozenset(number for number, read in enumerate(reads) if read.reader in paths)
            if here and not any(here & there for there in negated.values()):
                negated[sign.name] = here
    if negated:
        return Group("signed", tuple(negated), (), tuple(negated.values()))
    whole = all(None not in (site.batch or (None,) * len(every)) for site in channel.sites)
    return Group("permutation", (), every if every and whole else ())


def correlation(moments: Moments, epsilon: float = 0.0, rigid: bool = False) -> np.ndarray:
    """Correlations ``cov_ij / (sd_i sd'_j + epsilon)`` of the units of two networks; 0 for a dead unit.

    Source: Li et al. 2015; Bökman & Kahl 2023 (with epsilon 1e-4, which the scale of the units then enters).
      Deviation: the default is 0, so that positive scales of the units change nothing.

    Args:
      moments: of the two networks.
      epsilon: added to the product of the deviations.
      rigid: divide by the whole spread of either network instead of unit by unit, as matrices need.

    Returns:
      An array (n, n), float64.

    Example:
      >>> import numpy as np
      >>> print(correlation(Moments(*np.zeros((2, 1)), np.ones(1), np.full(1, 4.0), np.full((1, 1), -2.0))))
      [[-1.]]
    """
    variances = [np.clip(variance, 0.0, None) for variance in (moments.variance_a, moments.variance_b)]
    if rigid:
        total = np.sqrt(variances[0].sum() * variances[1].sum()) + epsilon
        return moments.covariance / total if total > 0 else np.zeros_like(moments.covariance)
    alive = [~dead_units(mean, var) for mean, var in zip(moments[:2], variances, strict=True)]
    product = np.sqrt(variances[0])[:, None] * np.sqrt(variances[1])[None, :] + epsilon
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(alive[0][:, None] & alive[1][None, :], moments.covariance / product, 0.0)


def dead_units(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Units that say the same on every sample, up to rounding."""
    return variance <= (1e-6 * np.abs(mean)) ** 2


def solve(score: Score, group: Group, constraint: Constraint = "none") -> Assignment:
    """The best element for scores (n, n) of one setting of the batch indices."""
    if group.kind == "orthogonal":
        return assign_orthogonal(score.plain)
    if group.kind == "signed":
        both = score.plain + np.abs(score.signed).sum(0)
        best = _assigned(both, constraint)
        matched = score.signed[:, np.arange(len(both)), best.element]
        return best._replace(signs=np.where(matched < 0, -1.0, 1.0))
    return _assigned(score.plain, constraint)


def _assigned(scores: Any, constraint: Constraint) -> Assignment:
    return assign_involution(scores) if constraint == "involution" else assign(scores)
