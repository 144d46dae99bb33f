"""All students of a width trained at once to their teachers' values and to invariance."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from papers.relu_equivariance.invariant_mlps.networks import BOX, INPUTS, apply

TEST_POINTS = 2000


def train(
    students: Any, teachers: Any, times: Sequence[int], rate: float, batch: int, weight: float, key: jax.Array
) -> list[tuple[Any, jax.Array]]:
    """Train by Adam on fresh signals, the step size falling linearly to 0.

    ``mean (f(x) - t(x))^2 + mean (f(g x) - t(x))^2 + weight mean (f(x) - f(g x))^2``, over the variance of t.

    Args:
      students: variables with two leading axes (teachers, students).
      teachers: variables with a leading axis (teachers,).
      times: steps after which the parameters are kept, rising; the last ends the training.
      rate: first step size.
      batch: points a step.
      weight: of the invariance.
      key: of the points.

    Returns:
      For each time the variables, and the mean squared error of the values over the variance of t (teachers, students).
    """
    optimiser = optax.scale_by_adam()
    test = points(jax.random.fold_in(key, 0), TEST_POINTS)
    spread = jax.vmap(lambda t: jnp.var(apply(t, test)))(teachers)

    def objective(student: Any, teacher: Any, spread: jax.Array, x: jax.Array) -> jax.Array:
        values, mirrored, wanted = (apply(v, at) for v, at in ((student, x), (student, x[:, ::-1]), (teacher, x)))
        fit = jnp.mean((values - wanted) ** 2) + jnp.mean((mirrored - wanted) ** 2)
        return (fit + weight * jnp.mean((values - mirrored) ** 2)) / spread

    def each(function: Any) -> Any:
        return jax.vmap(jax.vmap(function, (0, None, None, None)), (0, 0, 0, None))

    @partial(jax.jit, static_argnums=3)
    def advance(students: Any, state: Any, start: jax.Array, count: int) -> Any:
        def step(carried: Any, now: jax.Array) -> tuple[Any, None]:
            students, state = carried
            x = points(jax.random.fold_in(key, 1 + now), batch)
            gradient = each(jax.grad(objective))(students, teachers, spread, x)
            updates, state = optimiser.update(gradient, state)
            eta = rate * (1 - now / times[-1])
            return (jax.tree.map(lambda q, u: q - eta * u, students, updates), state), None

        return jax.lax.scan(step, (students, state), start + jnp.arange(count))[0]

    def misfit(student: Any, teacher: Any, spread: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.mean((apply(student, x) - apply(teacher, x)) ** 2) / spread

    look, state, now, kept = jax.jit(each(misfit)), optimiser.init(students), 0, []
    for time in times:
        if time > now:
            students, state = advance(students, state, jnp.asarray(now), time - now)
        now = time
        kept.append((students, look(students, teachers, spread, test)))
    return kept


def points(key: jax.Array, count: int) -> jax.Array:
    """Signals drawn uniformly from the box (count, 4)."""
    return jax.random.uniform(key, (count, INPUTS), float, -BOX, BOX)
