"""The theory of layerwise equivariance: identities 7, 8, 12, 13, 14 and 17, on matrices and on small networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.equivariance import (
    NetworkAction,
    best_alignment,
    commutes_with_relu,
    counterexample,
    dihedral_group,
    find_spatial,
    flip_group,
    invariance_error,
    invariance_loss,
    layerwise_errors,
    normalise_representation,
    reynolds,
    tie,
    transform,
    two_layer_representation,
    tying,
    untie,
)
from symjax.matching import homomorphism_defect, match
from symjax.tracing import symmetries

RANDOM = np.random.default_rng(0)
ROTATION = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])


def relu(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0.0)


def network(variables: dict, x: jax.Array) -> jax.Array:
    for name in ("first", "second"):
        x = jax.lax.conv_general_dilated(x, variables[name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = relu(x + variables["bias " + name][None, None, None])
    return x.mean((1, 2)) @ variables["head"]


def drawn() -> tuple[dict, jax.Array]:
    shapes = {"first": (3, 3, 2, 8), "bias first": (8,), "second": (3, 3, 8, 8), "bias second": (8,), "head": (8, 3)}
    variables = {name: jnp.asarray(RANDOM.normal(size=shape)) for name, shape in shapes.items()}
    return variables, jnp.asarray(RANDOM.normal(size=(4, 5, 5, 2)))


def acted(group: object, first: np.ndarray, second: np.ndarray) -> NetworkAction:
    variables, x = drawn()
    channels = symmetries(network, variables, x).channels
    return NetworkAction(group, find_spatial(network, variables, x), channels, {"first": first, "second": second})


# a fixed channel, three swapped pairs; and one that is no involution
INVOLUTION = np.stack([np.arange(8), [1, 0, 2, 4, 3, 7, 6, 5]])
CYCLE = np.stack([np.arange(8), [1, 2, 0, 3, 4, 5, 6, 7]])


def test_only_positive_scales_and_permutations_commute_with_relu() -> None:
    permuted = np.eye(4)[[2, 0, 3, 1]] * RANDOM.uniform(0.1, 9, 4)
    signed = permuted * np.array([1, 1, -1, 1])
    full = RANDOM.uniform(0.1, 1, (4, 4))
    rotated = np.eye(4)
    rotated[:2, :2] = ROTATION
    assert commutes_with_relu(np.stack([permuted, signed, full, rotated])).tolist() == [True, False, False, False]
    for matrix in (permuted, signed, full, rotated):  # the definition, on points
        x = RANDOM.normal(size=(4, 50))
        held = np.allclose(relu(matrix @ x), matrix @ relu(x), atol=1e-12)
        assert held == bool(jax.jit(commutes_with_relu)(matrix))
    assert not bool(commutes_with_relu(np.diag([1.0, np.inf])))
    with pytest.raises(ValueError, match="must hold square matrices"):
        commutes_with_relu(np.ones((2, 3)))


def test_a_representation_that_commutes_is_rescaled_to_permutations() -> None:
    group, scale = dihedral_group(), RANDOM.uniform(0.1, 5, 8)
    perms = group.table.T  # P_g[i] = i g, which is an action
    assert homomorphism_defect(perms, group.table) == 0
    matrices = np.stack([np.diag(scale) @ np.eye(8)[perm] @ np.diag(1 / scale) for perm in perms])
    found = normalise_representation(matrices)
    assert np.array_equal(found.permutations, perms) and float(found.residual) < 1e-12
    np.testing.assert_allclose(found.scale / found.scale[0], scale / scale[0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"matrices\[1\] does not commute"):
        normalise_representation(np.stack([np.eye(2), ROTATION]))
    with pytest.raises(ValueError, match=r"matrices\[1\] does not commute with ReLU, or is singular"):
        normalise_representation(np.stack([np.eye(2), np.diag([1.0, 0.0])]))
    assert float(normalise_representation(np.stack([np.eye(2), 2 * np.eye(2)])).residual) > 0.1  # no scale makes it one


def test_two_layers_that_are_equivariant_are_so_layer_by_layer() -> None:
    perm = np.eye(4)[[1, 0, 3, 2]] * np.array([[2.0], [0.5], [3.0], [1 / 3]])
    first = RANDOM.normal(size=(4, 4))
    inputs = np.stack([np.eye(4), np.linalg.inv(first.T) @ perm @ first.T])  # so that rho_1 is the planted one
    readout = RANDOM.normal(size=(4, 2))
    second = readout + perm.T @ readout  # W_2 rho_1 = W_2, an invariant output
    found = two_layer_representation(first, second, inputs, np.stack([np.eye(2)] * 2))
    np.testing.assert_allclose(found.hidden[1], perm, atol=1e-12)
    assert bool(found.layerwise)
    assert not bool(two_layer_representation(first, readout, inputs, np.stack([np.eye(2)] * 2)).layerwise)
    turn = np.kron(np.eye(2), ROTATION)  # what both layers follow, but ReLU does not commute with it
    linear = [np.stack([np.eye(4), np.linalg.inv(kernel) @ turn @ kernel]) for kernel in (first.T, np.eye(4))]
    assert not bool(two_layer_representation(first, np.eye(4), *linear).layerwise)
    other = np.stack([np.eye(4), np.linalg.inv(first.T) @ RANDOM.normal(size=(4, 4)) @ first.T])
    assert not bool(two_layer_representation(first, second, other, np.stack([np.eye(2)] * 2)).layerwise)
    with pytest.raises(ValueError, match="singular"):
        two_layer_representation(np.ones((4, 4)), second, inputs, np.stack([np.eye(2)] * 2))


def test_the_counterexample_is_equivariant_but_not_layer_by_layer() -> None:
    first, second = counterexample(RANDOM.normal(size=(3, 3)))
    x, representation = RANDOM.normal(size=(20, 3)), np.eye(3)[[1, 2, 0]]
    moved = relu((x @ representation.T) @ first) @ second
    np.testing.assert_allclose(moved, (relu(x @ first) @ second) @ representation.T, atol=1e-12)
    assert float(best_alignment(first, representation).min()) < 0.999
    np.testing.assert_allclose(best_alignment(first, np.eye(3)), 1, rtol=1e-12)


@pytest.mark.slow  # matching, merging and correcting, each compiled
def test_a_network_merged_by_involutions_is_exactly_invariant() -> None:
    group, (variables, x) = flip_group(), drawn()
    action = acted(group, INVOLUTION, INVOLUTION)
    assert min(layerwise_errors(variables, action).values()) > 0.1
    merged = reynolds(variables, action)
    assert max(layerwise_errors(merged, action).values()) < 1e-12
    np.testing.assert_allclose(network(merged, x[:, :, ::-1]), network(merged, x), rtol=1e-12, atol=1e-12)
    # the mean over the orbits of entries is the same projection, and the nearest: what is left is orthogonal to it
    tied = tying(variables, action)
    again = untie(tie(variables, tied), tied)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), again, merged)
    assert 0.5 < tied.size / sum(leaf.size for leaf in variables.values()) < 0.6
    # without an action the mean is not invariant, but the orbits' means are
    cyclic = acted(group, CYCLE, INVOLUTION)
    assert float(invariance_loss(network, reynolds(variables, cyclic), x, group)) > 1e-3
    tied = tying(variables, cyclic)
    assert float(invariance_loss(network, untie(tie(variables, tied), tied), x, group)) < 1e-12


def test_a_tied_network_is_invariant_under_all_of_d4_and_matches_itself_as_planted() -> None:
    group, (variables, x) = dihedral_group(), drawn()
    perms = group.table.T
    action = acted(group, perms, perms)
    tied = tying(variables, action)
    equivariant = untie(tie(variables, tied), tied)
    assert max(layerwise_errors(equivariant, action).values()) < 1e-12
    assert float(invariance_loss(network, equivariant, x, group)) < 1e-12
    assert float(invariance_loss(network, variables, x, group)) > 1e-2
    # the product of two elements acts as one after the other
    twice, joined = action(3, action(5, variables)), action(int(group.table[3, 5]), variables)
    assert all(map(np.array_equal, jax.tree.leaves(twice), jax.tree.leaves(joined)))
    flipped = transform(equivariant, action.layout, group, 4)
    found = match(symmetries(network, equivariant, x), equivariant, flipped, [x])
    assert all(np.array_equal(found.permutations[name], perms[4]) for name in ("first", "second"))


def test_the_invariance_error_is_guarded_at_zero() -> None:
    zero, one = jnp.zeros((1, 3)), jnp.ones((1, 3))
    assert float(invariance_error(zero, zero)[0]) == 0 and float(invariance_error(one, -one)[0]) == 2
    gradient = jax.grad(lambda y: invariance_error(y, jax.lax.stop_gradient(y)).sum())(one)
    assert bool(jnp.isfinite(gradient).all())


def test_a_constant_that_no_softmax_sees_lowers_the_error_of_logits_and_not_the_centred_one() -> None:
    with jax.enable_x64(True):
        y, moved = np.random.default_rng(0).normal(size=(2, 5, 10))

        def error(constant: jax.Array, centred: bool) -> jax.Array:
            return invariance_error(y + constant, moved + constant, centred=centred).mean()

        plain, pull = jax.value_and_grad(error)(1.0, False)
        assert float(error(1e6, False)) < 1e-5 * plain and pull < -0.1  # what descent on the loss of logits does
        y0, moved0 = y - y.mean(1, keepdims=True), moved - moved.mean(1, keepdims=True)
        sizes = np.linalg.norm(y0, axis=1) / 2 + np.linalg.norm(moved0, axis=1) / 2
        wanted = (np.linalg.norm(y0 - moved0, axis=1) / sizes).mean()
        for constant in (0.0, 1.0, 1e3):
            value, none = jax.value_and_grad(error)(constant, True)
            assert float(value) == pytest.approx(wanted, rel=1e-9) and abs(none) < 1e-9
