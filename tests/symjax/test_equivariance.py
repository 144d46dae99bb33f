"""Groups on images and kernels, the transformed network, and the flip condition: identities 2, 16 and 17."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.equivariance import (
    broken,
    commutation_error,
    dihedral_group,
    exact_sizes,
    find_spatial,
    flip_group,
    rotation_group,
    spatial_group,
    transform,
    transform_input,
)

GROUPS = (flip_group(), flip_group("height"), rotation_group(), dihedral_group())


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Any) -> jax.Array:
    pads = padding if isinstance(padding, str) else [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def network(variables: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Strided convolutions, a residual, a position, a max pool and a flattened head; also returns a hidden map."""
    x = jnp.maximum(convolve(x, variables["first"], 2, 1), 0.0)
    x = x + convolve(x, variables["second"], 1, "SAME") + variables["position"][None]
    hidden = jnp.maximum(x, 0.0)
    pooled = jax.lax.reduce_window(
        hidden, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)]
    )
    return pooled.reshape(len(x), -1) @ variables["head"], hidden


def variables_at(size: int) -> tuple[dict, jax.Array]:
    random = np.random.default_rng(0)
    half, quarter = -(-size // 2), -(-size // 4)
    shapes = {"first": (3, 3, 2, 4), "second": (3, 3, 4, 4), "position": (half, half, 4), "head": (quarter**2 * 4, 3)}
    variables = {name: jnp.asarray(random.normal(size=shape)) for name, shape in shapes.items()}
    return variables, jnp.asarray(random.normal(size=(2, size, size, 2)))


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_a_groups_table_is_its_action(group: Any) -> None:
    again = spatial_group(group.table, group.act)  # checks both
    reached = {0}
    for _ in range(group.order):
        reached |= {int(group.table[a, b]) for a in reached for b in group.generators}
    assert len(reached) == again.order
    assert all(group.table[g, group.inverses[g]] == 0 for g in range(group.order))


def test_what_is_no_group_is_refused() -> None:
    with pytest.raises(ValueError, match="act\\(1, act\\(1, a\\)\\) differs from act\\(0, a\\)"):
        spatial_group([[0, 1], [1, 0]], rotation_group().act)
    with pytest.raises(ValueError, match="every element once"):
        spatial_group([[0, 1], [1, 1]], flip_group().act)
    with pytest.raises(ValueError, match="g is 2, but C2 \\(width\\) has 2 elements"):
        transform({}, None, flip_group(), 2)


def test_the_transformed_network_sees_the_transformed_image() -> None:
    variables, x = variables_at(9)
    layout = find_spatial(network, variables, x)
    assert {leaf.path[0] for leaf in layout.leaves} == {"first", "second", "position", "head"}
    assert not any(broken(layout, group) for group in GROUPS)
    # the second output is a hidden map: a^g(g x) = g a(x); D4 contains the other groups
    assert max(commutation_error(variables, x, layout, dihedral_group()).values()) < 1e-12
    flipped = transform(variables, layout, flip_group(), 1)
    assert float(jnp.abs(network(flipped, x)[0] - network(variables, x)[0]).max()) > 1e-2
    # twice is bit for bit nothing; the flattened head is moved along the rows and columns of its map
    twice = transform(flipped, layout, flip_group(), 1)
    assert all(map(np.array_equal, jax.tree.leaves(twice), jax.tree.leaves(variables)))
    head = np.asarray(variables["head"]).reshape(3, 3, 4, 3)[:, ::-1].reshape(36, 3)
    assert np.array_equal(flipped["head"], head) and np.array_equal(flipped["first"], variables["first"][:, ::-1])


def test_an_even_size_breaks_the_flip_and_is_named() -> None:
    variables, x = variables_at(8)
    layout = find_spatial(network, variables, x)
    assert max(commutation_error(variables, x, layout, flip_group()).values()) > 1e-2
    first = broken(layout, flip_group())[0]
    assert "width 8, window 3, stride 2, padding 1: (8 + 2 - 3) mod 2 = 1" in str(first)
    assert "convolution" in str(first) and "test_equivariance.py" in first.source

    def pooled(variables: dict, x: jax.Array) -> jax.Array:
        return convolve(convolve(x, variables["first"], 2, "SAME"), variables["second"], 2, 1).mean((1, 2))

    assert exact_sizes(pooled, variables, x, flip_group()) == (5, 9)
    assert exact_sizes(pooled, variables, x[:, :, :5], dihedral_group()) == (5, 9)


def test_what_a_turn_cannot_exchange_is_refused() -> None:
    variables, x = variables_at(9)
    wide = x[:, :, :5]
    layout = find_spatial(lambda v, x: convolve(x, v["first"][:, :2], 1, "VALID"), variables, x)
    assert "not treated alike" in str(broken(layout, rotation_group())[0])
    with pytest.raises(ValueError, match="x has 9 rows and 5 columns, which C4 cannot exchange"):
        transform_input(wide, find_spatial(lambda v, x: x + v["first"].sum(), variables, wide), rotation_group(), 1)


def test_what_is_not_followed_is_named_and_taken_by_rule() -> None:
    variables, x = variables_at(9)

    def shuffled(variables: dict, x: jax.Array) -> jax.Array:
        x = jnp.take_along_axis(x, jnp.argsort(x, axis=2), axis=2)
        return convolve(x, variables["first"], 2, 1).mean((1, 2))

    layout = find_spatial(shuffled, variables, x)
    assert layout.by_rule == (("first",),) and "followed" in str(broken(layout, flip_group())[0])
    # a resizing is a known matrix along each axis, the same from both ends
    smaller = find_spatial(
        lambda v, x: convolve(jax.image.resize(x, (2, 5, 5, 2), "bilinear"), v["first"], 1, 1).mean((1, 2)),
        variables,
        x,
    )
    assert not smaller.by_rule and len(smaller.leaves) == 1 and not broken(smaller, flip_group())
    ramp = find_spatial(
        lambda v, x: (x * jnp.arange(9.0)[None, None, :, None]).mean((1, 2)) @ v["head"][:2], variables, x
    )
    assert "a constant that varies along the image" in str(broken(ramp, flip_group())[0])
