"""Translations and rotations: laws of a flow, closed forms, shapes and messages."""

import re
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from symjax.actions import rotate, skew, translate

DTYPES = [jnp.float64, jnp.float32]
seeds = st.integers(0, 2**32 - 1)
steps = st.floats(-2.0, 2.0)
dimensions = st.integers(1, 4)


def error(value: jax.Array, expected: jax.Array) -> float:
    """Largest difference, relative to the largest entry of what is expected."""
    value, expected = np.asarray(value, np.float64), np.asarray(expected, np.float64)
    assert value.shape == expected.shape
    return float(np.max(np.abs(value - expected)) / max(np.max(np.abs(expected)), 1e-300))


def sample(seed: int, dtype: jnp.dtype, *shapes: tuple[int, ...]) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds, axis=st.integers(-3, 2), a=steps, b=steps)
def test_translate_is_a_flow(
    tolerance: Callable[..., float], dtype: jnp.dtype, seed: int, axis: int, a: float, b: float
) -> None:
    shape = (2, 3, 4)
    s, kernel = sample(seed, dtype, tuple(np.delete(shape, axis)), shape)
    a, b = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    twice = translate(a * s, translate(b * s, kernel, axis), axis)
    assert jnp.array_equal(translate(0 * s, kernel, axis), kernel)
    assert error(translate((a + b) * s, kernel, axis), twice) < tolerance("law", dtype)
    assert error(translate(-a * s, translate(a * s, kernel, axis), axis), kernel) < tolerance("law", dtype) * 10
    assert (twice.shape, twice.dtype) == (kernel.shape, kernel.dtype)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_translate_adds_the_same_to_every_entry_of_the_axis(axis: int) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 4))
    s = rng.standard_normal(kernel.shape[1 - axis % 2])
    expected = kernel.copy()
    for i in range(3):
        for j in range(4):
            expected[i, j] += s[j] if axis == 0 else s[i]
    assert jnp.array_equal(translate(jnp.asarray(s), jnp.asarray(kernel), axis), expected)


def test_translate_takes_a_scalar_for_a_bias() -> None:
    assert jnp.array_equal(translate(jnp.asarray(2.0), jnp.arange(3.0)), jnp.array([2.0, 3.0, 4.0]))


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds, n=dimensions, a=steps, b=steps)
def test_rotate_is_a_flow_along_each_direction(
    tolerance: Callable[..., float], dtype: jnp.dtype, seed: int, n: int, a: float, b: float
) -> None:
    s, q = sample(seed, dtype, (n * (n - 1) // 2,), (n, 3))
    s = s / jnp.maximum(jnp.linalg.norm(s), 1)  # an angle beyond a few turns only costs digits
    a, b = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    twice = rotate(a * s, rotate(b * s, q))
    assert jnp.array_equal(rotate(0 * s, q), q)
    assert error(rotate((a + b) * s, q), twice) < tolerance("law", dtype)
    assert error(rotate(-a * s, rotate(a * s, q)), q) < tolerance("law", dtype)
    assert (twice.shape, twice.dtype) == (q.shape, q.dtype)


@given(seed=seeds, n=dimensions)
def test_rotate_is_the_matrix_exponential_and_keeps_lengths(tolerance: Callable[..., float], seed: int, n: int) -> None:
    s, q = sample(seed, jnp.float64, (n * (n - 1) // 2,), (n, 3))
    matrix = np.zeros((n, n))
    entries = iter(np.asarray(s))
    for i in range(n):
        for j in range(i):
            matrix[i, j] = next(entries)
            matrix[j, i] = -matrix[i, j]
    rotated = rotate(s, q)
    assert jnp.array_equal(skew(s, n), matrix)
    assert error(rotated, scipy.linalg.expm(matrix) @ np.asarray(q)) < tolerance("law", jnp.float64)
    assert error(jnp.linalg.norm(rotated, axis=0), jnp.linalg.norm(q, axis=0)) < tolerance("law", jnp.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("angle", [0.3, -2.0, np.pi])
def test_rotate_in_the_plane_is_counter_clockwise(
    tolerance: Callable[..., float], dtype: jnp.dtype, angle: float
) -> None:
    rotated = rotate(jnp.asarray([angle], dtype), jnp.asarray([2.0, 1.0], dtype))
    expected = [2 * np.cos(angle) - np.sin(angle), 2 * np.sin(angle) + np.cos(angle)]
    assert error(rotated, expected) < tolerance("law", dtype)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_rotate_along_any_axis(tolerance: Callable[..., float], axis: int) -> None:
    s, q = sample(1, jnp.float64, (3,), (3, 3, 3))
    matrix = scipy.linalg.expm(np.asarray(skew(s, 3)))
    expected = np.moveaxis(np.einsum("ij,j...->i...", matrix, np.moveaxis(np.asarray(q), axis, 0)), 0, axis)
    assert error(rotate(s, q, axis), expected) < tolerance("law", jnp.float64)


def test_coordinates_of_another_precision_keep_the_dtype_of_the_array() -> None:
    s, kernel, q = jnp.ones(3), jnp.ones((3, 2), jnp.float32), jnp.ones((3, 2), jnp.float32)
    assert s.dtype == jnp.float64
    assert translate(s, kernel).dtype == jnp.float32
    assert rotate(s, q).dtype == jnp.float32


def test_jit_and_vmap_agree_with_a_loop(tolerance: Callable[..., float]) -> None:
    s, q = sample(2, jnp.float64, (5, 3), (5, 3, 4))
    limit = tolerance("oracle", jnp.float64)
    for action in (rotate, translate):
        loop = jnp.stack([action(s[i], q[i]) for i in range(5)])
        assert error(jax.jit(jax.vmap(action))(s, q), loop) < limit
    matrices = jax.jit(jax.vmap(partial(skew, n=3)))(s)
    assert jnp.array_equal(matrices, -jnp.swapaxes(matrices, 1, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: translate(jnp.ones(4), jnp.ones((3, 4))), "s has shape (4,), but the kernel without axis -1 has (3,)"),
        (lambda: translate(jnp.ones(3), jnp.ones((3, 4)), 2), "axis 2 does not exist in an array of shape (3, 4)"),
        (
            lambda: rotate(jnp.ones(2), jnp.ones(3)),
            "s has shape (2,), but rotations of 3 dimensions have 3 coordinates",
        ),
        (lambda: rotate(jnp.ones(1), jnp.ones(2), -2), "axis -2 does not exist in an array of shape (2,)"),
        (lambda: skew(jnp.ones(()), 2), "s has shape (), but rotations of 2 dimensions have 1 coordinates"),
    ],
)
def test_wrong_shapes_are_named_in_one_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


def test_integers_and_lists_become_real_numbers() -> None:
    np.testing.assert_allclose(rotate([0.3], np.array([10, 0])), [10 * np.cos(0.3), 10 * np.sin(0.3)], rtol=1e-14)
    np.testing.assert_array_equal(translate([0.5], np.zeros((1, 3), int)), [[0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(skew([2], 2), [[0, -2], [2, 0]])


def test_low_precision_turns_in_float32() -> None:
    q = jnp.asarray(np.random.default_rng(0).standard_normal((64, 3)), jnp.bfloat16)
    s = np.random.default_rng(1).standard_normal(64 * 63 // 2) / 50
    turned = rotate(jnp.asarray(s, jnp.bfloat16), q)
    expected = scipy.linalg.expm(np.asarray(skew(np.asarray(jnp.asarray(s, jnp.bfloat16), np.float64), 64)))
    assert turned.dtype == jnp.bfloat16
    assert error(turned, expected @ np.asarray(q, np.float64)) < 2**-8


@pytest.mark.parametrize("value", ["q", True, None, 1j])
def test_what_is_no_array_of_real_numbers_is_refused(value: object) -> None:
    for call in (lambda: rotate(value, jnp.ones(2)), lambda: rotate(jnp.ones(1), value), lambda: skew(value, 2)):
        with pytest.raises(ValueError, match="but must be an array of real numbers"):
            call()
    for call in (lambda: translate(value, jnp.ones(2)), lambda: translate(1.0, value)):
        with pytest.raises(ValueError, match="but must be an array of real numbers"):
            call()
