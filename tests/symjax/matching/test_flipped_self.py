"""A network and its mirror image: hidden activations, planted GCNNs, and when the middle is exactly invariant."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.channels import rescale
from symjax.equivariance import find_spatial, flip_group, transform
from symjax.matching import aligned, cycles, match, merge
from symjax.repair import repair
from symjax.tracing import Symmetries, activations, symmetries

FLIP = flip_group()
Case = tuple[Symmetries, Any, jax.Array]


def _apply(v: dict, x: jax.Array) -> jax.Array:
    """Two convolutions with biases and pools, as in VGG11: flips commute with all of it."""
    for kernel, bias in ((v["first"], v["first_bias"]), (v["second"], v["second_bias"])):
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + bias[None, None, None])
        x = jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.reshape(x.shape[0], -1) @ v["out"]


def _drawn(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    shapes = {"first": (3, 3, 2, 6), "first_bias": (6,), "second": (3, 3, 6, 8), "second_bias": (8,), "out": (32, 3)}
    return {name: jnp.asarray(rng.standard_normal(shape)) for name, shape in shapes.items()}


def _tied(v: dict) -> dict:
    """The nearest GCNN with swapped neighbours (0 1)(2 3)..., the output read as flips demand."""
    layout = find_spatial(_apply, v, jax.ShapeDtypeStruct((1, 8, 8, 2), float))
    image = transform(v, layout, FLIP, 1)
    first, second = (np.arange(n).reshape(-1, 2)[:, ::-1].ravel() for n in (6, 8))
    out = image["out"].reshape(2, 2, 8, 3)[:, :, second].reshape(32, 3)
    moved = {
        "first": image["first"][..., first],
        "first_bias": image["first_bias"][first],
        "second": image["second"][:, :, first][..., second],
        "second_bias": image["second_bias"][second],
        "out": out,
    }
    return merge(v, moved)


@pytest.fixture(scope="module")
def case() -> Case:
    found = symmetries(_apply, jax.tree.map(_shape, _drawn(0)), jax.ShapeDtypeStruct((1, 8, 8, 2), float))
    layout = find_spatial(_apply, jax.tree.map(_shape, _drawn(0)), jax.ShapeDtypeStruct((1, 8, 8, 2), float))
    return found, layout, jnp.asarray(np.random.default_rng(5).standard_normal((12, 8, 8, 2)))


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _error(v: dict, x: jax.Array) -> float:
    return float(np.abs(_apply(v, x[:, :, ::-1]) - _apply(v, x)).max())


@pytest.mark.slow
def test_hidden_activations_of_the_flipped_network_are_the_flipped_ones_of_the_flipped_image(case: Case) -> None:
    found, layout, x = case
    v = _drawn(1)
    image = transform(v, layout, FLIP, 1)
    one, other = activations(found, image, x[:1]), activations(found, v, x[:1, :, ::-1])
    np.testing.assert_allclose(one["first"], other["first"][:, :, ::-1], atol=1e-12)
    np.testing.assert_allclose(_apply(image, x[:, :, ::-1]), _apply(v, x), atol=1e-12)


@pytest.mark.slow
def test_the_planted_involution_of_a_gcnn_is_found_and_nothing_is_lost_by_merging(case: Case) -> None:
    found, layout, x = case
    v = _tied(_drawn(2))
    assert _error(v, x) < 1e-12
    image = transform(v, layout, FLIP, 1)
    matching = match(found, v, image, [x])
    for name, perm in matching.permutations.items():
        assert np.array_equal(perm, np.arange(len(perm)).reshape(-1, 2)[:, ::-1].ravel()), name
        assert cycles(perm).involutive == 1
    middle = merge(v, aligned(matching, image))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), middle, v)
    scaled = rescale({"first": {"rescale": jnp.linspace(-1, 1, 6)}}, v, found.channels)
    again = match(found, scaled, transform(scaled, layout, FLIP, 1), [x]).permutations
    assert all(np.array_equal(again[name], perm) for name, perm in matching.permutations.items())


def test_the_middle_by_involutions_is_invariant_and_repair_keeps_it_so_on_flipped_and_unflipped_images(
    case: Case,
) -> None:
    found, layout, x = case
    v = _drawn(3)
    image = transform(v, layout, FLIP, 1)
    both = [x, x[:, :, ::-1]]
    tied = match(found, v, image, both, constraint="involution")
    moved = aligned(tied, image)
    middle = merge(v, moved)
    assert _error(middle, x) < 1e-11 < 1e-3 < _error(v, x)
    assert _error(repair(found, middle, v, moved, both).variables, x) < 1e-11
    assert _error(repair(found, middle, v, moved, [x]).variables, x) > 1e-4  # statistics that no flip leaves
    # a flip's correlations on such images are symmetric
    np.testing.assert_allclose(tied.correlations["first"], tied.correlations["first"].T, atol=1e-12)
