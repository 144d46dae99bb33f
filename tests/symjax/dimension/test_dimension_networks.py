"""Gradients of plain networks against autodiff, and the identities of the specification."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.dimension import networks as nets
from symjax.dimension.examples import mechanism_examples
from symjax.dimension.gradients import jacobian, pattern_rows, scaling_tangents
from symjax.tracing import symmetries

SIZES = (3, 4, 5, 2)


def network(seed: int = 0, sizes: tuple[int, ...] = SIZES) -> tuple[Any, np.ndarray, np.random.Generator]:
    """A network, points and the generator."""
    random = np.random.default_rng(seed)
    return nets.random_params(sizes, random), random.normal(size=(20, sizes[0])), random


@pytest.mark.parametrize(
    ("width", "depth", "count", "units", "largest"),
    [(5, 4, 96, 15, 81), (5, 5, 126, 20, 106), (5, 6, 156, 25, 131), (10, 4, 341, 30, 311), (10, 5, 451, 40, 411)]
    + [(10, 6, 561, 50, 511), (15, 4, 736, 45, 691), (15, 5, 976, 60, 916), (15, 6, 1216, 75, 1141)],
)
def test_sizes_of_the_papers_architectures(width: int, depth: int, count: int, units: int, largest: int) -> None:
    sizes = (width,) * depth + (1,)
    assert (nets.parameters(sizes), sum(sizes[1:-1]), nets.bound(sizes)) == (count, units, largest)
    assert traced_sizes(sizes) == (count, units, largest)


@pytest.mark.parametrize("sizes", sorted({nets.widths(example.params) for example in mechanism_examples()}))
def test_sizes_of_the_examples_are_those_of_their_programs(sizes: tuple[int, ...]) -> None:
    assert traced_sizes(sizes) == (nets.parameters(sizes), sum(sizes[1:-1]), nets.bound(sizes))


def traced_sizes(sizes: tuple[int, ...]) -> tuple[int, int, int]:
    """D, H and D - H, read off the program of the network: its arrays and the symmetries traced in it."""

    def apply(layers: Any, x: jax.Array) -> jax.Array:
        for w, b in layers[:-1]:
            x = jnp.maximum(x @ w.T + b[None], 0)
        return x @ layers[-1][0].T + layers[-1][1][None]

    shapes = [((above, below), (above,)) for below, above in pairwise(sizes)]
    layers = jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, jnp.float64), shapes, is_leaf=_is_shape)
    found = symmetries(apply, layers, jax.ShapeDtypeStruct((7, sizes[0]), jnp.float64))
    count = sum(leaf.size for leaf in jax.tree.leaves(layers))
    return count, found.dimension, count - found.dimension


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, tuple) and all(isinstance(size, int) for size in leaf)


def test_jacobian_is_that_of_autodiff() -> None:
    params, points, _ = network()

    def outputs(vector: jax.Array, x: jax.Array) -> jax.Array:
        h, start = x, 0
        for below, above in pairwise(SIZES):
            w = vector[start : start + above * below].reshape(above, below)
            z = w @ h + vector[start + above * below : start + above * (below + 1)]
            h, start = jnp.maximum(z, 0.0), start + above * (below + 1)
        return z

    vector = nets.flatten(params)
    expected = jax.vmap(jax.jacrev(outputs), (None, 0))(jnp.asarray(vector), jnp.asarray(points))
    np.testing.assert_allclose(jacobian(params, points), expected, rtol=1e-12, atol=1e-13)
    back = nets.unflatten(vector, SIZES)
    for one, two in zip(params, back, strict=True):
        assert all(map(np.array_equal, one, two))


def test_pattern_rows_give_the_gradient_anywhere_in_the_region() -> None:
    params, points, _ = network()
    masks = nets.patterns(params, points)
    rows = pattern_rows(params, masks)
    affine = np.concatenate([np.ones((len(points), 1)), points], axis=1)
    np.testing.assert_allclose(
        np.einsum("mr,mrkd->mkd", affine, rows), jacobian(params, points), rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(nets.forward(params, points, masks), nets.forward(params, points), rtol=1e-13)


def test_scalings_change_nothing() -> None:
    params, points, _ = network()
    tangents, rows = scaling_tangents(params), jacobian(params, points).reshape(-1, 53)
    lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(tangents, axis=1)
    assert np.max(np.abs(rows @ tangents.T) / lengths) < 1e-14
    assert np.linalg.matrix_rank(tangents) == sum(SIZES[1:-1])


def test_euler_relations() -> None:
    params, points, _ = network()
    outputs, rows = nets.forward(params, points), jacobian(params, points)
    blocks = [nets.unflatten(row, SIZES) for row in rows.reshape(-1, rows.shape[-1])]
    for layer, (w, _) in enumerate(params):
        weights = np.array([np.sum(w * block[layer][0]) for block in blocks])
        biases = np.array([sum(params[k][1] @ block[k][1] for k in range(layer, 3)) for block in blocks])
        np.testing.assert_allclose(weights + biases, outputs.ravel(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ([], "params hold no layer"),
        ([(np.ones((2, 2)), np.ones(3))], r"params\[0\] has shapes \(2, 2\) and \(3,\)"),
        ([(np.ones((2, 2)), np.ones(2)), (np.ones((1, 3)), np.ones(1))], r"params\[1\] .* must have \(n, 2\)"),
        ([(np.full((1, 2), np.nan), np.ones(1))], r"W of params\[0\] is not finite"),
        ([(np.ones((2, 2)), np.ones(2)), (np.ones((1, 2)), [np.inf])], r"b of params\[1\] is not finite"),
        ([([[1.0, 2.0], [3.0]], np.ones(2))], r"W of params\[0\] must hold real numbers in equally long rows"),
        ([(np.ones((1, 2)) * 1j, np.ones(1))], r"W of params\[0\] must hold real numbers"),
        ([(np.ones((1, 2)), ["one"])], r"b of params\[0\] must hold real numbers"),
    ],
)
def test_networks_that_are_none(wrong: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        nets.as_params(wrong)


@pytest.mark.parametrize("wrong", [(3,), (3, 0, 1), (3, 2.5, 1), (3, -1), (3, True, 1), (3, "4", 1)])
def test_widths_that_are_none(wrong: Any) -> None:
    with pytest.raises(ValueError, match="widths"):
        nets.bound(wrong)
