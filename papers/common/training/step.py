"""One pure training step of a classifier."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class TrainState(NamedTuple):
    """Everything a run needs to go on bit for bit.

    Attributes:
      step: updates made, int32.
      params: parameters.
      batch_stats: running statistics, an empty dict without BatchNorm.
      optimiser: state of the optimiser.
      key: the run's key; the key of a step is ``fold_in(key, step)``.
      monitor: what an observer carries along, an empty tuple without one.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    optimiser: Any
    key: jax.Array
    monitor: Any = ()


class Update(NamedTuple):
    """What an observer sees of one step, all from the same update.

    Attributes:
      step: ``n``.
      before: ``q_n``.
      gradient: ``g_n`` of the loss alone, without decay.
      optimiser: state of the optimiser after the update, holding ``v_{n+1}``.
      after: ``q_{n+1}`` before any constraint.
    """

    step: jax.Array
    before: Any
    gradient: Any
    optimiser: Any
    after: Any


Observer = Callable[[Any, Update], tuple[Any, Any, Mapping[str, jax.Array]]]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats: logits (batch, classes), labels (batch,) integers -> scalar, at least float32."""
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return optax.softmax_cross_entropy_with_integer_labels(wide, labels).mean()


def start(variables: Any, optimiser: Any, key: jax.Array, monitor: Any = ()) -> TrainState:
    """First state of a run from a model's variables ``{"params", "batch_stats"}``."""
    params = variables["params"]
    stats = variables.get("batch_stats", {})
    state = TrainState(jnp.zeros((), jnp.int32), params, stats, optimiser.init(params), key, monitor)
    # every leaf its own buffer: the driver donates the state, and a buffer can be given away once only
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)


def training_step(
    model: Any, optimiser: Any, prepare: Callable[[jax.Array, jax.Array], jax.Array], observe: Observer | None = None
) -> Callable[[TrainState, tuple[jax.Array, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
    """Build the pure function ``step(state, (images, labels)) -> (state, metrics)``.

    Args:
      model: a Flax module whose ``apply`` takes ``train``, with BatchNorm or dropout or neither.
      optimiser: an optax transformation.
      prepare: ``prepare(key, uint8 images) -> float images``, augmentation and normalisation.
      observe: ``observe(monitor, update) -> (monitor, params, metrics)``; it watches the update, may constrain the new
        parameters, and adds scalars to the step's metrics; None leaves all as it is.

    Returns:
      The step; metrics are the batch's mean loss in nats and its accuracy, float32 scalars, and the observer's.
    """

    def objective(params: Any, stats: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> Any:
        logits, moved = model.apply(
            {"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        accuracy = (logits.argmax(-1) == labels).mean(dtype=jnp.float32)
        return cross_entropy(logits, labels), (moved.get("batch_stats", {}), accuracy)

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        images, labels = batch
        augmentation, dropout = jax.random.split(jax.random.fold_in(state.key, state.step))
        inputs = prepare(augmentation, images)
        (loss, (stats, accuracy)), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.params, state.batch_stats, inputs, labels, dropout
        )
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params, monitor, metrics = optax.apply_updates(state.params, updates), state.monitor, {}
        if observe is not None:
            update = Update(state.step, state.params, gradient, optimiser_state, params)
            monitor, params, metrics = observe(monitor, update)
        state = TrainState(state.step + 1, params, stats, optimiser_state, state.key, monitor)
        return state, {"loss": loss, "accuracy": accuracy, **metrics}

    return step
