"""The learning rule: rate, gate of the invariance loss, and one pure training step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from papers.common.training import TrainState, cross_entropy
from papers.common.training.optimiser import Schedule
from papers.relu_equivariance.networks.kinds import Kind
from papers.relu_equivariance.networks.tied import expand
from symjax.equivariance import invariance_error

LATE = 5
"""The late invariance loss begins after one part in so many of the steps."""


def warm_up_and_decay(peak: float, warm_up: int, total: int) -> Schedule:
    """Rise linearly from 0 to the peak, then fall linearly to 0, step by step.

    ``eta_n = peak min(n / warm_up, (total - n) / (total - warm_up))``

    Source: the notebooks of Jordan et al. 2022, REPAIR, which the authors follow.

    Args:
        peak: the largest rate.
        warm_up: the step that has it; 0 begins with it.
        total: the step that has rate 0 again.

    >>> rate = warm_up_and_decay(0.08, 500, 10_000)
    >>> [round(float(rate(jnp.asarray(step))), 3) for step in (0, 250, 500, 10_000)]
    [0.0, 0.04, 0.08, 0.0]
    """

    def schedule(step: jax.Array) -> jax.Array:
        now = jnp.asarray(step, jnp.result_type(float))
        falling = (total - now) / (total - warm_up)
        return peak * (jnp.minimum(now / warm_up, falling) if warm_up else falling)

    return schedule


def gate(kind: Kind, step: jax.Array, total: int) -> jax.Array:
    """Whether the invariance loss counts at a step: never, always, or from a fifth of all steps on."""
    late = LATE * step >= total
    return {"never": jnp.zeros_like(late), "always": jnp.ones_like(late), "late": late}[kind.invariance]


def training_step(
    model: Any,
    kind: Kind,
    optimiser: Any,
    prepare: Callable[[jax.Array, jax.Array], jax.Array],
    weight: Callable[[jax.Array], jax.Array],
    decay: float,
    centred: bool = False,
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Build the pure step of :func:`papers.common.training.fit` for a kind of network.

    The loss is the cross-entropy of the images as they were drawn, plus ``weight`` times the mean invariance error. The
    gradient is taken, and the decay added, in the expanded parameters, and both are pulled back to the tied ones.

    Args:
        model: the plain network.
        kind: says how many layers are tied, and whether there is an invariance loss.
        optimiser: of the tied parameters, an optax transformation without decay.
        prepare: ``prepare(key, uint8 images) -> float images``.
        weight: of the invariance loss at a step.
        decay: weight decay of the expanded parameters.
        centred: whether the invariance error is of logits less their mean over the classes.
    """

    def objective(params: Any, images: jax.Array, labels: jax.Array, weight: jax.Array) -> Any:
        if kind.invariance == "never":
            logits, error = model.apply({"params": params}, images), jnp.zeros((), jnp.float32)
        else:
            both = model.apply({"params": params}, jnp.concatenate([images, images[:, :, ::-1]]))
            logits, mirrored = jnp.split(both, 2)
            error = invariance_error(logits, mirrored, centred=centred).mean()
        accuracy = (logits.argmax(-1) == labels).mean(dtype=jnp.float32)
        return cross_entropy(logits, labels) + weight * error, (accuracy, error)

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        images = prepare(jax.random.fold_in(state.key, state.step), batch[0])
        params, pull = jax.vjp(partial(expand, equivariant=kind.equivariant), state.params)
        (loss, (accuracy, error)), gradient = jax.value_and_grad(objective, has_aux=True)(
            params, images, batch[1], weight(state.step)
        )
        (decayed,) = pull(jax.tree.map(lambda g, q: g + decay * q, gradient, params))
        updates, moved = optimiser.update(decayed, state.optimiser, state.params)
        state = state._replace(step=state.step + 1, params=optax.apply_updates(state.params, updates), optimiser=moved)
        found = {"loss": loss, "accuracy": accuracy}
        return state, found if kind.invariance == "never" else found | {"invariance_error": error}

    return step
