"""Layers that share units: grouped convolutions and tied weights are matched with their readers, and flax's too."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.channels import permute
from symjax.matching import aligned, match, merge
from symjax.repair import outputs, repair, streams, writers
from symjax.tracing import Symmetries, symmetries

pytestmark = pytest.mark.slow


def _recovered(found: Symmetries, variables: dict, x: jax.Array) -> None:
    rng = np.random.default_rng(0)
    planted = {name: rng.permutation(one.size) for name, one in found.channels.items() if not one.batch}
    other = permute(planted, variables, found.channels)
    for method in ("activations", "weights"):
        back = aligned(match(found, variables, other, [x], method=method), other)
        jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_depthwise_and_grouped_convolutions_and_tied_weights() -> None:
    def convolve(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=names, feature_group_count=groups
        )

    def apply(v: dict, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(convolve(x, v["point"], 1))
        x = jax.nn.relu(convolve(x, v["depth"], 6))  # one kernel for each unit
        x = jax.nn.relu(convolve(x, v["grouped"], 2))
        code = jnp.mean(x, (1, 2))
        hidden = jax.nn.relu(code @ v["tied"] + v["bias"][None])
        return (hidden @ v["tied"].T) @ v["out"]

    rng = np.random.default_rng(1)
    shapes = {"point": (1, 1, 3, 6), "depth": (3, 3, 1, 6), "grouped": (3, 3, 3, 4), "tied": (4, 5), "bias": (5,)}
    variables = {name: jnp.asarray(rng.standard_normal(s)) for name, s in (shapes | {"out": (4, 2)}).items()}
    x = jnp.asarray(rng.standard_normal((16, 5, 5, 3)))
    found = symmetries(apply, variables, x[:1])
    _recovered(found, variables, x)
    assert "bias" not in {place.name for place in writers(found)}  # the tied kernel writes and reads these units


class _Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def norm(x: jax.Array) -> jax.Array:
            return nn.BatchNorm(True, dtype=x.dtype, param_dtype=x.dtype, force_float32_reductions=False)(x)

        x = nn.relu(norm(nn.Conv(6, (3, 3), use_bias=False, param_dtype=x.dtype)(x)))
        for _ in range(2):
            h = nn.relu(norm(nn.Conv(4, (3, 3), param_dtype=x.dtype)(x)))
            x = nn.relu(x + norm(nn.Conv(6, (3, 3), use_bias=False, param_dtype=x.dtype)(h)))
        return nn.Dense(3, param_dtype=x.dtype)(x.mean((1, 2)))


def test_a_residual_network_of_flax_is_reset_and_corrected_at_its_streams() -> None:
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.standard_normal((12, 6, 6, 3)))
    shapes = jax.eval_shape(lambda: _Net().init(jax.random.key(0), x[:1]))
    first, second = (jax.tree.map(lambda s: jnp.asarray(np.abs(rng.standard_normal(s.shape))), shapes) for _ in "ab")
    first, second = ({**one, "params": jax.tree.map(lambda leaf: leaf - 0.7, one["params"])} for one in (first, second))
    found = symmetries(_Net().apply, first, x[:1])
    _recovered(found, first, x)
    places = writers(found)
    assert len(places) == 5 and all(place.normalisation is not None for place in places)
    assert len(streams(found)) == 3
    merged, batches = merge(first, second), [x[:8], x[8:]]
    reset = repair(found, merged, first, second, [x], correction="reset").variables
    run = nn.BatchNorm(dtype=x.dtype, param_dtype=x.dtype, force_float32_reductions=False)
    seen = nn.Conv(6, (3, 3), use_bias=False, param_dtype=x.dtype).apply({"params": reset["params"]["Conv_0"]}, x)
    own = {"params": reset["params"]["BatchNorm_0"], "batch_stats": reset["batch_stats"]["BatchNorm_0"]}
    training, _ = run.apply(own, seen, use_running_average=False, mutable=["batch_stats"])
    evaluated = run.apply(own, seen, use_running_average=True)
    np.testing.assert_allclose(evaluated, training, atol=1e-10)
    for mode in ("exact", "torch"):
        fixed = repair(found, merged, first, second, batches, places="streams", mode=mode)
        assert len(fixed.inserted) == 3 and len(fixed.goals) == 3
        assert outputs(found, fixed, x).shape == (12, 3)
