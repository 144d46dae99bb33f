"""Networks brought into each other's order, by the symmetries traced; merged, and the barrier between them.

* :func:`match`: every class of units of one network against another's, in its own group; :func:`aligned` applies it,
  :func:`merge` interpolates.
* :func:`match_group`, :func:`aligned_group`, :func:`merge_group`: a network against its images under a finite group, by
  an action of it.
* :func:`barrier` with its bootstrap interval; :func:`highest_barrier` along the line.
* :func:`cycles`: is a matching with the flipped self an involution?
* :func:`assign`, :func:`assign_signed`, :func:`assign_orthogonal`, :func:`assign_involution`: the assignments alone;
  :func:`assign_homomorphism` for a group, :func:`homomorphism_defect` of what obeys no law.
* :func:`correlation` of :class:`Moments`, which :func:`cross_moments` streams for all layers in one pass.
"""

from symjax.matching.assignment import (
    Assignment,
    assign,
    assign_involution,
    assign_orthogonal,
    assign_signed,
)
from symjax.matching.barriers import Barrier, barrier, highest_barrier
from symjax.matching.cycles import Cycles, cycles
from symjax.matching.group import GroupMatching, aligned_group, match_group, merge_group
from symjax.matching.homomorphism import Action, assign_homomorphism, homomorphism_defect
from symjax.matching.match import match
from symjax.matching.matched import Matching, aligned, merge
from symjax.matching.moments import Moments, cross_moments
from symjax.matching.score import correlation
from symjax.matching.sites import reads

__all__ = [
    "Action",
    "Assignment",
    "Barrier",
    "Cycles",
    "GroupMatching",
    "Matching",
    "Moments",
    "aligned",
    "aligned_group",
    "assign",
    "assign_homomorphism",
    "assign_involution",
    "assign_orthogonal",
    "assign_signed",
    "barrier",
    "correlation",
    "cross_moments",
    "cycles",
    "highest_barrier",
    "homomorphism_defect",
    "match",
    "match_group",
    "merge",
    "merge_group",
    "reads",
]
