"""What broken operations say against the number itself, and errors that have no scale."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.equivariance import (
    broken,
    commutation_error,
    dihedral_group,
    find_spatial,
    flip_group,
    invariance_error,
    transform,
)

GROUPS = (flip_group(), flip_group("height"), dihedral_group())


def _conv(x: Any, kernel: Any) -> Any:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _coordinates(v: dict, x: Any) -> Any:
    ramp = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, 6)[None, None, :, None], (*x.shape[:3], 1))
    return jax.nn.relu(_conv(jnp.concatenate([x, ramp], -1), v["three"])).mean((1, 2))


def _reversed(v: dict, x: Any) -> Any:
    return jax.nn.relu(_conv(jax.nn.relu(_conv(x, v["two"]))[:, :, ::-1], v["four"])).mean((1, 2))


def _half_turn(v: dict, x: Any) -> Any:
    return jax.nn.relu(_conv(jax.nn.relu(_conv(x, v["two"]))[:, ::-1, ::-1], v["four"])).mean((1, 2))


def _stacked(v: dict, x: Any) -> Any:
    return jax.nn.relu(jax.vmap(lambda kernel: _conv(x, kernel))(v["stack"]).sum(0)).mean((1, 2))


def _one_pixel(v: dict, x: Any) -> Any:
    """A map of one pixel, padded so that the windows do not meet it in their middle."""
    inner = jax.lax.reduce_window(_conv(x, v["two"]), 0.0, jax.lax.add, (1, 6, 6, 1), (1, 1, 1, 1), "VALID")
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(inner, v["four"], (3, 3), [(2, 2), (2, 2)], dimension_numbers=layout).mean(
        (1, 2)
    )


@pytest.mark.parametrize("apply", [_coordinates, _reversed, _half_turn, _stacked, _one_pixel])
def test_an_operation_is_named_exactly_where_the_moved_network_sees_something_else(apply: Any) -> None:
    random = np.random.default_rng(0)
    v = {name: random.normal(size=(3, 3, size, 4)) for name, size in (("two", 2), ("three", 3), ("four", 4))}
    v, x = v | {"stack": random.normal(size=(5, 3, 3, 2, 4))}, random.normal(size=(2, 6, 6, 2))
    layout, before = find_spatial(apply, v, x), apply(v, x)
    for group in GROUPS:
        worst = 0.0
        for g in group.generators:
            moved = np.moveaxis(np.asarray(group.act(g, np.moveaxis(x, 3, 1))), 1, 3)
            worst = max(worst, np.abs(apply(transform(v, layout, group, g), moved) - before).max())
        assert (worst < 1e-12) == (not broken(layout, group)), group


def test_what_is_not_of_the_layout_is_refused() -> None:
    v, x = {"two": np.ones((3, 3, 2, 4)), "four": np.ones((3, 3, 4, 4))}, np.ones((1, 6, 6, 2))
    layout = find_spatial(_reversed, v, x)
    with pytest.raises(ValueError, match="x has shape"):
        commutation_error(v, np.ones((1, 5, 6, 2)), layout, GROUPS[0])
    with pytest.raises(ValueError, match="variables have shapes"):
        commutation_error({"two": v["two"]}, x, layout, GROUPS[0])
    with pytest.raises(ValueError, match="axis of x each"):
        find_spatial(_reversed, v, x, {"height": 1, "width": 1})


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_invariance_error_has_no_scale(scale: float, dtype: Any) -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 3, 4))
    sizes = np.linalg.norm(first, axis=1) + np.linalg.norm(second, axis=1)
    error = invariance_error((scale * first).astype(dtype), (scale * second).astype(dtype))
    wanted = 2 * np.linalg.norm(first - second, axis=1) / sizes
    np.testing.assert_allclose(error, wanted, rtol=1e-14 if dtype == np.float64 else 1e-6)
