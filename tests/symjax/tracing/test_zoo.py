"""The symmetries of small models, against counts made by hand and against the rank of the parameter Jacobian.

``null``, the number of parameters less the rank of the Jacobian of the outputs at random parameters, is the dimension
of all continuous symmetries, found or not: where it equals what was found, none is missing.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.dimension import complete
from symjax.tracing import symmetries
from symjax.tracing.program import evaluate
from symjax.tracing.verify import nearby


@pytest.fixture(scope="module", autouse=True)
def models_promote() -> Iterator[None]:
    """Models are written as users write them."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def switching(x: Any) -> Any:
    """Leaky enough for every unit to switch on the data: one that never does is linear, and adds to ``null``."""
    return nn.leaky_relu(x, 0.4)


class MLP(nn.Module):
    """5 and 6 hidden units."""

    act: Callable
    bottleneck: int = 0

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = self.act(nn.Dense(5)(x))
        if self.bottleneck:
            x = nn.Dense(self.bottleneck)(x)
        return nn.Dense(7)(self.act(nn.Dense(6)(x)))


class GLU(nn.Module):
    """A gated unit."""

    act: Callable

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(7)(self.act(nn.Dense(6)(x)) * nn.Dense(6)(x))


class VGG(nn.Module):
    """Convolutions, perhaps normalised, pooled, flattened."""

    normalised: bool = True

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for width in (4, 5):
            x = nn.Conv(width, (3, 3))(x)
            x = nn.BatchNorm(use_running_average=True)(x) if self.normalised else x
            x = nn.avg_pool(switching(x), (2, 2), (2, 2))
        return nn.Dense(9)(switching(nn.Dense(6)(x.reshape(x.shape[0], -1))))


class Residual(nn.Module):
    """A block of a ResNet."""

    width: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        y = switching(nn.BatchNorm(True)(nn.Conv(self.width, (3, 3), use_bias=False)(x)))
        y = nn.BatchNorm(True)(nn.Conv(self.width, (3, 3), use_bias=False)(y))
        if x.shape[-1] != self.width:
            x = nn.BatchNorm(True)(nn.Conv(self.width, (1, 1), use_bias=False)(x))
        return switching(x + y)


class ResNet(nn.Module):
    """A stem and two blocks."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = switching(nn.BatchNorm(True)(nn.Conv(4, (3, 3))(x)))
        return nn.Dense(9)(Residual(6)(Residual(4)(x)).mean((1, 2)))


class Grouped(nn.Module):
    """A grouped convolution between two plain ones."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = switching(nn.Conv(4, (3, 3))(x))
        x = switching(nn.Conv(6, (3, 3), feature_group_count=2)(x))
        return nn.Dense(8)(x.mean((1, 2)))


def rms_norm(x: Any, gain: Any) -> Any:
    """Root mean square normalisation."""
    x = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
    return x if gain is None else x * gain


def rotate(x: Any) -> Any:
    """Rotary positions: halves are rotated into each other."""
    half, time = x.shape[-1] // 2, jnp.arange(x.shape[1])
    angle = time[:, None] / 10.0 ** (jnp.arange(half) / half)
    cos, sin = jnp.cos(angle)[None, :, None], jnp.sin(angle)[None, :, None]
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class Llama(nn.Module):
    """A block with grouped queries, SwiGLU and RMSNorm: 6 channels, 2 x 2 query heads of 4, 7 gated units."""

    gain: bool = True
    rotary: bool = True

    @nn.compact
    def __call__(self, x: Any) -> Any:
        def gain(name: str) -> Any:
            return self.param(name, nn.initializers.normal(), (6,)) if self.gain else None

        def dense(width: Any, name: str, axis: Any = -1) -> Any:
            return nn.DenseGeneral(width, axis, use_bias=False, name=name)

        x = dense(6, "embed")(x)
        y = rms_norm(x, gain("norm0"))
        q, k, v = dense((4, 4), "q")(y), dense((2, 4), "k")(y), dense((2, 4), "v")(y)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        k, v = jnp.repeat(k, 2, 2), jnp.repeat(v, 2, 2)
        logits = jnp.einsum("bthd,bshd->bhts", q, k) / 2
        logits = jnp.where(jnp.tril(jnp.ones((x.shape[1],) * 2, bool)), logits, -1e30)
        x = x + dense(6, "o", (-2, -1))(jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits), v))
        y = rms_norm(x, gain("norm1"))
        x = x + dense(6, "down")(nn.silu(dense(7, "gate")(y)) * dense(7, "up")(y))
        return dense(11, "head")(rms_norm(x, gain("norm2")))


class Transformer(nn.Module):
    """A block with LayerNorm and biases: 6 channels, 2 heads of 3, 7 hidden units."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(6)(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=6)(nn.LayerNorm()(x))
        x = x + nn.Dense(6)(nn.gelu(nn.Dense(7)(nn.LayerNorm()(x))))
        return nn.Dense(11)(nn.LayerNorm()(x))


class Case(NamedTuple):
    """A model, its input's shape, and what a hand count gives."""

    model: nn.Module
    shape: tuple[int, ...]
    classes: int
    scalings: int
    linear: int = 0  # dimension of the matrix groups beyond the scalings they contain
    signs: int = 0
    shifts: int = 0
    null: int | None = None  # dimension of all continuous symmetries; None where relu or pooling would add to it
    gap: int = 0  # of them not found


ROWS, IMAGES, SEQUENCES = (3, 4), (2, 8, 8, 3), (2, 5, 7)

CASES = {
    # one positive scaling a homogeneous unit, one sign an odd one
    "mlp relu": Case(MLP(nn.relu), ROWS, 2, 11),
    "mlp leaky relu": Case(MLP(switching), ROWS, 2, 11, null=11),
    "mlp squared relu": Case(MLP(lambda x: jnp.square(nn.relu(x))), ROWS, 2, 11),
    "mlp tanh": Case(MLP(nn.tanh), ROWS, 2, 0, signs=11, null=0),
    "mlp gelu": Case(MLP(nn.gelu), ROWS, 2, 0, null=0),
    "mlp sigmoid": Case(MLP(nn.sigmoid), ROWS, 2, 0, null=0),
    # GL(3) on the bottleneck: 3 scalings and 6 more
    "mlp bottleneck": Case(MLP(nn.tanh, 3), ROWS, 3, 3, linear=6, signs=11 + 3, shifts=3, null=12),
    # a gate keeps its own units, its multiplier is homogeneous
    "sigmoid glu": Case(GLU(nn.sigmoid), ROWS, 1, 6, signs=6, null=6),
    "leaky glu": Case(GLU(switching), ROWS, 1, 12, signs=6, null=12),
    # bias against mean, mean against beta; 3 a normalised filter (filter, variance, gain), 1 a hidden unit
    "vgg": Case(VGG(False), IMAGES, 3, 4 + 5 + 6, null=15),
    "vgg normalised": Case(VGG(), IMAGES, 3, 3 * (4 + 5) + 6, signs=9, shifts=2 * (4 + 5), null=51),
    # 4 channels: 3 of the stem and 2 of the block's second filter; inside 3 x 4, 3 x 6; 6 channels: 2 + 2 and 1 common
    "resnet": Case(ResNet(), IMAGES, 4, 5 * 4 + 3 * 4 + 3 * 6 + 5 * 6, signs=24 + 6, shifts=40, null=120),
    # groups, units within a group before and behind
    "grouped": Case(Grouped(), IMAGES, 3, 4 + 6, null=10),
    # GL(4) on the keys and on the values of 2 heads: 2 x 2 x 16; O(6) on the stream; 7 gated units; 1 of the stream
    "llama without gain": Case(Llama(False, False), SEQUENCES, 6, 16 + 7 + 1, 4 * 12 + 15, signs=16 + 6 + 7, null=87),
    "llama with gain": Case(
        Llama(True, False), SEQUENCES, 6, 16 + 7 + 1 + 18, 4 * 12 + 15, signs=16 + 24 + 7, null=105
    ),
    "llama": Case(Llama(), SEQUENCES, 5, 4 + 8 + 7 + 1 + 18, 2 * 12 + 15, signs=4 + 8 + 24 + 7, null=81, gap=4),
    # O(6) acts on the readers in the frame of the gain: 15; the gap: a rotary phase a pair and key head, 4
    # QK 6, VO 6, three gains 18, the stream 1; GL(3) twice on 2 heads, O(5) on the stream, which fixes ones. Shifts:
    # biases of keys, values 12, three betas 18, readers of a centred stream 18 + 7 + 11, writers along ones 7 + 6 + 7,
    # three biases
    "transformer": Case(Transformer(), SEQUENCES, 5, 31, 24 + 10, signs=12 + 18 + 1, shifts=89, null=154),
}


@pytest.fixture(scope="module")
def traced(initialised: Callable) -> Callable[[str], tuple[Any, Any, jax.Array]]:
    """``traced(name)``: the symmetries, the variables and the input, found once for all tests of a model."""

    @cache
    def trace(name: str) -> tuple[Any, Any, jax.Array]:
        model, x = CASES[name].model, jnp.asarray(np.random.default_rng(1).normal(size=CASES[name].shape))
        variables = initialised(model, x)
        return symmetries(model.apply, variables, x), variables, x

    return trace


@pytest.mark.parametrize("name", CASES)
def test_counts(name: str, traced: Callable) -> None:
    case = CASES[name]
    found, _, _ = traced(name)
    print(found)
    assert found.checked.failed == ()
    assert found.checked.error < 1e-12
    assert found.checked.sensitivity > 1e-3
    assert found.refused == ()
    assert len(found.permutations) == case.classes
    assert sum(scaling.dimension for scaling in found.scalings) == case.scalings
    assert sum(group.dimension - group.diagonal for group in found.linear) == case.linear
    assert sum(int(np.prod(sign.shape)) for sign in found.signs) == case.signs
    assert sum(shift.dimension for shift in found.shifts) == case.shifts


@pytest.mark.parametrize(
    "name", ["mlp bottleneck", "vgg normalised", pytest.param("transformer", marks=pytest.mark.slow)]
)
def test_the_composed_flow_begins_at_the_identity_and_keeps_the_outputs(name: str, traced: Callable) -> None:
    found, variables, x = traced(name)
    flow, zero = jax.jit(found.exact.flow), found.exact.zero
    # as initialised, biases zero and gains one; and where all is zero, gains too
    for start in (variables, jax.tree.map(jnp.zeros_like, variables)):
        for before, after in zip(*map(jax.tree.leaves, (start, flow(zero, start))), strict=True):
            assert np.max(np.abs(after - before)) <= 1e-15 * np.max(np.abs(before))
    random = np.random.default_rng(0)
    point = jax.tree.map(lambda leaf: jnp.asarray(nearby(np.asarray(leaf), random)), variables)
    s = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape) / 2), zero)
    program = found.model.program
    apply = jax.jit(lambda point: evaluate(program, jax.tree.leaves(point), [x], program.outputs, dtype=jnp.float64)[0])
    before, after = apply(point), apply(flow(s, point))
    assert np.max(np.abs(after - before)) <= 1e-12 * np.max(np.abs(before))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name.startswith(("mlp", "leaky")) else pytest.mark.slow)
        for name, case in CASES.items()
        if case.null is not None
    ],
)
def test_none_is_missing(name: str, traced: Callable) -> None:
    case = CASES[name]
    found, variables, x = traced(name)
    counted = complete(found, variables, x)
    print(counted)
    assert not counted.evidence.undetermined
    assert counted.parameters - counted.rank == case.null == found.dimension + case.gap
    assert counted.missing == case.gap
