"""Everything that follows from a flow: against loops over generators, NumPy, finite differences and closed forms."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.actions import rotate, translate
from symjax.channels import Layer, mlp_channels, scalings
from symjax.symmetry import (
    Symmetry,
    compose,
    generator,
    kinetic_energy,
    kinetic_symmetry_breaking,
    noether_charge,
    pairing,
    symmetry_residual,
)

DTYPES = [jnp.float64, jnp.float32]
seeds = st.integers(0, 2**32 - 1)
MASS = 0.3


def error(value: Any, expected: Any) -> float:
    """Largest difference over all leaves, each relative to the largest entry of the expected leaf."""
    assert jax.tree.structure(value) == jax.tree.structure(expected)
    worst = 0.0
    for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(expected), strict=True):
        assert jnp.shape(a) == jnp.shape(b)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        worst = max(worst, float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-300)))
    return worst


def normal(rng: np.random.Generator, dtype: Any, *shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape), dtype)


def network(rng: np.random.Generator, dtype: Any = jnp.float64, hidden: int = 4) -> tuple[Layer, ...]:
    shapes = [(3, hidden), (hidden, 5), (5, 2)]
    return tuple(Layer(normal(rng, dtype, *shape), normal(rng, dtype, shape[1])) for shape in shapes)


def network_symmetry(layers: tuple[Layer, ...], dtype: Any = None) -> Symmetry:
    return scalings(mlp_channels(layers), "rescale", dtype)


def unit_inner_products(layers: tuple[Layer, ...], covector: tuple[Layer, ...]) -> dict[str, np.ndarray]:
    """Inner product of every hidden unit's writers minus that of its readers, in NumPy, one unit at a time."""
    result = {}
    for i in range(len(layers) - 1):
        q, p, out, out_p = (
            [np.asarray(leaf, np.float64) for leaf in layer]
            for layer in (layers[i], covector[i], layers[i + 1], covector[i + 1])
        )
        units = range(q[1].size)
        result[f"hidden{i}"] = np.array(
            [q[0][:, j] @ p[0][:, j] + q[1][j] * p[1][j] - out[0][j] @ out_p[0][j] for j in units]
        )
    return result


def scale(s: jax.Array, q: jax.Array) -> jax.Array:
    return jnp.exp(s) * q


def opposite(s: jax.Array, q: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"in": jnp.exp(s) * q["in"], "out": jnp.exp(-s) * q["out"]}


def projective(s: jax.Array, q: jax.Array) -> jax.Array:
    """Flow of q' = q^2, entry by entry: a symmetry that is not linear."""
    return q / (1 - s * q)


@jax.jit
def network_pairing(layers: Any, covector: Any) -> Any:
    return pairing(network_symmetry(layers, layers[0].kernel.dtype), layers, covector)


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds)
def test_pairing_is_a_loop_over_generators_and_numpy(tolerance: Callable[..., float], dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers, covector = network(rng, dtype), network(rng, dtype)
    pairs = network_pairing(layers, covector)
    assert {name: value.dtype for name, value in pairs.items()} == dict.fromkeys(
        ("hidden0", "hidden1"), jnp.dtype(dtype)
    )
    assert error(pairs, unit_inner_products(layers, covector)) < 10 * tolerance("oracle", dtype)


def test_pairing_agrees_with_generators_one_by_one(tolerance: Callable[..., float]) -> None:
    rng = np.random.default_rng(0)
    layers, covector = network(rng), network(rng)
    symmetry = network_symmetry(layers)
    zero = symmetry.zero
    tangent_of = jax.jit(lambda direction: generator(symmetry, layers, direction))
    loop = {name: np.zeros(value.size) for name, value in zero.items()}
    for name, value in zero.items():
        for i in range(value.size):
            tangent = tangent_of({**zero, name: value.at[i].set(1)})
            products = jax.tree.map(lambda a, b: np.vdot(np.asarray(a), np.asarray(b)), tangent, covector)
            loop[name][i] = sum(jax.tree.leaves(products))
    assert error(pairing(symmetry, layers, covector), loop) < tolerance("oracle", jnp.float64)


def test_pairing_costs_one_pass_for_any_number_of_units() -> None:
    def equations(hidden: int) -> int:
        layers = network(np.random.default_rng(1), hidden=hidden)
        return str(jax.make_jaxpr(partial(pairing, network_symmetry(layers)))(layers, layers)).count("=")

    assert equations(4) == equations(64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_generators_in_closed_form(tolerance: Callable[..., float], dtype: Any) -> None:
    rng = np.random.default_rng(2)
    q, v, one = normal(rng, dtype, 2, 3), normal(rng, dtype, 2), jnp.ones((), dtype)
    limit = tolerance("oracle", dtype)

    def tangent(flow: Any, zero: jax.Array, params: Any, direction: jax.Array) -> Any:
        return jax.jit(lambda *given: generator(Symmetry(flow, given[0]), *given[1:]))(zero, params, direction)

    assert error(tangent(scale, 0 * one, q, one), q) < limit
    assert error(tangent(translate, 0 * v, q, v), jnp.repeat(v[:, None], 3, axis=1)) < limit
    assert error(tangent(rotate, jnp.zeros(1, dtype), q, jnp.ones(1, dtype)), jnp.stack([-q[1], q[0]])) < limit
    assert error(tangent(projective, 0 * one, q, one), q**2) < limit
    pair = {"in": q, "out": v}
    assert error(tangent(opposite, 0 * one, pair, one), {"in": q, "out": -v}) < limit


def test_generator_is_linear_and_the_derivative_of_the_flow(tolerance: Callable[..., float]) -> None:
    rng = np.random.default_rng(3)
    layers = network(rng)
    symmetry = network_symmetry(layers)
    flow, zero, _ = symmetry
    a, b = ({name: normal(rng, jnp.float64, value.size) for name, value in zero.items()} for _ in range(2))
    along = partial(generator, symmetry, layers)
    both = along(jax.tree.map(lambda x, y: 2 * x - y, a, b))
    assert error(both, jax.tree.map(lambda x, y: 2 * x - y, along(a), along(b))) < 10 * tolerance(
        "oracle", a["hidden0"].dtype
    )
    ahead, behind = (flow(jax.tree.map(lambda x, h=h: h * x, a), layers) for h in (1e-5, -1e-5))
    slope = jax.tree.map(lambda x, y: (x - y) / 2e-5, ahead, behind)
    assert error(along(a)[0], slope[0]) < 1e-8
    assert not np.any(np.asarray(along(a)[-1].bias))  # no unit reads or writes the last bias


@pytest.mark.parametrize("flow", [scale, projective], ids=["linear", "nonlinear"])
def test_residual_of_any_loss_is_its_slope_along_the_flow(flow: Callable[..., Any]) -> None:
    q = jnp.asarray([0.3, -0.7, 1.1])

    def loss(q: jax.Array, target: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(q) * target)

    target = jnp.asarray([1.0, 2.0, 3.0])
    residual = symmetry_residual(Symmetry(flow, jnp.zeros(())), loss, q, target)
    slope = (loss(flow(1e-5, q), target) - loss(flow(-1e-5, q), target)) / 2e-5
    assert abs(float(residual)) > 0.1
    assert float(residual) == pytest.approx(float(slope), rel=1e-8)


def four_symmetries(function: Callable[..., Any], pair: dict[str, jax.Array], velocity: dict[str, jax.Array]) -> Any:
    """Apply a quantity to the translation, rotation, scale and rescale of a small pair of arrays."""
    q, v = pair["in"], velocity["in"]
    zeros, zero = jnp.zeros(3, q.dtype), jnp.zeros((), q.dtype)
    return {
        "translation": function(Symmetry(translate, zeros), q, v, MASS),
        "rotation": function(Symmetry(rotate, zeros), q, v, MASS),
        "scale": function(Symmetry(scale, zero), q, v, MASS),
        "rescale": function(Symmetry(opposite, zero), pair, velocity, MASS),
    }


four_charges = jax.jit(partial(four_symmetries, noether_charge))
four_breakings = jax.jit(partial(four_symmetries, kinetic_symmetry_breaking))


def sample_pair(rng: np.random.Generator, dtype: Any) -> dict[str, jax.Array]:
    return {"in": normal(rng, dtype, 3, 4), "out": normal(rng, dtype, 5)}


def absolute_errors(value: Any, expected: Any) -> dict[str, float]:
    return {name: float(np.max(np.abs(np.asarray(value[name], np.float64) - expected[name]))) for name in expected}


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds)
def test_charges_in_closed_form(tolerance: Callable[..., float], dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pair, velocity = sample_pair(rng, dtype), sample_pair(rng, dtype)
    (q, out), (v, out_v) = ([np.asarray(tree[name], np.float64) for name in ("in", "out")] for tree in (pair, velocity))
    # coordinates (1,0), (2,0), (2,1) turn the planes xy, xz, yz: angular momenta L_z, -L_y, L_x
    momentum = MASS * np.cross(q.T, v.T).sum(axis=0)
    expected = {
        "translation": MASS * v.sum(axis=1),
        "rotation": np.array([momentum[2], -momentum[1], momentum[0]]),
        "scale": MASS * np.sum(q * v),
        "rescale": MASS * (np.sum(q * v) - out @ out_v),
    }
    charges = four_charges(pair, velocity)
    limit = (
        tolerance("oracle", dtype) * (np.abs(q).max() + np.abs(out).max() + 1) * (np.abs(v).sum() + np.abs(out_v).sum())
    )
    assert max(absolute_errors(charges, expected).values()) < limit
    assert {charge.dtype for charge in charges.values()} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds)
def test_kinetic_symmetry_breaking_is_the_table(tolerance: Callable[..., float], dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pair, velocity = sample_pair(rng, dtype), sample_pair(rng, dtype)
    squares = {name: np.sum(np.square(np.asarray(leaf, np.float64))) for name, leaf in velocity.items()}
    expected = {
        "translation": np.zeros(3),
        "rotation": np.zeros(3),
        "scale": MASS * squares["in"],
        "rescale": MASS * (squares["in"] - squares["out"]),
    }
    breakings = four_breakings(pair, velocity)
    limit = tolerance("oracle", dtype) * sum(squares.values())
    assert max(absolute_errors(breakings, expected).values()) < limit
    assert not np.any(np.asarray(breakings["translation"]))


def test_kinetic_symmetry_breaking_of_a_nonlinear_flow(tolerance: Callable[..., float]) -> None:
    """q / (1 - s q) carries a velocity to q' / (1 - s q)^2, so dT/ds = 2 m sum q q'^2."""
    q, v = np.array([0.5, -1.0, 2.0]), np.array([1.0, 3.0, -2.0])
    breaking = kinetic_symmetry_breaking(Symmetry(projective, jnp.zeros(())), jnp.asarray(q), jnp.asarray(v), MASS)
    assert error(breaking, 2 * MASS * np.sum(q * v**2)) < tolerance("oracle", jnp.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_units_of_a_network_in_one_pass(tolerance: Callable[..., float], dtype: Any) -> None:
    rng = np.random.default_rng(4)
    layers, velocity = network(rng, dtype), network(rng, dtype)
    symmetry = network_symmetry(layers, dtype)
    charges = {name: MASS * value for name, value in unit_inner_products(layers, velocity).items()}
    squares = {name: MASS * value for name, value in unit_inner_products(velocity, velocity).items()}
    limit = 10 * tolerance("oracle", dtype)
    assert error(noether_charge(symmetry, layers, velocity, MASS), charges) < limit
    assert error(kinetic_symmetry_breaking(symmetry, layers, velocity, MASS), squares) < limit


@pytest.mark.parametrize("dtype", DTYPES)
def test_kinetic_energy_is_half_the_squares(tolerance: Callable[..., float], dtype: Any) -> None:
    velocity = {"a": jnp.asarray([3.0, 4.0], dtype), "b": jnp.asarray(2.0, dtype)}
    assert float(kinetic_energy(velocity)) == 14.5
    energy = kinetic_energy(velocity, 0.3)
    assert energy.dtype == dtype
    assert error(energy, 0.3 * 14.5) < tolerance("oracle", dtype)


def quantities(symmetry: Symmetry, layers: Any, velocity: Any, mass: Any) -> dict[str, Any]:
    def loss(layers: Any) -> jax.Array:
        return sum(jnp.sum(jnp.cos(leaf)) for leaf in jax.tree.leaves(layers))

    return {
        "pairing": pairing(symmetry, layers, velocity),
        "generator": generator(symmetry, layers, jax.tree.map(jnp.ones_like, symmetry.zero))[0],
        "residual": symmetry_residual(symmetry, loss, layers),
        "charge": noether_charge(symmetry, layers, velocity, mass),
        "breaking": kinetic_symmetry_breaking(symmetry, layers, velocity, mass),
        "energy": kinetic_energy(velocity, mass),
    }


def test_jit_and_vmap_over_networks_and_masses(tolerance: Callable[..., float]) -> None:
    rng = np.random.default_rng(5)
    layers, velocities = ([network(rng) for _ in range(3)] for _ in range(2))
    masses = jnp.asarray([0.1, 0.2, 0.3])
    one = partial(quantities, network_symmetry(layers[0]))

    def stack(trees: list[Any]) -> Any:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    loop = stack([one(q, v, m) for q, v, m in zip(layers, velocities, masses, strict=True)])
    batched = jax.jit(jax.vmap(one))(stack(layers), stack(velocities), masses)
    assert error(batched, loop) < 10 * tolerance("oracle", jnp.float64)


def test_a_charge_and_a_breaking_can_be_differentiated(tolerance: Callable[..., float]) -> None:
    """C = m (<q1', q1> - <q2', q2>) per unit: its gradient in q is m (q1', -q2'), that of dT/ds in q' twice as much."""
    rng = np.random.default_rng(6)
    layers, velocity = network(rng)[:2], network(rng)[:2]
    symmetry = network_symmetry(layers)

    def total(function: Callable[..., Any], q: Any, v: Any) -> jax.Array:
        return jnp.sum(function(symmetry, q, v, MASS)["hidden0"])

    first, second = velocity
    expected = (
        Layer(MASS * first.kernel, MASS * first.bias),
        Layer(-MASS * second.kernel, jnp.zeros_like(second.bias)),
    )
    charge = jax.jit(jax.grad(partial(total, noether_charge), argnums=0))(layers, velocity)
    breaking = jax.jit(jax.grad(partial(total, kinetic_symmetry_breaking), argnums=1))(layers, velocity)
    for derivative, factor in ((charge, 1), (breaking, 2)):
        assert not np.any(np.asarray(derivative[1].bias))
        for a, b in zip(jax.tree.leaves(derivative)[:3], jax.tree.leaves(expected)[:3], strict=True):
            assert error(a, factor * b) < tolerance("oracle", jnp.float64)


SCALE = Symmetry(scale, np.zeros(()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q: pairing(SCALE, q, {"q": q}), "covector has another tree structure than params"),
        (lambda q: pairing(SCALE, q, jnp.ones(3)), "covector has shape (3,), but params has (2,)"),
        (lambda q: generator(SCALE, q, jnp.ones(3)), "direction has shape (3,), but symmetry.zero has ()"),
        (lambda q: kinetic_symmetry_breaking(SCALE, q, jnp.ones(3)), "velocity has shape (3,), but params has (2,)"),
        (lambda q: noether_charge(SCALE, q, q, "m"), "mass is 'm', but must be an array of real numbers"),
        (lambda q: noether_charge(SCALE, q, "v"), "velocity is 'v', but must be an array of real numbers"),
        (lambda q: kinetic_energy(True), "velocity is True, but must be an array of real numbers"),
        (lambda q: kinetic_energy(q, [1.0, 2.0]), "mass has shape (2,), but must have shape ()"),
        (lambda q: pairing(scale, q, q), "symmetry is a function, but must be a Symmetry(flow, zero)"),
        (lambda q: pairing(SCALE, {"act": scale}, q), "params['act'] is a function, but must be an array of real"),
        (lambda q: pairing(Symmetry(scale, {}), q, q), "symmetry.zero has no leaves"),
        (lambda q: pairing(Symmetry(lambda s, q: q[0], 0.0), q, q), "symmetry.flow gives parameters of another"),
        (lambda q: compose(), "compose has nothing to join"),
        (lambda q: compose(scale=scale), "scale is a function, but must be a Symmetry(flow, zero)"),
    ],
)
def test_bad_input_is_one_sentence(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call(jnp.ones(2))


def turned(s: jax.Array, q: jax.Array) -> jax.Array:
    """A rotation by s + 1: no loss of the length changes along s, but s = 0 is not the identity."""
    c, d = jnp.cos(s + 1), jnp.sin(s + 1)
    return jnp.stack([c * q[0] - d * q[1], d * q[0] + c * q[1]])


def test_a_flow_whose_zero_is_not_the_identity_is_refused_and_compiled_gives_the_formula() -> None:
    symmetry, q = Symmetry(turned, jnp.zeros(())), jnp.asarray([1.0, 2.0])

    def loss(q: jax.Array) -> jax.Array:
        return jnp.sin(q[0]) + q @ q

    for call in (
        lambda: symmetry_residual(symmetry, loss, q),
        lambda: pairing(symmetry, q, q),
        lambda: generator(symmetry, q, 1.0),
        lambda: noether_charge(symmetry, q, q),
        lambda: kinetic_symmetry_breaking(symmetry, q, q),
    ):
        with pytest.raises(ValueError, match="moves params at symmetry.zero, but its zero must be the identity"):
            call()
    slope = (loss(turned(1e-6, q)) - loss(turned(-1e-6, q))) / 2e-6
    compiled = jax.jit(lambda q: symmetry_residual(symmetry, loss, q))(q)
    assert float(compiled) == pytest.approx(float(slope), rel=1e-8)
    with pytest.raises(ValueError, match="loss gives shape"):
        symmetry_residual(SCALE, lambda q: q, q)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sums_of_low_precision_are_made_in_float32(dtype: Any) -> None:
    """Against NumPy in float64 on the same numbers; a covector of another dtype too."""
    w = jnp.asarray(np.random.default_rng(0).standard_normal((512, 4)), dtype)
    exact = np.asarray(w, np.float64)
    filters = Symmetry(lambda s, q: jnp.exp(s).astype(q.dtype)[None] * q, jnp.zeros(4, jnp.float32))
    wide = w.astype(jnp.float32)
    for point, covector in ((w, w), (wide, w), (w, wide)):
        found = pairing(filters, point, covector)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, (exact**2).sum(0), rtol=1e-6)
    np.testing.assert_allclose(noether_charge(filters, w, w, 0.5), (exact**2).sum(0) / 2, rtol=1e-6)
    np.testing.assert_allclose(kinetic_energy(w), (exact**2).sum() / 2, rtol=1e-6)
    np.testing.assert_allclose(kinetic_symmetry_breaking(filters, w, w), (exact**2).sum(0), rtol=1e-6)
    residual = symmetry_residual(filters, lambda q: jnp.sum(jnp.square(q.astype(jnp.float32))), w)
    np.testing.assert_allclose(residual, 2 * (exact**2).sum(0), rtol=2e-3)  # the gradient itself is rounded to dtype


def test_integers_and_lists_are_real_numbers() -> None:
    symmetry = Symmetry(scale, 0)
    assert float(pairing(symmetry, np.array([3, 4]), np.array([1, 2], np.int8))) == 11.0
    assert float(noether_charge(symmetry, np.array([3, 4]), np.array([1, 2]), 2)) == 22.0
    assert float(kinetic_energy(np.array([3, 4]))) == 12.5
    np.testing.assert_array_equal(generator(symmetry, np.array([3, 4]), 2), [6.0, 8.0])
    assert float(symmetry_residual(symmetry, lambda q: q @ q, np.array([3, 4]))) == 50.0


@pytest.mark.parametrize("size", [1e-30, 1e-15, 1e15, 1e30])
def test_sizes_are_right_or_refused(size: float) -> None:
    """With a covector as large as the parameters are small the answer is of size 1; squares are refused when lost."""
    q = jnp.asarray([3.0, 4.0], jnp.float32)
    zero = Symmetry(scale, jnp.zeros((), jnp.float32))
    found = pairing(zero, q * jnp.float32(size), q / jnp.float32(size))
    assert float(found) == pytest.approx(25.0, rel=1e-6)
    small = q * jnp.float32(size)
    for name, call in {
        "pairing": lambda: pairing(zero, small, small),
        "kinetic energy": lambda: kinetic_energy(small),
        "kinetic symmetry breaking": lambda: kinetic_symmetry_breaking(zero, small, small),
    }.items():
        if size in (1e-15, 1e15):
            assert float(call()) / size**2 == pytest.approx(12.5 if "energy" in name else 25.0, rel=1e-5)
        else:
            word = "small" if size < 1 else "large"
            with pytest.raises(ValueError, match=f"^the {name} is too {word} for float32: the largest entry"):
                call()
    if size < 1:  # truly zero
        assert float(pairing(Symmetry(rotate, jnp.zeros(1, jnp.float32)), small, small)[0]) == 0.0


def test_composed_symmetries_answer_by_name() -> None:
    q = jnp.asarray([3.0, 4.0])
    shift = Symmetry(lambda s, q: q + s, jnp.zeros(2), lambda s, q: jnp.all(q + s > 0))
    both = compose(shift=shift, scale=Symmetry(scale, jnp.zeros(())))
    found = pairing(both, q, q)
    np.testing.assert_allclose(found["shift"], q)
    assert float(found["scale"]) == pytest.approx(25.0)
    moved = both.flow({"shift": jnp.ones(2), "scale": jnp.log(2.0)}, q)
    np.testing.assert_allclose(moved, [8.0, 10.0], rtol=1e-14)
    assert bool(both.valid(both.zero, q)) and not bool(both.valid({**both.zero, "shift": jnp.full(2, -3.0)}, q))
    assert compose(scale=SCALE).valid is None


def test_a_pairing_that_cancels_exactly_is_zero():
    """Leaves of different sizes: nothing is lost, and nothing is refused."""
    opposite = Symmetry(lambda s, q: (jnp.exp(s) * q[0], jnp.exp(-s) * q[1]), jnp.zeros((), jnp.float32))
    params = (jnp.array(2.0, jnp.float32), jnp.array(1.0, jnp.float32))
    covector = (jnp.array(2.0, jnp.float32), jnp.array(4.0, jnp.float32))
    assert float(pairing(opposite, params, covector)) == 0.0
