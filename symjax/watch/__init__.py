"""Every charge, at every step, in anybody's training loop: an optax optimiser that measures and predicts.

:func:`watch` wraps the user's own optimiser; nothing else of the loop changes, and the updates are the optimiser's own
bits. Its state holds, for every coordinate of a symmetry, what gradient flow conserves (the charge Q), what it is now,
what a step did to it, and what an exact law of the discrete update predicts. For a linear generator M and an update
``theta -> theta + d``

    Q(theta + d) - Q(theta) = <M theta, d> + Q(d),     Q = <theta, M theta>/2 with M symmetric,
                            = <d, n>,                  Q = <theta, n> of a translation along n,

whatever the optimiser: an identity, split by order. In gradient descent the first order vanishes with the symmetry;
Adam's does not, and is shown instead of being mistaken for an error. For stochastic gradient descent
(:class:`Descent`) the recursions of :mod:`symjax.mechanics.discrete` predict Q from the rule itself.
"""

from symjax.watch.charges import Charges
from symjax.watch.descent import Descent
from symjax.watch.transformation import WatchState, watch

__all__ = ["Charges", "Descent", "WatchState", "watch"]
