"""Gradient descent with batches, keys, schedules and jumps against plain NumPy loops; what comes in at the door."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.integrate import adaptive, gradient_descent, rk4

RATE = 0.1
BATCHES = np.random.default_rng(0).normal(size=(3, 4, 2))  # three batches of four points


@pytest.fixture(autouse=True)
def promotion_as_users_have_it() -> Iterator[None]:
    """A schedule divides by the step, an integer."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def toward(q: jax.Array, batch: jax.Array) -> jax.Array:
    return q - jnp.mean(batch, axis=0)


def by_numpy(
    start: np.ndarray, count: int, rate: Any, gradient: Any, jump: Any = None, at: tuple[int, ...] = ()
) -> Any:
    """Every state of a path, the start's first; a state is before the jump at its step."""
    q, states = np.asarray(start, float), []
    for step in range(count + 1):
        states.append(q)
        if step in at:
            q = jump(q)
        q = q - rate(step) * gradient(q, step)
    return np.stack(states)


def test_batches_come_in_turn() -> None:
    steps = (0, 1, 2, 5, 9)
    path = gradient_descent(toward, jnp.ones(2), learning_rate=RATE, steps=steps, batches=jnp.asarray(BATCHES))
    known = by_numpy(np.ones(2), 9, lambda t: RATE, lambda q, t: q - BATCHES[t % 3].mean(axis=0))
    np.testing.assert_allclose(path.recorded, known[list(steps)], rtol=1e-13)


def test_batches_are_any_pytree() -> None:
    x, y = BATCHES[..., 0], BATCHES[..., 1]

    def gradient(q: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
        return jnp.mean((batch["x"] * q - batch["y"]) * batch["x"])

    path = gradient_descent(gradient, 1.0, learning_rate=RATE, steps=(7,), batches={"x": x, "y": y})
    known = by_numpy(1.0, 7, lambda t: RATE, lambda q, t: np.mean((x[t % 3] * q - y[t % 3]) * x[t % 3]))
    np.testing.assert_allclose(path.params, known[7], rtol=1e-13)


def test_a_schedule_of_the_rate() -> None:
    path = gradient_descent(lambda q: q, jnp.ones(2), learning_rate=lambda t: 0.5 / (1 + t), steps=(0, 2, 4, 6))
    known = by_numpy(np.ones(2), 6, lambda t: 0.5 / (1 + t), lambda q, t: q)
    np.testing.assert_allclose(path.recorded, known[::2], rtol=1e-13)


def test_the_key_of_a_step_is_folded_from_its_number() -> None:
    def gradient(q: jax.Array, key: jax.Array) -> jax.Array:
        return q + jax.random.normal(key, q.shape, q.dtype)

    key = jax.random.key(3)
    noise = [np.asarray(jax.random.normal(jax.random.fold_in(key, t), (2,), jnp.float64)) for t in range(6)]
    known = by_numpy(np.ones(2), 5, lambda t: RATE, lambda q, t: q + noise[t])
    for steps in ((5,), (0, 2, 5), (0, 1, 2, 3, 4, 5)):  # however the path is cut
        path = gradient_descent(gradient, jnp.ones(2), learning_rate=RATE, steps=steps, key=key)
        np.testing.assert_allclose(path.recorded, known[list(steps)], rtol=1e-13)


def test_a_batch_and_a_key_together() -> None:
    def gradient(q: jax.Array, batch: jax.Array, key: jax.Array) -> jax.Array:
        return toward(q, batch) + jax.random.normal(key, q.shape, q.dtype)

    key = jax.random.key(1)
    noise = [np.asarray(jax.random.normal(jax.random.fold_in(key, t), (2,), jnp.float64)) for t in range(5)]
    known = by_numpy(np.ones(2), 4, lambda t: RATE, lambda q, t: q - BATCHES[t % 3].mean(axis=0) + noise[t])
    path = gradient_descent(gradient, np.ones(2), learning_rate=RATE, steps=(0, 4), batches=BATCHES, key=key)
    np.testing.assert_allclose(path.params, known[4], rtol=1e-13)


def test_jumps_come_before_their_steps_and_after_the_record() -> None:
    def jump(q: Any) -> Any:
        return q[::-1] * 2

    steps = (0, 2, 3, 7)
    path = gradient_descent(
        lambda q: q * jnp.arange(2),
        jnp.array([1.0, 3.0]),
        learning_rate=RATE,
        steps=steps,
        jump=jump,
        jump_at=(0, 2, 6),
    )
    known = by_numpy(np.array([1.0, 3.0]), 7, lambda t: RATE, lambda q, t: q * np.arange(2), jump, (0, 2, 6))
    np.testing.assert_allclose(path.recorded, known[list(steps)], rtol=1e-13)


def test_everything_under_jit_vmap_and_traced_steps() -> None:
    @jax.jit
    def run(starts: jax.Array, steps: jax.Array) -> jax.Array:
        def one(q: jax.Array) -> jax.Array:
            return gradient_descent(
                toward,
                q,
                learning_rate=lambda t: RATE / (1 + t),
                steps=steps,
                batches=jnp.asarray(BATCHES),
                jump=lambda q: -q,
                jump_at=(1,),
            ).recorded

        return jax.vmap(one)(starts)

    starts = np.random.default_rng(1).normal(size=(3, 2))
    for steps in ((0, 2, 5), (1, 3, 4)):
        found = run(jnp.asarray(starts), jnp.asarray(steps))
        for start, path in zip(starts, found, strict=True):
            known = by_numpy(
                start, 5, lambda t: RATE / (1 + t), lambda q, t: q - BATCHES[t % 3].mean(axis=0), lambda q: -q, (1,)
            )
            np.testing.assert_allclose(path, known[list(steps)], rtol=1e-12)


def test_a_gradient_that_reads_what_has_changed_is_read_again() -> None:
    target = [1.0]

    def gradient(q: jax.Array) -> jax.Array:
        return q - target[0]

    for value in (1.0, 5.0):
        target[0] = value
        for path in (
            gradient_descent(gradient, 0.0, learning_rate=0.5, steps=(0, 60)),
            rk4(gradient, 0.0, step_size=0.5, steps=(0, 60)),
            adaptive(gradient, 0.0, times=[0, 30]),
        ):
            np.testing.assert_allclose(path.params, value, rtol=1e-8)


# Types at the door


@pytest.mark.parametrize("start", [jnp.array([10, 20]), np.array([10, 20]), [10, 20.0]])
def test_integers_are_promoted(start: Any) -> None:
    start = jnp.asarray(start) if isinstance(start, list) else start
    powers = np.array([10.0, 20.0])
    path = gradient_descent(lambda q: q, start, learning_rate=0.5, steps=(0, 3))
    np.testing.assert_allclose(path.params, powers / 8, rtol=1e-13)
    taylor = 1 - 0.5 + 0.5**2 / 2 - 0.5**3 / 6 + 0.5**4 / 24
    np.testing.assert_allclose(rk4(lambda q: q, start, step_size=0.5, steps=[1]).params, powers * taylor, rtol=1e-13)
    np.testing.assert_allclose(adaptive(lambda q: q, start, times=[0, 1]).params, powers / np.e, rtol=1e-8)


def test_lists_numbers_and_an_integer_rate() -> None:
    path = gradient_descent(lambda q: [q[0], q[1] - 1], [1, 2.0], learning_rate=1, steps=[0, 1])
    assert [float(leaf) for leaf in path.params] == [0, 1]
    mixed = {"a": jnp.ones(2, jnp.float32), "b": 2.0}
    found = adaptive(lambda q: q, mixed, times=[0.0, 1.0]).params
    np.testing.assert_allclose(found["b"], 2 / np.e, rtol=1e-8)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_keeps_its_dtype_and_steps_in_float32(dtype: Any) -> None:
    """The gradient may be of another dtype; a step is rounded once, to the nearest."""
    start = jnp.asarray([1.0, 3.0], dtype)
    path = gradient_descent(lambda q: q.astype(jnp.float32) / 3, start, learning_rate=0.3, steps=(0, 1))
    once = np.asarray(start, np.float32)
    once = jnp.asarray(once - np.float32(0.3) * (once / np.float32(3)), dtype)
    assert path.params.dtype == dtype
    np.testing.assert_array_equal(np.asarray(path.params, float), np.asarray(once, float))
    assert rk4(lambda q: q, start, step_size=0.1, steps=(1,)).params.dtype == dtype


def test_records_may_be_numbers_counts_flags_or_nothing() -> None:
    def record(q: jax.Array) -> Any:
        return {"half": 0.5, "count": q.size, "above": q > 0.9, "q": q}

    path = gradient_descent(lambda q: q, jnp.ones(2), learning_rate=0.1, steps=(0, 2), record=record)
    np.testing.assert_array_equal(path.recorded["half"], [0.5, 0.5])
    np.testing.assert_array_equal(path.recorded["count"], [2, 2])
    np.testing.assert_array_equal(path.recorded["above"], [[True, True], [False, False]])
    assert path.finite.tolist() == [True, True]
    flow = adaptive(lambda q: q, jnp.ones(2), times=[0, 1], record=record)
    np.testing.assert_array_equal(flow.recorded["half"], [0.5, 0.5])
    silent = gradient_descent(lambda q: q, jnp.ones(2), learning_rate=0.1, steps=(0, 2), record=lambda q: None)
    assert silent.recorded is None and silent.finite.all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rate": "fast"}, "learning_rate is 'fast', but must be an array of real numbers"),
        ({"learning_rate": True}, "learning_rate is True"),
        ({"learning_rate": lambda t: jnp.ones(2)}, "the learning rate of a step has shape"),
        ({"gradient": lambda q: q[:1]}, "gradient gives"),
        ({"gradient": lambda q: {"q": q}}, "gradient gives"),
        ({"start": "here"}, "start is 'here'"),
        ({"start": jnp.ones(2, bool)}, "start is an array of dtype bool"),
        ({"steps": "all"}, "steps are all, but must be a list"),
        ({"steps": (0, 2**70)}, "steps are"),
        ({"record": lambda q: "now"}, "record gives a str"),
        ({"jump": lambda q: q}, "jump and jump_at go together"),
        ({"jump_at": (1,)}, "jump and jump_at go together"),
        ({"jump": lambda q: q, "jump_at": (2,)}, "jump_at ends with 2, but the path ends at step 2"),
        ({"jump": lambda q: q, "jump_at": (1, 0)}, "jump_at are"),
        ({"jump": lambda q: q[:1], "jump_at": (1,)}, "jump gives"),
        ({"batches": jnp.ones((0, 2))}, "batches has leading axes"),
        ({"batches": {"x": jnp.ones((2, 2)), "y": jnp.ones(3)}}, "batches has leading axes"),
        ({"batches": 1.0}, "batches has leading axes"),
    ],
)
def test_bad_input_is_told_in_one_sentence(options: dict[str, Any], words: str) -> None:
    given = {"gradient": lambda q, *_: q, "start": jnp.ones(2), "learning_rate": 0.1, "steps": (0, 2)} | options
    gradient, start = given.pop("gradient"), given.pop("start")
    with pytest.raises(ValueError, match=words) as told:
        gradient_descent(gradient, start, **given)
    assert "\n" not in str(told.value)


def test_steps_that_cannot_be_counted_are_refused() -> None:
    with jax.enable_x64(False), pytest.raises(ValueError, match="at most 2147483647 can be counted"):
        gradient_descent(lambda q: q, 1.0, learning_rate=0.1, steps=(0, 3_000_000_000))
