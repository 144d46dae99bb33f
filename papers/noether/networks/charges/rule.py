"""The learning rule as the charges see it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from papers.common.optimisers import OPTIMISERS, Optimiser
from papers.noether.networks.charges.families import Families
from symjax.watch import Descent, watch


class Rule(NamedTuple):
    """The learning rule, every number possibly traced: the schedule, momentum, decay, whether norms are fixed."""

    schedule: Callable[[jax.Array], jax.Array]
    momentum: Any
    weight_decay: Any
    fixed: Any
    optimiser: Optimiser = OPTIMISERS["sgd"]

    def law(self, found: Families) -> Descent | None:
        """The rule whose laws are exact, with the filters' norms set back where they are fixed; None for any other."""
        if self.optimiser.law is None:
            return None
        law = self.optimiser.law(self.schedule, self.momentum, self.weight_decay)
        return law._replace(fixed={name: name == "filter" and self.fixed for name in found.symmetry.zero})

    def watched(self, found: Families) -> Any:
        """The rule as an optax transformation that watches the charges of a network."""
        inner = self.optimiser.build(self.schedule, self.momentum, self.weight_decay)
        return watch(inner, found.symmetry, self.law(found), found.form, between="nothing")
