"""What is done before anything is found: flattening, folding, refusing; and what is said of bad input."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from symjax.tracing import activations, symmetries, verify
from symjax.tracing.axes import Axis, Cause, concatenate, monomials, product, split, unify
from symjax.tracing.found import Item, trace_program
from symjax.tracing.program import evaluate

CAUSE = Cause("test")


def sizes(axis: Axis) -> list[tuple[int, list[tuple[int, int]]]]:
    """Offsets, and sizes and strides of the atoms."""
    return [(offset, [(atom.size, stride) for atom, stride in factors]) for offset, factors in monomials(axis)]


def test_a_product_refines_an_atom() -> None:
    whole, outer, inner = Axis(12), Axis(3), Axis(4)
    unify(whole, product((outer, inner)), CAUSE)
    assert sizes(whole) == [(0, [(3, 4), (4, 1)])]


def test_a_sum_refines_the_outer_factor_of_a_product() -> None:
    outer, inner = Axis(3), Axis(4)
    left, right = split(product((outer, inner)), 8, CAUSE)
    assert sizes(outer) == [(0, [(2, 1)]), (2, [])]
    assert sizes(left) == [(0, [(2, 4), (4, 1)])]
    assert sizes(right) == [(0, [(4, 1)])]


def test_two_cuts_of_one_axis_have_common_segments() -> None:
    first, second = concatenate((Axis(2), Axis(5))), concatenate((Axis(4), Axis(3)))
    unify(first, second, CAUSE)
    assert sizes(first) == sizes(second) == [(0, [(2, 1)]), (2, [(2, 1)]), (4, [(3, 1)])]


def test_products_that_do_not_fit_are_frozen() -> None:
    first, second = product((Axis(4), Axis(6))), product((Axis(6), Axis(4)))
    unify(first, second, CAUSE)
    assert all(atom.frozen for axis in (first, second) for _, factors in monomials(axis) for atom, _ in factors)


def calls(variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Every kind of call that is looked through."""

    @jax.custom_vjp
    def third(x: jax.Array) -> jax.Array:
        return x / 3.0

    third.defvjp(lambda x: (third(x), None), lambda _, g: (g / 3.0,))
    h = jax.nn.relu(x @ variables["in"])
    h = jax.checkpoint(lambda h: h * 2.0)(third(h))
    h = jax.lax.cond(True, lambda h: h, lambda h: -h, h)
    return jax.jit(lambda h: h @ variables["out"])(h)


@pytest.fixture
def variables() -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(0), 2)
    return {"in": jax.random.normal(keys[0], (4, 5)), "out": jax.random.normal(keys[1], (5, 3))}


def test_calls_are_looked_through(variables: dict[str, jax.Array]) -> None:
    x = jnp.ones((2, 4))
    found = symmetries(calls, variables, x)
    assert {name: found.classes[name].size for name in found.permutations} == {"in": 5}
    assert [scaling.dimension for scaling in found.scalings] == [5]


def test_the_program_computes_what_the_function_does(variables: dict[str, jax.Array]) -> None:
    x = jax.random.normal(jax.random.key(1), (2, 4))
    program, paths = trace_program(calls, variables, x)
    (out,) = evaluate(program, [variables[name] for (name,) in paths], [x], program.outputs)
    np.testing.assert_allclose(out, calls(variables, x), rtol=1e-14)


def test_stacks_and_tiles_are_followed() -> None:
    """Units repeated along an axis and stacked along a new one, and read by one kernel: still the same units."""

    def apply(variables: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = jax.nn.relu(x @ variables["in"] + variables["bias"][None])
        both = jnp.stack([h, 2.0 * h], axis=1).reshape(h.shape[0], -1)  # (2, units) flattened
        return (both * jnp.tile(variables["gain"], 2)[None]) @ variables["out"]

    shapes = {"in": (3, 5), "bias": (5,), "gain": (5,), "out": (10, 4)}
    variables = {
        name: jax.random.normal(jax.random.key(place), shape, jnp.float64)
        for place, (name, shape) in enumerate(shapes.items())
    }
    x = jax.random.normal(jax.random.key(9), (6, 3), jnp.float64)
    program, paths = trace_program(apply, variables, x)
    (out,) = evaluate(program, [variables[name] for (name,) in paths], [x], program.outputs)
    np.testing.assert_allclose(out, apply(variables, x), rtol=1e-13)
    found = symmetries(apply, variables, x)
    assert [found.classes[name].size for name in found.permutations] == [5] and not found.refused
    assert found.dimension == 10  # kernel and bias against the gain, the gain against its readers


def test_branches_that_agree_are_followed(variables: dict[str, jax.Array]) -> None:
    def apply(variables: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x @ variables["in"]
        h = jax.lax.cond(x[0, 0] > 0, jax.nn.relu, lambda h: jax.nn.leaky_relu(h, 0.1), h)
        return h @ variables["out"]

    found = symmetries(apply, variables, jnp.ones((2, 4)))
    assert [scaling.dimension for scaling in found.scalings] == [5]
    assert found.checked.error < 1e-12


def test_what_is_not_followed_is_named(variables: dict[str, jax.Array]) -> None:
    def apply(variables: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.sort(x @ variables["in"], axis=-1) @ variables["out"]

    found = symmetries(apply, variables, jnp.ones((2, 4)))
    assert not found.permutations and found.dimension == 0
    (refusal,) = found.refused
    assert refusal.primitive == "sort" and "test_tracing_program.py" in refusal.source
    assert set(refusal.leaves) == {("in",), ("out",)}
    assert "not followed: sort" in str(found)


def test_shapes_suffice(variables: dict[str, jax.Array]) -> None:
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    found = symmetries(calls, shapes, jax.ShapeDtypeStruct((2, 4), jnp.float64))
    assert found.checked is None and found.dimension == 5
    assert "not checked" in str(found)
    assert verify(found, variables, jnp.ones((2, 4))).checked.error < 1e-12


def test_what_fails_the_check_is_dropped(variables: dict[str, jax.Array]) -> None:
    found = symmetries(calls, variables, jnp.ones((2, 4)))
    (scaling,) = found.scalings
    wrong = found._replace(scalings=(scaling._replace(terms=scaling.terms[:1]),))
    checked = verify(wrong, variables, jnp.ones((2, 4)))
    assert checked.scalings == () and checked.permutations == found.permutations
    ((item, error),) = checked.checked.failed
    assert item == Item("scaling", "in") and error > 1e-3
    assert "dropped: scaling in" in str(checked)


def test_single_precision_is_checked_in_double() -> None:
    variables = {"in": jnp.ones((4, 5), jnp.float32), "out": jnp.ones((5, 3), jnp.float32)}
    found = symmetries(lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"], variables, jnp.ones((2, 4), jnp.float32))
    assert found.checked.error < 1e-14


def test_leaves_that_are_not_read_are_listed(variables: dict[str, jax.Array]) -> None:
    found = symmetries(calls, variables | {"idle": jnp.ones(3)}, jnp.ones((2, 4)))
    assert found.unread == (("idle",),)
    assert "never read: idle" in str(found)


NORM = nn.BatchNorm(False, dtype=jnp.float64, force_float32_reductions=False)
STATE = {"params": {"scale": 1.0, "bias": 0.0}, "batch_stats": {"mean": 0.0, "var": 1.0}}
STATE = jax.tree.map(lambda value: np.full(4, value), STATE)
DROPOUT = nn.Dropout(0.5, deterministic=False)


@pytest.mark.parametrize(
    ("apply", "given", "sentence"),
    [
        (lambda v, x: "text", None, "returns what is no array"),
        (lambda v, x: None, None, "returns no array"),
        (lambda v, x: x @ v["out"], None, "does not run on these shapes: .*dot_general"),
        (lambda v, x: x, {"table": jnp.arange(3)}, "variables hold no floating array"),
        (lambda v, x: io_callback(lambda a: None, None, x), None, "has side effects"),
        (lambda v, x: DROPOUT.apply({}, x), None, "draws random numbers, so pass its evaluation mode"),
        (lambda v, x: NORM.apply(STATE, x), None, "updates its variables, so pass its evaluation mode"),
    ],
)
def test_bad_input_is_one_sentence(apply: Any, given: Any, sentence: str, variables: Any) -> None:
    with pytest.raises(ValueError, match=sentence):
        symmetries(apply, variables if given is None else given, jnp.ones((2, 4)))


def test_where_everything_is_frozen_the_reason_is_said(variables: dict[str, jax.Array]) -> None:
    found = symmetries(lambda v, x: jnp.sort(x @ v["in"], -1) @ v["out"], variables, jnp.ones((2, 4)))
    assert not found.permutations and not found.dimension
    assert "no class is free: sort" in str(found)
    with pytest.raises(ValueError, match="no continuous symmetry was found"):
        _ = found.symmetry


def test_what_a_loop_holds_keeps_its_types() -> None:
    def apply(v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        y = jax.nn.relu(x @ v["in"]) @ v["out"]
        return jax.lax.while_loop(lambda y: jnp.sum(y) > 1e3, lambda y: y / 2, y)

    variables = {"in": jnp.ones((4, 3), jnp.float32), "out": jnp.ones((3, 2), jnp.float32)}
    found = symmetries(apply, variables, jnp.ones((2, 4), jnp.float32))
    assert [refusal.primitive for refusal in found.refused] == ["while"]
    assert found.checked.error < 1e-6 and len(found.permutations) == found.scalings[0].dimension // 3 == 1


def test_other_variables_are_refused(variables: dict[str, jax.Array]) -> None:
    found = symmetries(calls, variables, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="another structure"):
        verify(found, {"in": variables["in"]}, jnp.ones((2, 4)))


def test_activations_are_what_the_reader_sees(variables: dict[str, jax.Array]) -> None:
    x = jax.random.normal(jax.random.key(1), (2, 4))
    found = symmetries(calls, variables, x)
    (name,) = found.permutations
    expected = 2.0 * jax.nn.relu(x @ variables["in"]) / 3.0
    np.testing.assert_allclose(activations(found, variables, x)[name], expected, rtol=1e-12)
    with pytest.raises(ValueError, match="no contraction reads units named 'nothing'; those that are read are 'in'"):
        activations(found, variables, x, ["nothing"])


def test_activations_of_units_flattened_with_space() -> None:
    def apply(variables: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = jnp.tanh(x * variables["scale"])
        return h.reshape(h.shape[0], -1) @ variables["out"]

    variables = {"scale": jnp.arange(1.0, 4.0).reshape(1, 1, 3), "out": jnp.ones((6, 4))}
    x = jnp.ones((5, 2, 1))
    found = symmetries(apply, variables, x)
    hidden = activations(found, variables, x)["scale"]
    np.testing.assert_allclose(hidden, jnp.tanh(jnp.broadcast_to(variables["scale"], (5, 2, 3))), rtol=1e-12)


def test_layers_of_a_stack_have_classes_of_their_own() -> None:
    keys = jax.random.split(jax.random.key(0), 4)
    variables = {"in": jax.random.normal(keys[0], (3, 4, 5)), "out": jax.random.normal(keys[1], (3, 5, 4))}

    def apply(variables: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, v: (x + jax.nn.relu(x @ v["in"]) @ v["out"], None), x, variables)[0]

    found = symmetries(apply, variables, jax.random.normal(keys[2], (2, 4)))
    assert {name: found.classes[name].size for name in found.permutations} == {"in/0": 5, "in/1": 5, "in/2": 5}
    assert [scaling.dimension for scaling in found.scalings] == [5, 5, 5]
    assert found.checked.error < 1e-12
    flow, zero, _ = found.symmetry
    moved = flow(jax.tree.map(lambda leaf: leaf + 0.3, zero), variables)
    x = jax.random.normal(keys[3], (2, 4))
    np.testing.assert_allclose(apply(moved, x), apply(variables, x), rtol=1e-12)


def test_two_gains_that_meet_are_no_frame_for_a_matrix():
    """Only an offset that is a leaf goes with a gain; what the other summand is, the walk does not know yet."""

    def apply(p, x):
        return ((x @ p["a"]) * p["g"][None] + (x @ p["b"]) * p["h"][None]) @ p["out"]

    shapes = {"a": (2, 3), "g": (3,), "b": (2, 3), "h": (3,), "out": (3, 4)}
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float64) for name, shape in shapes.items()}
    found = symmetries(apply, params, jax.ShapeDtypeStruct((5, 2), jnp.float64))
    assert found.linear == () and len(found.permutations) == 1
    # a against g, b against h, both with out
    assert sum(scaling.dimension for scaling in found.scalings) == 9
