"""Channels: permuting and rescaling are actions, and leave the function of every kind of layer unchanged."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.channels import (
    Block,
    Channel,
    Channels,
    Layer,
    Mixing,
    Scaling,
    Segment,
    Site,
    leaf_paths,
    mixings,
    mlp_channels,
    permute,
    rescale,
    restrict,
    scalings,
)

DTYPES = [jnp.float64, jnp.float32]
KINDS = ["scale", "rescale"]
HEIGHT, WIDTH, HEADS, HEAD = 2, 3, 3, 2
seeds = st.integers(0, 2**32 - 1)
steps = st.floats(-1.0, 1.0)


def error(value: Any, expected: Any) -> float:
    """Largest difference over all leaves, each relative to the largest entry of the expected leaf."""
    assert jax.tree.structure(value) == jax.tree.structure(expected)
    worst = 0.0
    for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        worst = max(worst, float(np.max(np.abs(a - b)) / np.max(np.abs(b))))
    return worst


def equal(value: Any, expected: Any) -> bool:
    return jax.tree.structure(value) == jax.tree.structure(expected) and jax.tree.all(
        jax.tree.map(lambda a, b: a.dtype == b.dtype and bool(jnp.array_equal(a, b)), value, expected)
    )


def along_last(vector: jax.Array, ndim: int) -> jax.Array:
    return vector.reshape((1,) * (ndim - 1) + (-1,))


def dense(layer: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + along_last(layer["bias"], x.ndim)


def convolve(layer: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    y = jax.lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + along_last(layer["bias"], 4)


def batch_normalise(
    layer: Mapping[str, jax.Array], statistics: Mapping[str, jax.Array], x: jax.Array, epsilon: float
) -> jax.Array:
    mean, var = (along_last(statistics[name], x.ndim) for name in ("mean", "var"))
    normalised = (x - mean) / jnp.sqrt(var + jnp.asarray(epsilon, x.dtype))
    return normalised * along_last(layer["scale"], x.ndim) + along_last(layer["bias"], x.ndim)


def convolutional(variables: Any, x: jax.Array, epsilon: float = 0.0, flatten: str = "HWC") -> jax.Array:
    """Convolution, BatchNorm with its running statistics, ReLU, a flattening, two dense layers."""
    params, statistics = variables["params"], variables["batch_stats"]
    y = batch_normalise(params["norm"], statistics["norm"], convolve(params["conv"], x), epsilon)
    y = jax.nn.relu(y)
    y = y if flatten == "HWC" else jnp.transpose(y, (0, 3, 1, 2))
    y = jax.nn.relu(dense(params["hidden"], y.reshape(y.shape[0], -1)))
    return dense(params["out"], y)


def convolutional_channels(flatten: str = "HWC") -> dict[str, Channel]:
    area = HEIGHT * WIDTH
    reader = Site(("params", "hidden", "kernel"), 0, **({"outer": area} if flatten == "HWC" else {"inner": area}))
    kernel, bias = Site(("params", "conv", "kernel"), 3), Site(("params", "conv", "bias"), 0)
    gamma, beta = Site(("params", "norm", "scale"), 0), Site(("params", "norm", "bias"), 0)
    mean, var = Site(("batch_stats", "norm", "mean"), 0), Site(("batch_stats", "norm", "var"), 0)
    hidden = tuple(Site(("params", *path), axis) for path, axis in HIDDEN)
    return {
        "conv": Channel(
            4,
            (kernel, bias, gamma, beta, mean, var, reader),
            (
                Scaling("scale", ((kernel, 1.0), (bias, 1.0), (mean, 1.0), (var, 2.0))),
                Scaling("rescale", ((gamma, 1.0), (beta, 1.0), (reader, -1.0))),
            ),
        ),
        "hidden": Channel(5, hidden, (Scaling("rescale", tuple(zip(hidden, (1.0, 1.0, -1.0), strict=True))),)),
    }


HIDDEN = ((("hidden", "kernel"), 1), (("hidden", "bias"), 0), (("out", "kernel"), 0))


def convolutional_variables(rng: np.random.Generator, dtype: Any = jnp.float64) -> Any:
    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape), dtype)

    return {
        "params": {
            "conv": {"kernel": normal(3, 3, 2, 4), "bias": normal(4)},
            "norm": {"scale": normal(4), "bias": normal(4)},
            "hidden": {"kernel": normal(HEIGHT * WIDTH * 4, 5), "bias": normal(5)},
            "out": {"kernel": normal(5, 3), "bias": normal(3)},
        },
        "batch_stats": {"norm": {"mean": normal(4), "var": jnp.square(normal(4)) + jnp.asarray(0.5, dtype)}},
        "step": jnp.asarray(7, jnp.int32),
    }


def images(rng: np.random.Generator, dtype: Any = jnp.float64) -> jax.Array:
    return jnp.asarray(rng.standard_normal((2, HEIGHT, WIDTH, 2)), dtype)


def mlp(rng: np.random.Generator, dtype: Any = jnp.float64, widths: tuple[int, ...] = (3, 4, 5, 2)) -> Any:
    pairs = pairwise(widths)
    return tuple(
        Layer(jnp.asarray(rng.standard_normal((n, m)), dtype), jnp.asarray(rng.standard_normal(m), dtype))
        for n, m in pairs
    )


def perceptron(layers: Any, x: jax.Array, activation: Callable[[jax.Array], jax.Array]) -> jax.Array:
    for i, layer in enumerate(layers):
        x = dense(layer._asdict(), x)
        x = activation(x) if i < len(layers) - 1 else x
    return x


def named(s: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    return {channel: {name: value} for channel, value in s.items()}


def coordinates(channels: Channels, name: str, dtype: Any = None) -> dict[str, jax.Array]:
    return scalings(channels, name, dtype).zero


def sample_coordinates(rng: np.random.Generator, channels: Channels, kind: str, dtype: Any) -> dict[str, jax.Array]:
    zero = coordinates(channels, kind, dtype)
    return {name: jnp.asarray(rng.uniform(-1, 1, value.shape), dtype) for name, value in zero.items()}


def sample_permutations(rng: np.random.Generator, channels: Channels) -> dict[str, jax.Array]:
    return {name: jnp.asarray(rng.permutation(channel.size)) for name, channel in channels.items()}


def scaled(s: Any, factor: float) -> Any:
    return jax.tree.map(lambda value: value * jnp.asarray(factor, value.dtype), s)


ACTIVATIONS = {
    "relu": (jax.nn.relu, 1.0),
    "leaky_relu": (lambda z: jnp.where(z > 0, z, z * jnp.asarray(0.1, z.dtype)), 1.0),
    "squared_relu": (lambda z: jnp.square(jax.nn.relu(z)), 2.0),
    "root_relu": (lambda z: jnp.sqrt(jnp.abs(z)), 0.5),
    "identity": (lambda z: z, 1.0),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds, a=steps, b=steps)
def test_rescale_is_a_flow(
    tolerance: Callable[..., float], kind: str, dtype: Any, seed: int, a: float, b: float
) -> None:
    rng = np.random.default_rng(seed)
    variables, channels = convolutional_variables(rng, dtype), convolutional_channels()
    s = sample_coordinates(rng, channels, kind, dtype)
    flow = partial(scalings(channels, kind).flow, variables=variables)
    twice = rescale(named(scaled(s, a), kind), flow(scaled(s, b)), channels)
    assert equal(flow(coordinates(channels, kind, dtype)), variables)
    assert error(flow(scaled(s, a + b)), twice) < tolerance("law", dtype)
    assert error(rescale(named(scaled(s, -1.0), kind), flow(s), channels), variables) < tolerance("law", dtype)


@given(seed=seeds)
def test_permute_is_an_action(seed: int) -> None:
    rng = np.random.default_rng(seed)
    variables, channels = convolutional_variables(rng), convolutional_channels()
    p, q = sample_permutations(rng, channels), sample_permutations(rng, channels)
    identity = {name: jnp.arange(channel.size) for name, channel in channels.items()}
    inverse = jax.tree.map(jnp.argsort, p)
    moved = permute(p, variables, channels)
    assert equal(permute(identity, variables, channels), variables)
    assert equal(permute(q, moved, channels), permute({name: p[name][q[name]] for name in p}, variables, channels))
    assert equal(permute(inverse, moved, channels), variables)
    assert not equal(permute({**identity, "conv": jnp.array([1, 0, 2, 3])}, variables, channels), variables)


def test_composition_in_the_other_order_is_another_permutation() -> None:
    variables, channels = convolutional_variables(np.random.default_rng(0)), convolutional_channels()
    p, q = jnp.array([1, 0, 2, 3]), jnp.array([0, 2, 1, 3])
    twice = permute({"conv": q}, permute({"conv": p}, variables, channels), channels)
    assert equal(twice, permute({"conv": p[q]}, variables, channels))
    assert not equal(twice, permute({"conv": q[p]}, variables, channels))


@pytest.mark.parametrize("flatten", ["HWC", "CHW"])
def test_permute_moves_what_numpy_moves(flatten: str) -> None:
    variables = convolutional_variables(np.random.default_rng(1))
    perm, area = np.array([2, 0, 3, 1]), HEIGHT * WIDTH
    moved = permute({"conv": jnp.asarray(perm)}, variables, convolutional_channels(flatten))
    params = jax.tree.map(np.asarray, variables["params"])
    reader = params["hidden"]["kernel"]
    if flatten == "HWC":
        reader = reader.reshape(area, 4, 5)[:, perm].reshape(-1, 5)
    else:
        reader = reader.reshape(4, area, 5)[perm].reshape(-1, 5)
    expected = jax.tree.map(lambda leaf: leaf, variables)
    expected["params"]["conv"] = {"kernel": params["conv"]["kernel"][..., perm], "bias": params["conv"]["bias"][perm]}
    expected["params"]["norm"] = {name: value[perm] for name, value in params["norm"].items()}
    expected["params"]["hidden"]["kernel"] = reader
    expected["batch_stats"]["norm"] = {name: value[perm] for name, value in variables["batch_stats"]["norm"].items()}
    assert equal(moved, jax.tree.map(jnp.asarray, expected))


@pytest.mark.parametrize("flatten", ["HWC", "CHW"])
def test_rescale_multiplies_what_numpy_multiplies(tolerance: Callable[..., float], flatten: str) -> None:
    variables, channels = convolutional_variables(np.random.default_rng(2)), convolutional_channels(flatten)
    c = np.array([2.0, 0.5, 3.0, 1.0])
    s = {"conv": jnp.log(jnp.asarray(c))}
    params, statistics = variables["params"], variables["batch_stats"]["norm"]
    scale = jax.tree.map(lambda leaf: leaf, variables)
    scale["params"]["conv"] = {
        "kernel": params["conv"]["kernel"] * c[None, None, None],
        "bias": params["conv"]["bias"] * c,
    }
    scale["batch_stats"]["norm"] = {"mean": statistics["mean"] * c, "var": statistics["var"] * c**2}
    readers = np.tile(c, HEIGHT * WIDTH) if flatten == "HWC" else np.repeat(c, HEIGHT * WIDTH)
    against = jax.tree.map(lambda leaf: leaf, variables)
    against["params"]["norm"] = {name: value * c for name, value in params["norm"].items()}
    against["params"]["hidden"]["kernel"] = params["hidden"]["kernel"] / readers[:, None]
    assert error(rescale(named(s, "scale"), variables, channels), scale) < tolerance("oracle", jnp.float64)
    assert error(rescale(named(s, "rescale"), variables, channels), against) < tolerance("oracle", jnp.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
@given(seed=seeds)
def test_homogeneous_units_keep_the_function(tolerance: Callable[..., float], name: str, dtype: Any, seed: int) -> None:
    activation, degree = ACTIVATIONS[name]
    rng = np.random.default_rng(seed)
    layers, x = mlp(rng, dtype), jnp.asarray(rng.standard_normal((6, 3)), dtype)
    channels = mlp_channels(layers, degree)
    moved = rescale(named(sample_coordinates(rng, channels, "rescale", dtype), "rescale"), layers, channels)
    moved = permute(sample_permutations(rng, channels), moved, channels)
    assert error(perceptron(moved, x, activation), perceptron(layers, x, activation)) < 10 * tolerance(
        "invariance", dtype
    )
    assert error(moved, layers) > 1e-3


@pytest.mark.parametrize(
    ("activation", "degree"),
    [(jnp.tanh, 1.0), (jax.nn.sigmoid, 1.0), (jax.nn.relu, 2.0), (ACTIVATIONS["squared_relu"][0], 1.0)],
)
def test_another_activation_or_degree_changes_the_function(
    activation: Callable[[jax.Array], jax.Array], degree: float
) -> None:
    rng = np.random.default_rng(3)
    layers, x = mlp(rng), jnp.asarray(rng.standard_normal((6, 3)))
    channels = mlp_channels(layers, degree)
    moved = rescale(named(sample_coordinates(rng, channels, "rescale", None), "rescale"), layers, channels)
    assert error(perceptron(moved, x, activation), perceptron(layers, x, activation)) > 1e-2


def test_units_of_a_bounded_activation_only_permute() -> None:
    layers = mlp(np.random.default_rng(4))
    channels = mlp_channels(layers, degree=None)
    assert [(name, channel.size, channel.scalings) for name, channel in channels.items()] == [
        ("hidden0", 4, ()),
        ("hidden1", 5, ()),
    ]
    with pytest.raises(ValueError, match="^no channel has scalings named 'rescale'; there are none$"):
        scalings(channels, "rescale")
    x = jnp.ones((2, 3))
    moved = permute({"hidden1": jnp.array([4, 2, 0, 1, 3])}, layers, channels)
    assert error(perceptron(moved, x, jnp.tanh), perceptron(layers, x, jnp.tanh)) < 1e-13


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("flatten", ["HWC", "CHW"])
@given(seed=seeds)
def test_convolution_and_batchnorm_keep_the_function(
    tolerance: Callable[..., float], flatten: str, dtype: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    variables, channels = convolutional_variables(rng, dtype), convolutional_channels(flatten)
    x, apply = images(rng, dtype), partial(convolutional, flatten=flatten)
    expected = apply(variables, x)
    limit = 10 * tolerance("invariance", dtype)
    for kind in KINDS:
        moved = rescale(named(sample_coordinates(rng, channels, kind, dtype), kind), variables, channels)
        assert error(apply(moved, x), expected) < limit
    moved = permute(sample_permutations(rng, channels), variables, channels)
    assert error(apply(moved, x), expected) < limit


def test_the_wrong_flattening_changes_the_function() -> None:
    rng = np.random.default_rng(5)
    variables, x = convolutional_variables(rng), images(rng)
    moved = permute({"conv": jnp.array([1, 0, 2, 3])}, variables, convolutional_channels("CHW"))
    assert error(convolutional(moved, x), convolutional(variables, x)) > 1e-2


@pytest.mark.parametrize("missing", range(4))
def test_a_filter_scales_only_with_all_four(missing: int) -> None:
    rng = np.random.default_rng(6)
    variables, x, channels = convolutional_variables(rng), images(rng), convolutional_channels()
    channel = channels["conv"]
    terms = tuple(term for i, term in enumerate(channel.scalings[0].terms) if i != missing)
    partial_channels = {"conv": channel._replace(scalings=(Scaling("scale", terms),))}
    moved = rescale(named({"conv": jnp.full(4, 0.5)}, "scale"), variables, partial_channels)
    assert error(convolutional(moved, x), convolutional(variables, x)) > 1e-2


def test_epsilon_breaks_the_scale_symmetry_in_proportion() -> None:
    rng = np.random.default_rng(7)
    variables, x, channels = convolutional_variables(rng), images(rng), convolutional_channels()
    moved = rescale(named({"conv": jnp.full(4, -1.0)}, "scale"), variables, channels)
    broken = [
        error(convolutional(moved, x, epsilon), convolutional(variables, x, epsilon)) for epsilon in (1e-5, 1e-6, 0.0)
    ]
    assert 1e-7 < broken[0] < 1e-3
    assert broken[0] / broken[1] == pytest.approx(10, rel=1e-2)
    assert broken[2] < 1e-12


def test_a_site_left_out_changes_the_function() -> None:
    rng = np.random.default_rng(8)
    variables, x, channels = convolutional_variables(rng), images(rng), convolutional_channels()
    perm = {"conv": jnp.array([1, 2, 3, 0])}
    for i in range(len(channels["conv"].sites)):
        sites = tuple(site for j, site in enumerate(channels["conv"].sites) if j != i)
        moved = permute(perm, variables, {"conv": channels["conv"]._replace(sites=sites, scalings=())})
        assert error(convolutional(moved, x), convolutional(variables, x)) > 1e-3


def test_concatenated_branches_have_offsets(tolerance: Callable[..., float]) -> None:
    rng = np.random.default_rng(9)
    x = jnp.asarray(rng.standard_normal((5, 3)))

    def layer(n: int, m: int) -> dict[str, jax.Array]:
        return {"kernel": jnp.asarray(rng.standard_normal((n, m))), "bias": jnp.asarray(rng.standard_normal(m))}

    params = {"left": layer(3, 2), "right": layer(3, 4), "out": layer(6, 2)}

    def apply(params: Any) -> jax.Array:
        branches = [jax.nn.relu(dense(params[name], x)) for name in ("left", "right")]
        return dense(params["out"], jnp.concatenate(branches, axis=1))

    def channel(name: str, size: int, offset: int) -> Channel:
        sites = (Site((name, "kernel"), 1), Site((name, "bias"), 0), Site(("out", "kernel"), 0, offset=offset))
        return Channel(size, sites, (Scaling("rescale", tuple(zip(sites, (1.0, 1.0, -1.0), strict=True))),))

    channels = {"left": channel("left", 2, 0), "right": channel("right", 4, 2)}
    s = sample_coordinates(rng, channels, "rescale", None)
    moved = permute(sample_permutations(rng, channels), rescale(named(s, "rescale"), params, channels), channels)
    assert error(apply(moved), apply(params)) < tolerance("invariance", jnp.float64)
    wrong = {"left": channel("left", 2, 2), "right": channel("right", 4, 0)}
    assert error(apply(rescale(named(s, "rescale"), params, wrong)), apply(params)) > 1e-2


def attention(params: Any, x: jax.Array) -> jax.Array:
    """Self-attention with queries, keys and values in one kernel, ordered (q, k, v) x head x dimension."""
    qkv = (x @ params["qkv"]).reshape(x.shape[0], 3, HEADS, HEAD)
    q, k, v = (qkv[:, i] for i in range(3))
    weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k), axis=-1)
    return jnp.einsum("hqk,khd->qhd", weights, v).reshape(x.shape[0], -1) @ params["out"]


def test_heads_are_blocks_of_a_fused_kernel(tolerance: Callable[..., float]) -> None:
    rng = np.random.default_rng(10)
    size, model, limit = HEADS * HEAD, 4, tolerance("invariance", jnp.float64)
    x = jnp.asarray(rng.standard_normal((5, model)))
    params = {
        "qkv": jnp.asarray(rng.standard_normal((model, 3 * size))),
        "out": jnp.asarray(rng.standard_normal((size, model))),
    }
    out = Site(("out",), 0, inner=HEAD)
    fused = {"heads": Channel(HEADS, (Site(("qkv",), 1, outer=3, inner=HEAD), out))}
    blocks = tuple(Site(("qkv",), 1, offset=i * size, inner=HEAD) for i in range(3))
    perm = {"heads": jnp.array([2, 0, 1])}
    moved = permute(perm, params, fused)
    assert equal(moved, permute(perm, params, {"heads": Channel(HEADS, (*blocks, out))}))
    assert not equal(moved, params)
    assert error(attention(moved, x), attention(params, x)) < limit

    query, key, value = (Site(("qkv",), 1, offset=i * size) for i in range(3))
    reads = Site(("out",), 0)
    pairs = {
        "query-key": Channel(size, (query, key), (Scaling("rescale", ((query, 1.0), (key, -1.0))),)),
        "value-out": Channel(size, (value, reads), (Scaling("rescale", ((value, 1.0), (reads, -1.0))),)),
    }
    moved = rescale(named(sample_coordinates(rng, pairs, "rescale", None), "rescale"), params, pairs)
    assert error(attention(moved, x), attention(params, x)) < limit
    assert error(moved, params) > 1e-2


@pytest.mark.parametrize("dtype", DTYPES)
def test_structure_shape_and_dtype_are_kept(dtype: Any) -> None:
    variables, channels = convolutional_variables(np.random.default_rng(11), dtype), convolutional_channels()
    perms = {"conv": jnp.array([3, 2, 1, 0])}
    results = [permute(perms, variables, channels)]
    for coordinate_dtype in DTYPES:
        s = {"conv": jnp.ones(4, coordinate_dtype)}
        results += [rescale(named(s, kind), variables, channels) for kind in KINDS]
    for result in results:
        assert jax.tree.structure(result) == jax.tree.structure(variables)
        for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(variables), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert result["step"] == 7


def test_channels_left_out_do_not_move() -> None:
    variables, channels = convolutional_variables(np.random.default_rng(12)), convolutional_channels()
    assert equal(permute({}, variables, channels), variables)
    assert equal(rescale(named({}, "scale"), variables, channels), variables)
    moved = rescale(named({"hidden": jnp.ones(5)}, "rescale"), variables, channels)
    assert equal(moved["params"]["conv"], variables["params"]["conv"])
    assert not equal(moved["params"]["out"], variables["params"]["out"])


def test_jit_and_vmap_agree_with_a_loop(tolerance: Callable[..., float]) -> None:
    rng = np.random.default_rng(13)
    channels = convolutional_channels()
    networks = [convolutional_variables(rng) for _ in range(3)]
    perms = [sample_permutations(rng, channels) for _ in range(3)]
    s = [sample_coordinates(rng, channels, "rescale", None) for _ in range(3)]

    def stack(trees: list[Any]) -> Any:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    act = jax.jit(jax.vmap(lambda perm, v: permute(perm, v, channels)))
    flow = jax.jit(jax.vmap(lambda s, v: rescale(named(s, "rescale"), v, channels)))
    loop = stack([permute(perm, v, channels) for perm, v in zip(perms, networks, strict=True)])
    assert equal(act(stack(perms), stack(networks)), loop)
    loop = stack([rescale(named(t, "rescale"), v, channels) for t, v in zip(s, networks, strict=True)])
    assert error(flow(stack(s), stack(networks)), loop) < tolerance("oracle", jnp.float64)


def test_rescale_differentiates_to_the_degrees(tolerance: Callable[..., float]) -> None:
    """d/ds of the sum of squares at 0 is twice the sum over the sites of degree * squares."""
    variables, channels = convolutional_variables(np.random.default_rng(14)), convolutional_channels()
    del variables["step"]

    def energy(s: Any) -> jax.Array:
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(rescale(named(s, "scale"), variables, channels)))

    derivative = jax.grad(energy)(coordinates(channels, "scale"))
    kernel, bias = (np.asarray(variables["params"]["conv"][name]) for name in ("kernel", "bias"))
    mean, var = (np.asarray(variables["batch_stats"]["norm"][name]) for name in ("mean", "var"))
    expected = 2 * (np.sum(kernel**2, axis=(0, 1, 2)) + bias**2 + mean**2 + 2 * var**2)
    assert error(derivative, {"conv": jnp.asarray(expected)}) < tolerance("oracle", jnp.float64)


def test_coordinates_are_zeros_of_the_channels_with_that_scaling() -> None:
    channels = convolutional_channels()
    assert jax.tree.map(jnp.shape, coordinates(channels, "scale")) == {"conv": (4,)}
    assert jax.tree.map(jnp.shape, coordinates(channels, "rescale")) == {"conv": (4,), "hidden": (5,)}
    assert coordinates(channels, "scale")["conv"].dtype == jnp.float64
    assert coordinates(channels, "scale", jnp.float32)["conv"].dtype == jnp.float32
    assert not any(jnp.any(value) for value in coordinates(channels, "rescale").values())


def test_restrict_keeps_what_lies_below_the_prefix() -> None:
    variables, channels = convolutional_variables(np.random.default_rng(15)), convolutional_channels()
    inside = restrict(channels, "params")
    assert inside["conv"].sites == tuple(
        site._replace(path=site.path[1:]) for site in channels["conv"].sites if site.path[0] == "params"
    )
    assert [len(scaling.terms) for scaling in inside["conv"].scalings] == [2, 3]
    s, perms = {"conv": jnp.arange(4.0)}, {"conv": jnp.array([1, 0, 3, 2])}
    for kind in KINDS:
        whole = rescale(named(s, kind), variables, channels)["params"]
        assert equal(rescale(named(s, kind), variables["params"], inside), whole)
    assert equal(permute(perms, variables["params"], inside), permute(perms, variables, channels)["params"])
    statistics = restrict(channels, "batch_stats")
    assert [scaling.name for scaling in statistics["conv"].scalings] == ["scale"]
    assert list(statistics) == ["conv"]
    with pytest.raises(ValueError, match="^no site's path begins with 'wieghts'; the paths begin with batch_stats, "):
        restrict(channels, "wieghts")


def test_leaf_paths_are_plain_keys_in_the_order_of_the_leaves() -> None:
    tree = {"b": [1, {"c": 2}], "a": Layer(3, 4)}
    assert leaf_paths(tree) == {("a", "kernel"): 3, ("a", "bias"): 4, ("b", 0): 1, ("b", 1, "c"): 2}
    assert list(leaf_paths(tree).values()) == jax.tree.leaves(tree)


PLAIN = {"kernel": np.ones((2, 4), np.float32)}
ONE = {"hidden": Channel(4, (Site(("kernel",), 1),), (Scaling("scale", ((Site(("kernel",), 1), 1.0),)),))}


def at(site: Site) -> Channels:
    return {"hidden": Channel(4, (site,), (Scaling("scale", ((site, 1.0),)),))}


@pytest.mark.parametrize(
    ("perm", "message"),
    [
        ({"hiden": np.arange(4)}, "no channel is named 'hiden'; the channels are 'hidden'"),
        ({"hidden": np.arange(3)}, "perms['hidden'] has shape (3,), but the channel has size 4"),
        ({"hidden": np.arange(4.0)}, "perms['hidden'] has dtype float64, but a permutation holds integers"),
        (
            {"hidden": np.array([0, 1, 1, 3])},
            "perms['hidden'] is not a permutation: it must hold each of 0 ... 3 once",
        ),
    ],
)
def test_permute_refuses_in_one_sentence(perm: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        permute(perm, PLAIN, ONE)


@pytest.mark.parametrize(
    ("s", "message"),
    [
        ({"hiden": {"scale": np.zeros(4)}}, "no channel is named 'hiden'; the channels are 'hidden'"),
        ({"hidden": {"scale": np.zeros(3)}}, "s['hidden']['scale'] has shape (3,), but must have shape (4,)"),
        ({"hidden": {"rescale": np.zeros(4)}}, "channel 'hidden' has no scaling named 'rescale'; its own are 'scale'"),
        ({"hidden": {"scale": "s"}}, "s['hidden']['scale'] is 's', but must be an array of real numbers"),
        ({"hidden": {"scale": np.zeros(4, bool)}}, "s['hidden']['scale'] is an array of dtype bool, but must be an "),
        ({"hidden": np.zeros(4)}, "s['hidden'] is ndarray, but must map the name of a scaling to its array: 'scale'"),
    ],
)
def test_rescale_refuses_in_one_sentence(s: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        rescale(s, PLAIN, ONE)


def test_lists_and_integers_are_arrays() -> None:
    assert equal(permute({"hidden": [3, 2, 1, 0]}, PLAIN, ONE), permute({"hidden": np.arange(4)[::-1]}, PLAIN, ONE))
    for s in ([0, 1, 0, 2], np.array([0, 1, 0, 2])):
        moved = rescale({"hidden": {"scale": s}}, PLAIN, ONE)
        np.testing.assert_allclose(moved["kernel"][0], np.exp([0, 1, 0, 2]), rtol=1e-6)


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (Site(("kernl",), 1), "no leaf has the path ('kernl',); the paths are ('kernel',)"),
        (Site(("kernel",), 2), "names axis 2 of an array of shape (2, 4)"),
        (Site(("kernel",), -1), "but an axis is a non-negative integer: count it from the front"),
        (Site(("kernel",), 0), "with 4 units does not fit an axis of length 2"),
        (Site(("kernel",), 1, outer=3), "with 4 units does not fit an axis of length 4"),
        (Site(("kernel",), 1, offset=1), "with 4 units does not fit an axis of length 4"),
        (Site(("kernel",), 1, inner=2), "with 4 units does not fit an axis of length 4"),
        (Site(("kernel",), 1, outer=0), "but sizes, outer and inner must be positive and offset not negative"),
        (Site(("kernel",), 1, inner=-1), "but sizes, outer and inner must be positive and offset not negative"),
        (Site(("kernel",), 1, offset=-1), "but sizes, outer and inner must be positive and offset not negative"),
        (Site(("kernel",), 1, batch=(Block(0),)), "with 1 batch blocks, but has 0 batch indices"),
        (Site(("kernel",), 1, within=(Segment(2, 3),)), "does not fit an axis of length 4"),
        (Site(("kernel",)), "but only a term may have cuts or no axis"),
        (Site(["kernel"], 1), "but a description is made of tuples"),
    ],
)
def test_a_site_that_does_not_fit_is_named(site: Site, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        permute({"hidden": jnp.arange(4)}, PLAIN, at(site))
    with pytest.raises(ValueError, match=re.escape(message)):
        rescale({"hidden": {"scale": jnp.zeros(4)}}, PLAIN, at(site))


W, B, V = Site(("w",), 1), Site(("b",), 0), Site(("v",), 0)
WHOLE = Scaling("rescale", ((W, 1), (B, 1), (V, -1)))
EIGHT = {"w": np.ones((5, 8)), "b": np.ones(8), "v": np.ones((8, 3))}


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        (Channel(8, (), (WHOLE,)), "has no sites, but needs one at least: nothing would move"),
        (Channel(8, (W,), (WHOLE,)), "but that is none of the channel's sites"),
        (Channel(8, (W, W, B, V), (WHOLE,)), "lists Site(path=('w',), axis=1"),
        (Channel(8, (W, W._replace(offset=0)), ()), "overlaps another site of the channel"),
        (Channel(7, (W, B, V)), "a block that does not fill it needs an offset"),
        (Channel(8, (W, B, V), (WHOLE, WHOLE)), "has two of kind scaling named 'rescale'"),
        (Channel(8, (W, B, V), (Scaling("rescale", ()),)), "has no terms, but needs one at least"),
        (Channel(8, (W, B, V), (Scaling("rescale", ((W, 1), (W, 2))),)), "twice"),
        (Channel(8, (W, B, V), (Scaling("", ((W, 1),)),)), "has no name"),
        (Channel(8, (W, B, V), (Scaling("rescale", ((W, 0),)),)), "a finite number that is not zero"),
        (Channel(8, (W, B, V), (Scaling("rescale", ((W, "1"),)),)), "a finite number that is not zero"),
        (Channel(8, (W, B, V), (Scaling("rescale", ((W, 1),), "luck"),)), "must be one of '', 'epsilon', 'mask'"),
        (Channel(8, (W, B, V), (Scaling("rescale", ((W, 1),), over=(1,)),)), "runs over (1,)"),
        (Channel(8, (W, B, V), (Scaling("rescale", ((W, 1),), over=(0, -1)),)), "runs over (0, -1)"),
        (Channel(8, (W, B, V), mixings=(Mixing("m", "linear", ((W, 1),)),)), "is of the group 'linear'"),
        (Channel(8, (W, B, V), mixings=(Mixing("m", "orthogonal", ((W, 2),)),)), "writers have 1 and readers -1"),
        (Channel(0, (W, B, V)), "must be positive integers"),
        (Channel(8.0, (W, B, V)), "must be positive integers"),
        (Channel(8, [W, B, V]), "a description is made of tuples"),
        (8, "is a int, but must be a Channel"),
    ],
)
def test_a_description_that_is_vacuous_or_contradicts_itself_is_refused(channel: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        permute({"h": jnp.arange(int(getattr(channel, "size", 8)))}, EIGHT, {"h": channel})


@pytest.mark.parametrize("channels", [{}, None, "channels"])
def test_no_channels_are_refused(channels: Any) -> None:
    for call in (lambda: permute({}, EIGHT, channels), lambda: scalings(channels), lambda: restrict(channels, "w")):
        with pytest.raises(ValueError, match=r"^channels is .*, but must map a name to each Channel, one at least$"):
            call()


def test_a_name_nobody_has_is_refused() -> None:
    channels = {"h": Channel(8, (W, B, V), (WHOLE,))}
    with pytest.raises(ValueError, match="^no channel has scalings named 'scale'; there are 'rescale'$"):
        scalings(channels, "scale")
    with pytest.raises(ValueError, match="^no channel has mixings$"):
        mixings(channels)


@pytest.mark.parametrize(
    ("layers", "degree", "message"),
    [
        (({"kernel": 0},) * 2, 1.0, "layers[0] is a dict, but must be a Layer(kernel, bias)"),
        ((Layer(np.ones((2, 3)), None),) * 2, 1.0, "layers[0] has no bias, but needs one: zeros of shape (3,)"),
        (
            (Layer(np.ones((2, 2)), np.ones(2)),) * 2,
            "relu",
            "degree is 'relu', but must be a number that is not zero, or None",
        ),
    ],
)
def test_what_is_no_network_is_refused(layers: Any, degree: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        mlp_channels(layers, degree)


def test_swapped_arguments_are_one_sentence():
    layers = (Layer(jnp.ones((2, 3)), jnp.zeros(3)), Layer(jnp.ones((3, 1)), jnp.zeros(1)))
    with pytest.raises(ValueError, match="channel") as caught:
        permute({"params": jnp.ones((2, 3))}, mlp_channels(layers), {"params": jnp.ones((2, 3))})
    assert "\n" not in str(caught.value)
