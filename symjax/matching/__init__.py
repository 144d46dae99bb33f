"""Networks brought into each other's order, by the symmetries traced; merged, and the barrier between them.

* :func:`match`: every class of units of one network against another's, in its own group; :func:`aligned` applies it,
  :func:`merge` interpolates.
* :func:`cycles`: is a matching with the flipped self an involution?
* :func:`assign`, :func:`assign_signed`, :func:`assign_orthogonal`, :func:`assign_involution`: the assignments alone.
* :func:`correlation` of :class:`Moments`, which :func:`cross_moments` streams for all layers in one pass.
"""

from symjax.matching.assignment import (
    Assignment,
    assign,
    assign_involution,
    assign_orthogonal,
    assign_signed,
)
from symjax.matching.cycles import Cycles, cycles
from symjax.matching.match import Matching, aligned, match, merge
from symjax.matching.moments import Moments, cross_moments
from symjax.matching.score import correlation
from symjax.matching.sites import reads

__all__ = [
    "Assignment",
    "Cycles",
    "Matching",
    "Moments",
    "aligned",
    "assign",
    "assign_involution",
    "assign_orthogonal",
    "assign_signed",
    "correlation",
    "cross_moments",
    "cycles",
    "match",
    "merge",
    "reads",
]
