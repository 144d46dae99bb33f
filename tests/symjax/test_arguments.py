"""The one rule at the door, and sizes of arrays whose squares leave their range."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import arguments
from symjax.magnitude import norm, over_square, power_of_two


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (2, jnp.float64),
        (2.5, jnp.float64),
        ([1, 2], jnp.float64),
        (np.arange(3), jnp.float64),
        (np.int8(3), jnp.float64),
        (np.float16(2), jnp.float16),
        (jnp.ones(2, jnp.bfloat16), jnp.bfloat16),
        (jnp.ones(2, jnp.float32), jnp.float32),
        ([np.float64(1.0), 2], jnp.float64),
    ],
)
def test_real_numbers_become_floating_arrays(value: Any, dtype: Any) -> None:
    found = arguments.floating_array("x", value)
    assert isinstance(found, jax.Array) and found.dtype == dtype
    np.testing.assert_array_equal(found, np.asarray(value, np.float64))
    wide = arguments.accurate_array("x", value)
    assert wide.dtype == (jnp.float64 if dtype == jnp.float64 else jnp.float32)
    np.testing.assert_array_equal(wide, found)
    assert arguments.floating_array("x", value, found.shape).shape == found.shape
    with pytest.raises(ValueError, match=r"x has shape .*, but must have shape \(7, 7\)"):
        arguments.accurate_array("x", value, (7, 7))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "x is True"),
        ("text", "x is 'text'"),
        (None, "x is None"),
        (1j, "x is 1j"),
        ([True, False], "x is an array of dtype bool"),
        (jnp.ones(2, jnp.complex64), "x is an array of dtype complex64"),
        (np.array(["a"]), "x is "),
        ([[1], [1, 2]], "x is a list"),
        ({}, "x is a dict"),
        (lambda: 1, "x is a function"),
        (jax.random.key(0), "x is "),
        ([None, 1.0], "x is a list"),
    ],
)
def test_the_rest_is_refused_in_one_sentence(value: Any, words: str) -> None:
    for read in (arguments.floating_array, arguments.accurate_array, arguments.scalar):
        with pytest.raises(ValueError, match=words) as raised:
            read("x", value)
        assert "must be an array of real numbers" in str(raised.value) and "\n" not in str(raised.value)


def test_under_jit_lists_of_traced_numbers_are_arrays() -> None:
    found = jax.jit(lambda a: arguments.floating_array("x", [a, 2 * a, 1.0]))(jnp.float64(3.0))
    np.testing.assert_array_equal(found, [3, 6, 1])


def test_several_arrays_get_the_widest_dtype() -> None:
    for dtypes, widest in (
        ((jnp.float16, jnp.bfloat16), jnp.float32),
        ((jnp.float32, jnp.float64), jnp.float64),
        ((jnp.float64, jnp.bfloat16), jnp.float64),
    ):
        found = arguments.accurate_arrays(a=jnp.ones(2, dtypes[0]), b=jnp.ones(3, dtypes[1]))
        assert [leaf.dtype for leaf in found] == [widest, widest]
        assert [leaf.shape for leaf in found] == [(2,), (3,)]
        assert arguments.accumulation_dtype(*dtypes) == widest
    with pytest.raises(ValueError, match="b is 'text'"):
        arguments.accurate_arrays(a=1, b="text")
    one, two = arguments.real_numbers(jnp.float32, one=1, two=np.float64(2))
    assert one.dtype == two.dtype == jnp.float32 and float(two) == 2
    with pytest.raises(ValueError, match="two is None"):
        arguments.real_numbers(jnp.float32, one=1, two=None)


def test_pytrees_are_read_leaf_by_leaf() -> None:
    tree = {"a": [1, jnp.ones(2, jnp.bfloat16)], "b": (2.5,)}
    kept, wide = arguments.floating_tree("tree", tree), arguments.accurate_tree("tree", tree)
    assert [leaf.dtype for leaf in jax.tree.leaves(kept)] == [jnp.float64, jnp.bfloat16, jnp.float64]
    assert [leaf.dtype for leaf in jax.tree.leaves(wide)] == [jnp.float64, jnp.float32, jnp.float64]
    assert jax.tree.structure(wide) == jax.tree.structure(tree)
    with pytest.raises(ValueError, match=r"tree\['b'\]\[0\] is 'text'"):
        arguments.floating_tree("tree", {"a": 1, "b": ("text",)})
    for empty in ({}, (), None):
        with pytest.raises(ValueError, match="tree has no leaves"):
            arguments.accurate_tree("tree", empty)


def test_inner_products_are_summed_in_at_least_float32() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 4096))
    low = jnp.asarray(values, jnp.bfloat16)
    exact = np.asarray(low[0], np.float64) @ np.asarray(low[1], np.float64)
    found = arguments.inner_product({"a": low[0]}, {"a": low[1]})
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=1e-4)
    mixed = arguments.inner_product((low[0], jnp.ones(3)), (low[1].astype(jnp.float32), jnp.full(3, 2.0)))
    assert mixed.dtype == jnp.float64
    np.testing.assert_allclose(mixed, exact + 6, rtol=1e-12)


@pytest.mark.parametrize("value", [3, np.int64(3), jnp.array(3), np.uint8(3)])
def test_whole_numbers(value: Any) -> None:
    found = arguments.whole_number("steps", value, 3)
    assert found == 3 and type(found) is int
    with pytest.raises(ValueError, match="steps is 3, but must be at least 4"):
        arguments.whole_number("steps", value, 4)


@pytest.mark.parametrize("value", [True, np.bool_(True), 3.0, "3", None, 1j, [3]])
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match="steps is .*, but must be an integer of at least 1"):
        arguments.whole_number("steps", value, 1)


def test_scalars_are_known_numbers() -> None:
    for value in (2, 2.0, np.float32(2), jnp.array(2), jnp.array([2.0]), [2]):
        found = arguments.scalar("slope", value)
        assert found == 2.0 and type(found) is float
    with pytest.raises(ValueError, match=r"slope has shape \(2,\), but must be one number"):
        arguments.scalar("slope", [1.0, 2.0])
    with pytest.raises(ValueError, match="slope is traced"):
        jax.jit(lambda x: arguments.scalar("slope", x))(1.0)
    assert float(jax.jit(lambda x: x * arguments.scalar("slope", 0.1))(2.0)) == pytest.approx(0.2)


def test_shapes_are_compared_with_structure() -> None:
    arguments.require_same_shapes("a", {"x": 1.0}, "b", {"x": jnp.zeros(())})
    for other in ({"y": 1.0}, {"x": jnp.ones(2)}, [1.0]):
        with pytest.raises(ValueError, match="a has shapes .*, but those of b are"):
            arguments.require_same_shapes("a", other, "b", {"x": 1.0})


def test_concrete_means_untraced() -> None:
    assert arguments.is_concrete({"a": 1}, jnp.ones(2), None)
    assert not jax.jit(lambda x: jnp.asarray(arguments.is_concrete([1, x])))(1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_of_two(dtype: Any) -> None:
    exponents = np.arange(-126, 127, 7) if dtype == np.float32 else np.arange(-1022, 1023, 31)
    x = np.ldexp(dtype(1.3), exponents).astype(dtype)
    found = np.asarray(jax.vmap(power_of_two)(jnp.asarray(x)), np.float64)
    assert (np.frexp(found)[0] == 0.5).all()
    middle = slice(3, -3)  # at the ends it stays invertible instead
    assert ((x[middle] / found[middle] >= 0.5) & (x[middle] / found[middle] <= 2)).all()
    with np.errstate(all="raise"):
        assert np.isfinite(1 / found.astype(dtype)).all()
    assert float(power_of_two(jnp.zeros(3, dtype))) == 1 and float(power_of_two(jnp.array([jnp.nan, 1], dtype))) == 1
    rows = power_of_two(jnp.array([[1.0, -4.5], [0.25, 0.1]], dtype), axis=1)
    assert rows.tolist() == [4, 0.25]
    assert power_of_two(jnp.ones((2, 3), dtype), axis=0, keepdims=True).shape == (1, 3)
    np.testing.assert_array_equal(jax.grad(lambda x: power_of_two(x))(jnp.array([3.0, 1.0], dtype)), 0)


@pytest.mark.parametrize("scale", [1e-35, 1e-30, 1e-15, 1.0, 1e15, 1e30, 1e37])
def test_norms_over_the_range_of_float32(scale: float) -> None:
    x = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32) * np.float32(scale)
    exact = np.linalg.norm(x.astype(float), axis=1)
    for call in (norm, jax.jit(norm, static_argnums=(1, 2))):
        np.testing.assert_allclose(call(jnp.asarray(x), 1), exact, rtol=1e-6)
        np.testing.assert_allclose(call(jnp.asarray(x), 1, True), exact[:, None], rtol=1e-6)
        np.testing.assert_allclose(call(jnp.asarray(x)), np.linalg.norm(exact), rtol=1e-6)
    slope = jax.grad(lambda x: norm(x))(jnp.asarray(x))
    np.testing.assert_allclose(slope, x.astype(float) / np.linalg.norm(exact), rtol=1e-5, atol=1e-7)


def test_the_norm_of_nothing_has_a_derivative() -> None:
    np.testing.assert_array_equal(jax.grad(lambda x: norm(x))(jnp.zeros(3)), 0)
    assert np.isnan(norm(jnp.array([1.0, jnp.nan]))) and np.isinf(norm(jnp.array([1.0, jnp.inf])))


def test_two_divisions_stay_two_when_compiled() -> None:
    """XLA would divide by the square, which is zero here: 0/0."""
    scale = jnp.float32(2.0**-80)
    given = jnp.array([0.0, 3e-30, -1e-37], jnp.float32)
    exact = np.asarray(given, float) / float(scale) ** 2
    np.testing.assert_allclose(jax.jit(over_square)(given, scale), exact, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(over_square, (0, None))(given, scale), exact, rtol=1e-6)
    assert float(jax.grad(lambda x: over_square(x, jnp.float32(2.0)))(1.0)) == 0.25
