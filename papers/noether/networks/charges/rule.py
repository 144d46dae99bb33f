"""The learning rule as the charges see it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from papers.common.optimisers import OPTIMISERS, Optimiser


class Rule(NamedTuple):
    """The learning rule, every number possibly traced: the schedule, momentum, decay, whether norms are fixed."""

    schedule: Callable[[jax.Array], jax.Array]
    momentum: Any
    weight_decay: Any
    fixed: Any
    optimiser: Optimiser = OPTIMISERS["sgd"]

    def transformation(self) -> Any:
        """The rule as an optax transformation."""
        return self.optimiser.build(self.schedule, self.momentum, self.weight_decay)
