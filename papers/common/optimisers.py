"""The optimisers that a run chooses by name: one added here is offered by every command that trains.

Nothing heavy is imported before one is built, so that a command line knows the names.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple


class Optimiser(NamedTuple):
    """An optimiser of the registry.

    Attributes:
      build: ``build(learning_rate, momentum, weight_decay)``, an optax transformation; the rate is a function of the
        step, all numbers may be traced.
      law: ``law(learning_rate, momentum, weight_decay)``, the ``symjax.watch.Descent`` that the update is: the exact
        discrete laws belong to it. None for every other rule.
    """

    build: Callable[[Callable[[Any], Any], Any, Any], Any]
    law: Callable[[Callable[[Any], Any], Any, Any], Any] | None


def _sgd(learning_rate: Callable[[Any], Any], momentum: Any, weight_decay: Any) -> Any:
    from papers.common.training.optimiser import sgd

    return sgd(learning_rate, momentum, weight_decay)


def _descent(learning_rate: Callable[[Any], Any], momentum: Any, weight_decay: Any) -> Any:
    from symjax.watch import Descent

    return Descent(learning_rate, momentum, weight_decay)


def _adamw(learning_rate: Callable[[Any], Any], momentum: Any, weight_decay: Any) -> Any:
    """AdamW: decay outside the gradient, momentum its first rate, 0.999 the second.

    Source: Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, Algorithm 2, as ``torch.optim.AdamW``.
    """
    import optax

    return optax.chain(
        optax.scale_by_adam(b1=momentum, b2=0.999, eps=1e-8),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


OPTIMISERS: dict[str, Optimiser] = {
    "sgd": Optimiser(_sgd, _descent),
    "adamw": Optimiser(_adamw, None),
}

OptimiserName = Literal[tuple(OPTIMISERS)]
"""The names, as a command line offers them."""
