"""PyTorch's stochastic gradient descent, put together from optax's parts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Schedule = Callable[[jax.Array], jax.Array]


def step_schedule(learning_rate: jax.Array | float, drops: tuple[int, ...] = (), factor: float = 0.1) -> Schedule:
    """Learning rate multiplied by ``factor`` at each listed step (PyTorch's MultiStepLR, counted in steps).

    ``eta_n = eta factor^(number of drops <= n)``.

    Args:
      learning_rate: ``eta``, may be traced.
      drops: steps from which the next factor holds.
      factor: the factor.

    Returns:
      A function of the step, usable in optax and under jit.
    """

    def schedule(step: jax.Array) -> jax.Array:
        dtype = jnp.result_type(float)
        passed = sum((jnp.zeros((), dtype), *((step >= drop).astype(dtype) for drop in drops)))
        return jnp.asarray(learning_rate, dtype) * jnp.asarray(factor, dtype) ** passed

    return schedule


class BufferState(NamedTuple):
    """Momentum buffer ``v`` and the number of updates made."""

    trace: Any
    count: jax.Array


def dampened_trace(decay: jax.Array | float, dampening: jax.Array | float, nesterov: bool) -> Any:
    """Momentum as PyTorch has it with dampening: ``v = beta v + (1 - delta) g``, the first undamped, ``v_1 = g``.

    At ``beta = 0`` PyTorch keeps no buffer, and dampening has no effect.

    Source: the algorithm printed in the documentation of ``torch.optim.SGD``.
    """

    def init(params: Any) -> BufferState:
        return BufferState(jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: BufferState, params: Any = None) -> tuple[Any, BufferState]:
        del params
        weight = jnp.where((state.count == 0) | (jnp.asarray(decay) == 0), 1.0, 1.0 - dampening)
        buffer = jax.tree.map(lambda v, g: decay * v + weight.astype(g.dtype) * g, state.trace, updates)
        moved = jax.tree.map(lambda v, g: g + decay * v, buffer, updates) if nesterov else buffer
        return moved, BufferState(buffer, state.count + 1)

    return optax.GradientTransformation(init, update)


def sgd(
    learning_rate: Schedule | jax.Array | float,
    momentum: jax.Array | float = 0.0,
    weight_decay: jax.Array | float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> Any:
    """Stochastic gradient descent with PyTorch's conventions.

    ``v = beta v + (1 - delta) (g + k q)``, ``q -= eta v``: the decay enters the gradient before the momentum, acts on
    every parameter, and the learning rate multiplies the buffer, so that a drop acts at once. With Nesterov's momentum
    the step is ``g + k q + beta v``.

    Source: Tanaka & Kunin 2021, section 4.1 (experiments in PyTorch); ``torch.optim.SGD``.
    Deviation: ``optax.sgd`` has no decay; decay added after it would be decoupled and break every discrete law.

    Args:
      learning_rate: ``eta``, a number (may be traced) or a function of the step.
      momentum: ``beta``, may be traced.
      weight_decay: ``k``, may be traced.
      dampening: ``delta``.
      nesterov: static.

    Returns:
      An ``optax.GradientTransformation``; :func:`momentum_buffer` reads ``v`` from its state.
    """
    schedule = learning_rate if callable(learning_rate) else step_schedule(learning_rate)
    undamped = isinstance(dampening, float | int) and dampening == 0
    trace = optax.trace(momentum, nesterov) if undamped else dampened_trace(momentum, dampening, nesterov)
    return optax.chain(optax.add_decayed_weights(weight_decay), trace, optax.scale_by_learning_rate(schedule))


def momentum_buffer(state: Any) -> Any:
    """Momentum buffer ``v_{n+1}`` in the state of :func:`sgd` after an update, a pytree like the parameters."""
    return state[1].trace
