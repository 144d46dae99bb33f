"""Counted conserved quantities against closed forms, and against the charges of the symmetries traced."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import conserved
from symjax.tracing import symmetries


def network(sizes: Sequence[int], bias: bool = False) -> Any:
    """Layers (kernel,) or (kernel, bias) at random."""
    random = np.random.default_rng(0)
    layers = [(random.normal(size=(a, b)) / np.sqrt(a), 0.1 * random.normal(size=b)) for a, b in pairwise(sizes)]
    return [layer if bias else layer[:1] for layer in layers]


def mlp(activation: Callable) -> Callable:
    """Its forward pass."""

    def apply(params: Any, x: jax.Array) -> jax.Array:
        for number, (kernel, *bias) in enumerate(params):
            x = x @ kernel + sum(b[None] for b in bias)
            x = activation(x) if number < len(params) - 1 else x
        return x

    return apply


def inputs(size: int, count: int = 60) -> jax.Array:
    """Standard normal."""
    return jnp.asarray(np.random.default_rng(1).normal(size=(count, size)))


def identity(x: jax.Array) -> jax.Array:
    """No activation."""
    return x


def two_linear(m: int, h: int, n: int) -> int:
    """``r h - r (r - 1)/2`` laws of two linear layers, r = min(h, m + n)."""
    r = min(h, m + n)
    return r * h - r * (r - 1) // 2


@pytest.mark.parametrize(
    "sizes",
    [(2, 3, 2)]
    + [
        pytest.param(s, marks=pytest.mark.slow)
        for s in ((3, 2, 4), (2, 2, 2), (3, 4, 3), (1, 3, 1), (1, 4, 2), (2, 6, 2))
    ],
)
def test_two_linear_layers(sizes: tuple[int, int, int]) -> None:
    found = conserved.count(mlp(identity), network(sizes), inputs(sizes[0]))
    assert found.conserved == two_linear(*sizes)
    assert found.closed and not found.ambiguous and found.frozen == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "ranks", "laws"), [((2, 3, 3, 2), (4, 8, 9, 9), 12), ((2, 3, 3, 3, 2), (4, 10, 12, 12), 18)]
)
def test_deep_linear(sizes: tuple[int, ...], ranks: tuple[int, ...], laws: int) -> None:
    found = conserved.count(mlp(identity), network(sizes), inputs(sizes[0]))
    assert (found.ranks, found.conserved, found.closed) == (ranks, laws, True)


@pytest.mark.parametrize(
    ("name", "bias", "points", "laws"),
    [
        pytest.param("tanh", False, 1, 12, marks=pytest.mark.slow),  # one input: the laws of that input
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("tanh", False, 60, 0), ("gelu", False, 60, 0))),
        *(pytest.param("relu", bias, 60, 4, marks=pytest.mark.slow) for bias in (False, True)),
    ],
)
def test_one_hidden_layer(name: str, bias: bool, points: int, laws: int) -> None:
    apply, params = mlp(getattr(jax.nn, name)), network((3, 4, 2), bias)
    found = conserved.count(apply, params, inputs(3, points))
    assert found.conserved == laws and found.closed


@pytest.mark.slow
def test_cross_entropy_conserves_the_sum_over_classes_too() -> None:
    """ReLU 3-4-3 with biases: 4 rescalings, 4 sums of the last kernel's rows and that of the last biases."""
    apply, x = mlp(jax.nn.relu), inputs(3)
    assert conserved.count(apply, network((3, 4, 3), True), x, loss="cross-entropy").conserved == 9
    assert conserved.count(mlp(identity), network((3, 4), True), x, loss="cross-entropy").conserved == 4


@pytest.mark.slow
def test_dead_units_are_frozen_and_few_inputs_conserve_more() -> None:
    params = network((3, 4, 2), True)
    params[0][1][0] = -100.0
    found = conserved.count(mlp(jax.nn.relu), params, inputs(3), at="point")
    assert (found.frozen, found.conserved) == (3 + 1 + 2, 3)
    # of k inputs the parts of the first kernel across them stay, 2 (4 - k); in their span the 3 laws are left
    few = [conserved.count(mlp(identity), network((4, 2, 3)), inputs(4, count)).conserved for count in (1, 2, 4)]
    assert few == [9, 7, 3]


def swiglu(params: Any, x: jax.Array) -> jax.Array:
    """A gated unit."""
    return (jax.nn.silu(x @ params["gate"]) * (x @ params["up"])) @ params["down"]


def attention(params: Any, x: jax.Array) -> jax.Array:
    """One head without biases."""
    q, k, v = (x @ params[name] for name in "qkv")
    return jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2)) @ v @ params["o"]


def heads(params: Any, x: jax.Array, count: int = 2) -> jax.Array:
    """Attention without biases whose heads have a size of 2."""
    q, k, v = (jnp.moveaxis((x @ params[name]).reshape(*x.shape[:-1], count, 2), -2, -3) for name in "qkv")
    return (
        jnp.moveaxis(jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2)) @ v, -3, -2).reshape(*x.shape[:-1], -1) @ params["o"]
    )


def convolution(params: Any, x: jax.Array) -> jax.Array:
    """Two layers on sequences (n, length, 2) with three channels between them."""
    dimensions = ("NWC", "WIO", "NWC")
    x = jax.nn.relu(jax.lax.conv_general_dilated(x, params["in"], (1,), "SAME", dimension_numbers=dimensions))
    return jax.lax.conv_general_dilated(x, params["out"], (1,), "SAME", dimension_numbers=dimensions)


def adapter(params: Any, x: jax.Array) -> jax.Array:
    """LoRA of rank 2 beside a fixed kernel."""
    return x @ jnp.eye(3, 4) + x @ params["down"] @ params["up"]


def block(params: Any, x: jax.Array) -> jax.Array:
    """A transformer block of width 4, its norms before two heads and before five GELU units."""

    def normed(x: jax.Array, which: str) -> jax.Array:
        x = x - x.mean(-1, keepdims=True)
        x = x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True))
        return x * params["gamma" + which][None, None] + params["beta" + which][None, None]

    x = x + heads(params, normed(x, "1"))
    hidden = jax.nn.gelu(normed(x, "2") @ params["w1"] + params["b1"][None, None])
    return x + hidden @ params["w2"] + params["b2"][None, None]


BLOCK = dict.fromkeys("qkvo", (4, 4)) | {f"{name}{n}": (4,) for name in ("gamma", "beta") for n in "12"}
BLOCK |= {"w1": (4, 5), "b1": (5,), "w2": (5, 4), "b2": (4,)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("apply", "shapes", "x", "laws"),
    [
        (swiglu, {"gate": (3, 4), "up": (3, 4), "down": (4, 2)}, (60, 3), 4),
        (attention, {"q": (3, 2), "k": (3, 2), "v": (3, 2), "o": (2, 3)}, (20, 4, 3), 6),
    ],
)
def test_the_charges_of_the_traced_symmetries_are_all(apply: Callable, shapes: Any, x: tuple, laws: int) -> None:
    random = np.random.default_rng(3)
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    x = jnp.asarray(random.normal(size=x))
    assert conserved.count(apply, params, x).conserved == laws
    assert conserved.independent_charges(symmetries(apply, params, x).symmetry, params) == laws


@pytest.mark.slow
@pytest.mark.parametrize(
    ("apply", "shapes", "x", "laws"),
    [
        (heads, {"q": (3, 4), "k": (3, 4), "v": (3, 4), "o": (4, 3)}, (20, 4, 3), 12),
        (convolution, {"in": (3, 2, 3), "out": (3, 3, 2)}, (30, 6, 2), 3),
        (adapter, {"down": (3, 2), "up": (2, 4)}, (40, 3), 3),
    ],
)
def test_laws_of_two_heads_shared_weights_and_an_adapter(apply: Callable, shapes: Any, x: tuple, laws: int) -> None:
    """Six a head; one a channel of a convolution; ``r (r + 1) / 2`` of LoRA with rank r."""
    random = np.random.default_rng(3)
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    found = conserved.count(apply, params, jnp.asarray(random.normal(size=x)))
    assert (found.conserved, found.closed, found.ambiguous) == (laws, True, False)


@pytest.mark.slow
def test_a_transformer_block_has_the_laws_of_its_heads_and_of_its_norms() -> None:
    """Three of each head's queries and keys and of its values and outputs, 12, and one a channel of each norm, 8.

    The rank of the fields by hand: a head has 2 (4 + 3 - 2) = 10 of its bilinear form and 10 of its values, which
    with the 4 of their constant make 44; the units 5 (3 + 1) + 20 + 4 = 44; the constant's mean passes the norm by: 87.
    """
    random = np.random.default_rng(3)
    # twice as large the softmax saturates, and directions vanish below rounding
    params = {name: 0.5 * random.normal(size=shape) for name, shape in BLOCK.items()}
    found = conserved.count(block, params, jnp.asarray(random.normal(size=(30, 4, 4))))
    assert found.ranks == (87, 108, 109, 109) and found.gap > 1e10
    assert (found.parameters, found.conserved, found.closed) == (129, 20, True)


def test_what_is_refused() -> None:
    params = network((2, 3, 2))
    with pytest.raises(ValueError, match="loss is 'mse', but must be one of"):
        conserved.count(mlp(identity), params, inputs(2), loss="mse")
    with pytest.raises(ValueError, match="depth is 0"):
        conserved.count(mlp(identity), params, inputs(2), depth=0)
