"""Each symmetry's constraints on gradient and Hessian, at all parameters, for a minibatch of a small network.

The networks have their symmetries exactly: translation of what feeds the softmax, scale of a filter before BatchNorm,
rescale of homogeneous units and of BatchNorm's gamma and beta against their readers, rotation of a radial loss.
"""

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
from symjax.channels import Channel, Scaling, Site, restrict, scalings
from symjax.symmetry import Symmetry, generator, noether_charge, pairing, symmetry_residual

DTYPES = [jnp.float64, jnp.float32]
FILTERS, HIDDEN, CLASSES = 3, 5, 4
seeds = st.integers(0, 2**32 - 1)
Params = dict[str, dict[str, jax.Array]]


def along_last(vector: jax.Array, ndim: int) -> jax.Array:
    return vector.reshape((1,) * (ndim - 1) + (-1,))


def convolve(params: Params, x: jax.Array) -> jax.Array:
    y = jax.lax.conv_general_dilated(
        x,
        params["conv"]["kernel"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    return y + along_last(params["conv"]["bias"], 4)


def loss(params: Params, images: jax.Array, labels: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Convolution, BatchNorm in training mode, ReLU, a hidden layer with leaky ReLU, softmax cross-entropy."""
    y = convolve(params, images)
    mean = jnp.mean(y, axis=(0, 1, 2), keepdims=True)
    var = jnp.mean(jnp.square(y - mean), axis=(0, 1, 2), keepdims=True)
    y = (y - mean) / jnp.sqrt(var + epsilon)
    y = jax.nn.relu(y * along_last(params["norm"]["scale"], 4) + along_last(params["norm"]["bias"], 4))
    y = jnp.mean(y, axis=(1, 2))
    matmul = partial(jnp.matmul, precision="highest")
    y = matmul(y, params["hidden"]["kernel"]) + along_last(params["hidden"]["bias"], 2)
    y = jnp.where(y > 0, y, y * jnp.asarray(0.1, y.dtype))
    logits = matmul(y, params["out"]["kernel"]) + along_last(params["out"]["bias"], 2)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -jnp.mean(chosen)


def channels() -> dict[str, Channel]:
    def terms(*entries: tuple[str, str, int, float]) -> tuple[tuple[Site, float], ...]:
        return tuple((Site(("params", layer, name), axis), degree) for layer, name, axis, degree in entries)

    scale = terms(("conv", "kernel", 3, 1.0), ("conv", "bias", 0, 1.0))
    statistics = ((Site(("batch_stats", "mean"), 0), 1.0), (Site(("batch_stats", "var"), 0), 2.0))
    norm = terms(("norm", "scale", 0, 1.0), ("norm", "bias", 0, 1.0), ("hidden", "kernel", 0, -1.0))
    unit = terms(("hidden", "kernel", 1, 1.0), ("hidden", "bias", 0, 1.0), ("out", "kernel", 0, -1.0))
    conv = (Scaling("scale", (*scale, *statistics)), Scaling("rescale", norm))
    return {
        "conv": Channel(FILTERS, tuple(site for scaling in conv for site, _ in scaling.terms), conv),
        "hidden": Channel(HIDDEN, tuple(site for site, _ in unit), (Scaling("rescale", unit),)),
    }


def softmax_flow(s: dict[str, jax.Array], params: Params) -> Params:
    """Translate the classifier: one number for each feature that feeds the softmax, one for the bias."""
    out = params["out"]
    moved = {"kernel": translate(s["kernel"], out["kernel"]), "bias": translate(s["bias"], out["bias"])}
    return {**params, "out": moved}


def of(name: str, dtype: Any = None) -> Symmetry:
    return scalings(restrict(channels(), "params"), name, dtype)


gradient = jax.jit(jax.grad(loss))
value = jax.jit(loss)


@partial(jax.jit, static_argnums=(0, 2))
def residual_along(flow: Any, zero: Any, loss: Any, *args: Any) -> Any:
    return symmetry_residual(Symmetry(flow, zero), loss, *args)


FLOWS = {name: of(name).flow for name in ("scale", "rescale")}


def residual_of(name: str, loss: Any, params: Params, *args: jax.Array) -> Any:
    return residual_along(FLOWS[name], of(name, params["out"]["kernel"].dtype).zero, loss, params, *args)


@jax.jit
def hessian_times(params: Params, tangent: Params, *args: jax.Array) -> Params:
    return jax.jvp(lambda p: jax.grad(loss)(p, *args), (params,), (tangent,))[1]


def sample(seed: int, dtype: Any = jnp.float64, epsilon: float = 0.0) -> tuple[Params, tuple[jax.Array, ...]]:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape), dtype)

    params = {
        "conv": {"kernel": normal(3, 3, 2, FILTERS), "bias": normal(FILTERS)},
        "norm": {"scale": normal(FILTERS), "bias": normal(FILTERS)},
        "hidden": {"kernel": normal(FILTERS, HIDDEN), "bias": normal(HIDDEN)},
        "out": {"kernel": normal(HIDDEN, CLASSES), "bias": normal(CLASSES)},
    }
    return params, (normal(4, 4, 4, 2), jnp.asarray(rng.integers(0, CLASSES, 4)), jnp.asarray(epsilon, dtype))


def zeros_like(params: Params) -> Params:
    return jax.tree.map(jnp.zeros_like, params)


def relative(value: Any, expected: Any) -> float:
    """Largest difference over all leaves, relative to the largest entry of what is expected anywhere."""
    assert jax.tree.structure(value) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(value), jax.tree.leaves(expected), strict=True)
    difference = max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)
    return difference / max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(expected))


def filter_norms(kernel: jax.Array) -> np.ndarray:
    return np.linalg.norm(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), axis=0)


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds)
def test_flows_keep_the_loss(tolerance: Callable[..., float], dtype: Any, seed: int) -> None:
    params, args = sample(seed, dtype)
    rng = np.random.default_rng(seed + 1)
    expected = value(params, *args)
    factors = {
        "scale": of("scale", dtype),
        "rescale": of("rescale", dtype),
        "softmax": Symmetry(softmax_flow, {"kernel": jnp.zeros(HIDDEN, dtype), "bias": jnp.zeros((), dtype)}),
    }
    for flow, zero, _ in factors.values():  # factors between 0.1 and 10
        s = jax.tree.map(lambda z: jnp.asarray(rng.uniform(-np.log(10), np.log(10), z.shape), dtype), zero)
        moved = value(flow(s, params), *args)
        assert abs(moved - expected) < tolerance("invariance", dtype) * max(1.0, abs(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds)
def test_scale_gradient_is_orthogonal_to_every_filter(tolerance: Callable[..., float], dtype: Any, seed: int) -> None:
    params, args = sample(seed, dtype)
    g = gradient(params, *args)
    residual = np.asarray(residual_of("scale", loss, params, *args)["conv"], np.float64)
    q, bias = params["conv"]["kernel"], np.asarray(params["conv"]["bias"], np.float64)
    # the bias has gradient 0, so the filter alone is orthogonal; a dead filter would divide rounding by rounding
    size = filter_norms(q) * filter_norms(g["conv"]["kernel"]) + np.abs(bias) * filter_norms(g["conv"]["kernel"])
    alive = filter_norms(g["conv"]["kernel"]) > 1e-3
    assert np.all(np.abs(residual[alive]) < tolerance("scale gradient", dtype) * size[alive])
    inner = np.sum(np.asarray(q, np.float64) * np.asarray(g["conv"]["kernel"], np.float64), axis=(0, 1, 2))
    assert np.all(np.abs(inner[alive]) < tolerance("scale gradient", dtype) * size[alive])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c", [0.1, 3.0, 10.0])
def test_scale_gradient_and_hessian_fall_with_the_norm(tolerance: Callable[..., float], dtype: Any, c: float) -> None:
    """g(c q) = g(q) / c and H(c q) = H(q) / c^2, on the filters."""
    params, args = sample(0, dtype)
    direction = {**zeros_like(params), "conv": sample(1, dtype)[0]["conv"]}
    s = {"conv": jnp.full(FILTERS, np.log(c), dtype)}
    moved = of("scale").flow(s, params)
    g, moved_g = gradient(params, *args)["conv"]["kernel"], gradient(moved, *args)["conv"]["kernel"]
    assert relative(moved_g * jnp.asarray(c, dtype), g) < tolerance("hessian", dtype)
    h, moved_h = (hessian_times(p, direction, *args)["conv"]["kernel"] for p in (params, moved))
    assert relative(moved_h * jnp.asarray(c**2, dtype), h) < tolerance("hessian", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filters", [[0], [2], [0, 1, 2]])
def test_scale_hessian(tolerance: Callable[..., float], dtype: Any, filters: list[int]) -> None:
    """H q = -g on a filter (and only there), for each filter alone and for all of them."""
    params, args = sample(2, dtype)
    g, chosen = gradient(params, *args), jnp.zeros(FILTERS, dtype).at[jnp.asarray(filters)].set(1)
    tangent = generator(of("scale", dtype), params, {"conv": chosen})
    mask = along_last(chosen, 4)
    by_hand = {
        **zeros_like(params),
        "conv": {"kernel": params["conv"]["kernel"] * mask, "bias": params["conv"]["bias"] * chosen},
    }
    assert relative(tangent, by_hand) == 0
    expected = {
        **zeros_like(params),
        "conv": {"kernel": -g["conv"]["kernel"] * mask, "bias": jnp.zeros(FILTERS, dtype)},
    }
    assert relative(hessian_times(params, by_hand, *args), expected) < tolerance("hessian", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-5, 1e-1, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_batchnorm_epsilon_leaves_a_known_residual(
    tolerance: Callable[..., float], dtype: Any, epsilon: float, seed: int
) -> None:
    """<q, g> = epsilon / (variance + epsilon) * gamma * dL/dgamma, exactly."""
    params, args = sample(seed, dtype, epsilon)
    residual = np.asarray(residual_of("scale", loss, params, *args)["conv"], np.float64)
    g = gradient(params, *args)
    variance = np.var(np.asarray(convolve(params, args[0]), np.float64), axis=(0, 1, 2))
    gamma, slope = (np.asarray(tree["norm"]["scale"], np.float64) for tree in (params, g))
    expected = epsilon / (variance + epsilon) * gamma * slope
    # <q, g> is a sum that cancels as epsilon falls: its rounding is that of |q| |g|
    size = filter_norms(params["conv"]["kernel"]) * filter_norms(g["conv"]["kernel"])
    assert np.all(np.abs(residual - expected) < tolerance("batchnorm epsilon", dtype) * np.maximum(size, 1e-30))
    if epsilon > 1:
        assert relative(residual, expected) < tolerance("batchnorm epsilon", dtype)
        assert np.max(np.abs(residual)) > 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds)
def test_bias_before_batchnorm_has_no_gradient(tolerance: Callable[..., float], dtype: Any, seed: int) -> None:
    params, args = sample(seed, dtype, 1e-5)
    g = gradient(params, *args)["conv"]
    limit = tolerance("redundant bias", dtype)
    assert np.max(np.abs(g["bias"])) < limit * max(1.0, np.max(np.abs(g["kernel"])))


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds)
def test_softmax_gradient_sums_to_zero_over_the_classes(tolerance: Callable[..., float], dtype: Any, seed: int) -> None:
    params, args = sample(seed, dtype)
    zero = {"kernel": jnp.zeros(HIDDEN, dtype), "bias": jnp.zeros((), dtype)}
    residual = residual_along(softmax_flow, zero, loss, params, *args)
    g = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), gradient(params, *args)["out"])
    for name in ("kernel", "bias"):
        limit = tolerance("softmax", dtype) * max(1.0, np.max(np.abs(g[name])))
        assert np.max(np.abs(residual[name])) < limit
        assert np.max(np.abs(g[name].sum(axis=-1))) < limit


@pytest.mark.parametrize("dtype", DTYPES)
def test_translation_hessian(tolerance: Callable[..., float], dtype: Any) -> None:
    """H n = 0 for one feature, for the bias, and for the bias before BatchNorm."""
    params, args = sample(3, dtype)
    zeros = zeros_like(params)
    feature = {**zeros, "out": {**zeros["out"], "kernel": zeros["out"]["kernel"].at[1].set(1)}}
    bias = {**zeros, "out": {**zeros["out"], "bias": zeros["out"]["bias"] + 1}}
    redundant = {**zeros, "conv": {**zeros["conv"], "bias": zeros["conv"]["bias"].at[0].set(1)}}
    one_class = {**zeros, "out": {**zeros["out"], "bias": zeros["out"]["bias"].at[0].set(1)}}
    size = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(hessian_times(params, one_class, *args)))
    for tangent in (feature, bias, redundant):
        product = jax.tree.leaves(hessian_times(params, tangent, *args))
        assert max(float(np.max(np.abs(leaf))) for leaf in product) < tolerance("hessian", dtype) * size


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=seeds)
def test_rescale_gradients_of_writers_and_readers_balance(
    tolerance: Callable[..., float], dtype: Any, seed: int
) -> None:
    """<g1, q1> + <gb, b> = <g2, q2> for every hidden unit, and for gamma and beta against their readers."""
    params, args = sample(seed, dtype, 1e-5)
    residual = residual_of("rescale", loss, params, *args)
    products = jax.tree.map(
        lambda q, g: np.asarray(q, np.float64) * np.asarray(g, np.float64), params, gradient(params, *args)
    )
    hidden, out, norm = products["hidden"], products["out"], products["norm"]
    balances = {
        "hidden": (hidden["kernel"].sum(axis=0) + hidden["bias"], out["kernel"].sum(axis=1)),
        "conv": (norm["scale"] + norm["bias"], hidden["kernel"].sum(axis=1)),
    }
    size = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(products))
    for name, (writers, readers) in balances.items():
        limit = tolerance("rescale gradient", dtype) * size
        assert np.max(np.abs(writers - readers)) < limit
        assert np.max(np.abs(residual[name])) < limit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
def test_rescale_hessian(tolerance: Callable[..., float], dtype: Any, seed: int) -> None:
    """H (q1, -q2) = (-g1, g2), for all hidden units and for gamma and beta against their readers."""
    params, args = sample(seed, dtype, 1e-5)
    g, zeros = gradient(params, *args), zeros_like(params)

    def unit(tree: Params, sign: int) -> Params:
        hidden = jax.tree.map(lambda leaf: sign * leaf, tree["hidden"])
        return {**zeros, "hidden": hidden, "out": {**zeros["out"], "kernel": -sign * tree["out"]["kernel"]}}

    def norm(tree: Params, sign: int) -> Params:
        reader = {**zeros["hidden"], "kernel": -sign * tree["hidden"]["kernel"]}
        return {**zeros, "norm": jax.tree.map(lambda leaf: sign * leaf, tree["norm"]), "hidden": reader}

    for name, tangent in (("hidden", unit), ("conv", norm)):
        symmetry = of("rescale", dtype)
        by_flow = generator(symmetry, params, {**symmetry.zero, name: symmetry.zero[name] + 1})
        assert relative(by_flow, tangent(params, 1)) == 0
        assert relative(hessian_times(params, tangent(params, 1), *args), tangent(g, -1)) < tolerance("hessian", dtype)


def test_without_the_symmetry_the_constraints_fail() -> None:
    """Weight decay has neither scale nor rescale symmetry, and a smooth activation no rescale symmetry."""
    params, args = sample(4)

    def decayed(params: Params, *args: jax.Array) -> jax.Array:
        return loss(params, *args) + sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))

    for name in ("scale", "rescale"):
        residual = residual_of(name, decayed, params, *args)
        assert all(np.all(np.abs(value) > 1e-3) for value in residual.values())
    kernel, bias = np.asarray(params["conv"]["kernel"]), np.asarray(params["conv"]["bias"])
    residual = residual_of("scale", decayed, params, *args)["conv"]
    assert relative(residual, 2 * (np.sum(kernel**2, axis=(0, 1, 2)) + bias**2)) < 1e-12

    def smooth(layers: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.tanh(x @ layers["in"]) @ layers["out"])

    sites = ((Site(("in",), 1), 1.0), (Site(("out",), 0), -1.0))
    hidden = Channel(3, tuple(site for site, _ in sites), (Scaling("rescale", sites),))
    layers = {"in": jnp.ones((2, 3)), "out": jnp.ones((3, 1))}
    residual = symmetry_residual(scalings({"hidden": hidden}, "rescale"), smooth, layers, jnp.ones((4, 2)))
    assert np.all(np.abs(residual["hidden"]) > 1e-1)


def radial(q: jax.Array) -> jax.Array:
    """A loss of the columns' lengths alone, with a different weight for each column."""
    squares = jnp.sum(jnp.square(q), axis=0)
    return jnp.sum(jnp.sin(squares) * jnp.arange(1, q.shape[1] + 1, dtype=q.dtype))


@jax.jit
def radial_identities(q: jax.Array) -> dict[str, Any]:
    """Residuals of all rotations; each generator at q, the Hessian applied to it, and its matrix on q and gradient."""
    n = q.shape[0]
    zero, g = jnp.zeros(n * (n - 1) // 2, q.dtype), jax.grad(radial)(q)
    result: dict[str, Any] = {"residual": symmetry_residual(Symmetry(rotate, zero), radial, q), "pairs": []}
    for coordinate, (i, j) in enumerate(zip(*np.tril_indices(n, -1), strict=True)):
        matrix = jnp.zeros((n, n), q.dtype).at[i, j].set(1).at[j, i].set(-1)
        tangent = generator(Symmetry(rotate, zero), q, zero.at[coordinate].set(1))
        product = jax.jvp(jax.grad(radial), (q,), (tangent,))[1]
        result["pairs"].append((tangent, matrix @ q, product, matrix @ g))
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4))])
@given(seed=seeds)
def test_rotation_of_a_radial_loss(tolerance: Callable[..., float], n: int, dtype: Any, seed: int) -> None:
    """<g, R q> = 0 for every generator R of the rotations, and H R q = R g."""
    q = jnp.asarray(np.random.default_rng(seed).standard_normal((n, 3)), dtype)
    size = float(jnp.linalg.norm(q) * jnp.linalg.norm(jax.grad(radial)(q)))
    identities = radial_identities(q)
    assert identities["residual"].shape == (n * (n - 1) // 2,)
    assert np.max(np.abs(identities["residual"])) < tolerance("scale gradient", dtype) * size
    for tangent, turned, product, turned_gradient in identities["pairs"]:
        assert relative(tangent, turned) < tolerance("oracle", dtype)
        assert relative(product, turned_gradient) < tolerance("hessian", dtype)


def test_no_gradient_is_trivially_zero() -> None:
    """The identities above say something: in the sampled networks every layer but the redundant bias has a gradient."""
    for seed in range(3):
        params, args = sample(seed)
        g = gradient(params, *args)
        sizes = {(layer, name): float(np.max(np.abs(leaf))) for layer in g for name, leaf in g[layer].items()}
        assert min(size for path, size in sizes.items() if path != ("conv", "bias")) > 1e-3


@pytest.mark.parametrize("family", ["scale", "rescale", "translation"])
def test_gradient_noise_has_no_charge(tolerance: Callable[..., float], family: str) -> None:
    """The identities hold for every minibatch: with the gradient as velocity all charges vanish, example by example."""
    params, (x, labels, epsilon) = sample(5)
    translation = Symmetry(softmax_flow, {"kernel": jnp.zeros(HIDDEN), "bias": jnp.zeros(())})
    symmetry = translation if family == "translation" else of(family)

    def charge(x: jax.Array, label: jax.Array) -> Any:
        g = jax.grad(loss)(params, x[None], label[None], epsilon)
        return noether_charge(symmetry, params, g), pairing(symmetry, params, params), jnp.linalg.norm(ravel(g))

    charges, scale, size = jax.jit(jax.vmap(charge))(x, labels)
    assert np.min(size) > 1e-2
    for name, zero in symmetry.zero.items():
        assert charges[name].shape == (4, *zero.shape)
        assert np.max(np.abs(charges[name])) < 10 * tolerance("rescale gradient", jnp.float64)
        assert np.max(np.abs(scale[name])) > 1e-1


def ravel(tree: Params) -> jax.Array:
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])
