"""Gradient descent: full batch or minibatches, constant or scheduled rates, with jumps along the way."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from symjax.arguments import floating_array
from symjax.integrate.march import Gradient, Params, Path, Record, like_parameters, march, moved, slope, whole_steps

Schedule = Callable[[jax.Array], ArrayLike]


def gradient_descent(
    gradient: Gradient,
    start: Params,
    *,
    learning_rate: ArrayLike | Schedule,
    steps: Sequence[int] | ArrayLike,
    record: Record = lambda params: params,
    batches: Any = None,
    key: jax.Array | None = None,
    jump: Callable[[Params], Params] | None = None,
    jump_at: Sequence[int] = (),
) -> Path:
    """Descend the gradient and record quantities before the first step and after others.

    ``theta <- theta - eta_t grad L_t(theta)``, steps t from 0; with a constant rate and the full batch compared with
    gradient flow at time ``eta t``. The loops are compiled, the gradient must be traceable; under an own jit, with
    ``steps`` traced, one program serves every schedule of the same number of records. Each step recorded is cheap where
    ``record`` shares its work with the gradient.

    Source: Zhao et al. 2023, section 4 and appendix (experiments by gradient descent); jumps along an orbit are the
    teleportation of Zhao et al. 2022, Symmetry teleportation for accelerated optimization.

    Args:
      gradient: from parameters to a pytree like them; ``gradient(params, batch)`` with ``batches``,
        ``gradient(params, key)`` with a ``key``, ``gradient(params, batch, key)`` with both.
      start: theta at step 0, any pytree of floating arrays; integers are promoted. The dtypes are kept, the arithmetic
        of a step is in float32 at least.
      learning_rate: eta, a scalar, or a function from the step t, an integer, to one.
      steps: at which to record, increasing integers (records,), 0 for the start; the last one ends the path.
      record: from parameters to any pytree of arrays or numbers; the parameters themselves by default.
      batches: a pytree whose leaves have a leading axis of B batches; step t takes number ``t mod B``, in this order.
        The full batch at every step if not given.
      key: of the noise in the gradient; step t gets ``jax.random.fold_in(key, t)``.
      jump: from parameters to a pytree like them, applied before the steps ``jump_at``. What is recorded at such a step
        is before the jump. Under vmap it is computed at every step.
      jump_at: increasing integers from 0 on, each below the last of ``steps``.

    Returns:
      A :class:`Path`. A path that diverges is told by ``finite`` and goes on without an error.

    Raises:
      ValueError: concrete ``steps`` or ``jump_at`` that do not increase from 0 on, a jump that never happens, a
        learning rate that is not a scalar, batches of different numbers, a gradient or jump unlike the parameters.

    Example:
      >>> path = gradient_descent(lambda q: q, jnp.array(1.0), learning_rate=0.5, steps=(0, 1, 3))
      >>> print(path.recorded, path.params)
      [1. 0.5 0.125] 0.125

      Two batches in turn, and a rate that falls:

      >>> path = gradient_descent(
      ...     lambda q, x: q - x, 0.0, learning_rate=lambda t: 1 / (t + 1), steps=(1, 2), batches=jnp.array([4.0, 8.0])
      ... )
      >>> print(path.recorded)
      [4. 6.]

      A jump before the second step, here a change of sign; on an orbit ``lambda q: orbits.ascend(...).params``:

      >>> path = gradient_descent(
      ...     lambda q: q, 1.0, learning_rate=0.5, steps=(0, 1, 2), jump=lambda q: -q, jump_at=(1,)
      ... )
      >>> print(path.recorded)
      [ 1.    0.5  -0.25]
    """
    rate = _rate(learning_rate)
    batch = _batch(batches)
    leaps = _jumps(jump, jump_at, steps)

    def update(params: Params, step: Any) -> Params:
        if jump is not None:
            here = jnp.any(leaps == step)
            params = lax.cond(here, lambda q: like_parameters("jump", jump(q), q), lambda q: q, params)
        given = [] if batches is None else [batch(step)]
        given += [] if key is None else [jax.random.fold_in(key, step)]
        return moved(params, slope(gradient, params, *given), rate(step))

    return march(update, start, steps, record)


def _rate(learning_rate: Any) -> Callable[[Any], jax.Array]:
    if callable(learning_rate):
        return lambda step: floating_array("the learning rate of a step", learning_rate(step), ())
    constant = floating_array("learning_rate", learning_rate, ())
    return lambda _: constant


def _batch(batches: Any) -> Callable[[Any], Any]:
    """From a step to its batch."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(batches)]
    counts = sorted({leaf.shape[:1] for leaf in leaves})
    if batches is not None and (len(counts) != 1 or counts[0] in ((), (0,))):
        raise ValueError(f"batches has leading axes {counts}, but must have one number of batches, at least one")

    def take(step: Any) -> Any:
        picked = [lax.dynamic_index_in_dim(leaf, step % counts[0][0], keepdims=False) for leaf in leaves]
        return jax.tree.unflatten(jax.tree.structure(batches), picked)

    return take


def _jumps(jump: Any, jump_at: Any, steps: Any) -> jax.Array | None:
    if jump is None and np.size(jump_at) == 0:
        return None
    if jump is None or np.size(jump_at) == 0:
        raise ValueError("jump and jump_at go together, but only one of them is given")
    whole_steps("jump_at", jump_at)
    if not isinstance(steps, jax.core.Tracer) and np.max(jump_at) >= np.max(steps):
        raise ValueError(f"jump_at ends with {np.max(jump_at)}, but the path ends at step {np.max(steps)}")
    return jnp.asarray(jump_at)
