"""More of the zoo: each model tries one thing that an axis, a unit or a translation can meet."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.dimension import complete
from symjax.tracing import symmetries


@pytest.fixture(scope="module", autouse=True)
def models_promote() -> Iterator[None]:
    """Models are written as users write them."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


class Plain(nn.Module):
    """A model whose body is a function of the module and the input."""

    body: Callable[[nn.Module, Any], Any]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return self.body(self, x)


def conv(width: int, size: int = 3, groups: int = 1, bias: bool = True) -> nn.Module:
    """A convolution."""
    return nn.Conv(width, (size, size), feature_group_count=groups, use_bias=bias)


def mean(x: Any) -> Any:
    """Pooling over space."""
    return x.mean((1, 2))


def resnext(_: nn.Module, x: Any) -> Any:
    x = nn.relu(conv(4)(x))
    y = nn.relu(conv(6, 1)(x))
    y = nn.relu(conv(6, groups=2)(y))
    return nn.Dense(7)(mean(nn.relu(x + conv(4, 1)(y))))


def densenet(_: nn.Module, x: Any) -> Any:
    x = conv(4)(x)
    for _layer in range(2):
        x = jnp.concatenate([x, conv(3)(nn.relu(nn.BatchNorm(True)(x)))], -1)
    return nn.Dense(7)(mean(nn.relu(x)))


def mobilenet(_: nn.Module, x: Any) -> Any:
    x = nn.relu6(conv(4)(x))
    x = nn.relu(conv(4, groups=4)(x))
    return nn.Dense(7)(mean(nn.relu(conv(5, 1)(x))))


def squeeze_excite(_: nn.Module, x: Any) -> Any:
    x = nn.relu(conv(4)(x))
    gate = nn.sigmoid(nn.Dense(4)(nn.relu(nn.Dense(3)(mean(x)))))
    return nn.Dense(7)(mean(x * gate[:, None, None, :]))


def shuffle_unit(_: nn.Module, x: Any) -> Any:
    x = nn.relu(conv(8)(x))
    a, b = jnp.split(x, 2, -1)
    x = jnp.concatenate([a, nn.relu(conv(4)(b))], -1)
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, c // 2).swapaxes(-1, -2).reshape(n, h, w, c)
    a, b = jnp.split(x, 2, -1)
    x = jnp.concatenate([a, nn.relu(conv(4)(b))], -1)
    return nn.Dense(7)(mean(x))


def convnext(self: nn.Module, x: Any) -> Any:
    x = conv(6)(x)
    y = nn.LayerNorm()(conv(6, groups=6)(x))
    y = nn.Dense(6)(nn.gelu(nn.Dense(8)(y)))
    x = x + y * self.param("layer_scale", nn.initializers.normal(), (6,))
    return nn.Dense(7)(nn.LayerNorm()(mean(x)))


def layer_scale(self: nn.Module, x: Any) -> Any:
    x = nn.Dense(4)(x)
    y = nn.Dense(4)(nn.tanh(nn.Dense(3)(x)))
    return nn.Dense(7)(nn.LayerNorm()(x + y * self.param("layer_scale", nn.initializers.normal(), (4,))))


def unet(_: nn.Module, x: Any) -> Any:
    a = nn.relu(conv(4)(x))
    b = nn.relu(conv(5)(nn.avg_pool(a, (2, 2), (2, 2))))
    up = nn.relu(nn.ConvTranspose(4, (2, 2), (2, 2))(b))
    return conv(2)(nn.relu(conv(6)(jnp.concatenate([a, up], -1))))


def pixel_shuffle(_: nn.Module, x: Any) -> Any:
    x = nn.relu(conv(3 * 4)(x))
    n, h, w, _c = x.shape
    x = x.reshape(n, h, w, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, 3)
    return conv(2)(x)


def mixer(_: nn.Module, x: Any) -> Any:
    x = nn.Dense(6)(x)
    y = nn.LayerNorm()(x).swapaxes(1, 2)
    x = x + nn.Dense(x.shape[1])(nn.gelu(nn.Dense(4)(y))).swapaxes(1, 2)
    x = x + nn.Dense(6)(nn.gelu(nn.Dense(7)(nn.LayerNorm()(x))))
    return nn.Dense(7)(nn.LayerNorm()(x).mean(1))


def vit(self: nn.Module, x: Any) -> Any:
    x = nn.Conv(6, (4, 4), (4, 4), padding="VALID")(x)
    x = x.reshape(x.shape[0], -1, 6)
    token = self.param("token", nn.initializers.normal(), (1, 1, 6))
    x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], 1)
    x = x + self.param("position", nn.initializers.normal(), (1, x.shape[1], 6))
    x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
    return nn.Dense(7)(nn.LayerNorm()(x)[:, 0])


def class_token(self: nn.Module, x: Any) -> Any:
    x = nn.Dense(4)(x)
    token = self.param("token", nn.initializers.normal(), (1, 1, 4))
    x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], 1)
    x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
    return nn.Dense(7)(nn.LayerNorm()(x).mean(1))


def fused(split: bool) -> Callable:
    def body(_: nn.Module, x: Any) -> Any:
        x = nn.Dense(6)(x)
        n, t, _c = x.shape
        y = nn.Dense(18, use_bias=False)(nn.LayerNorm()(x))
        if split:
            q, k, v = (part.reshape(n, t, 2, 3) for part in jnp.split(y, 3, -1))
        else:
            q, k, v = jnp.moveaxis(y.reshape(n, t, 3, 2, 3), 2, 0)
        weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
        out = jnp.einsum("bhts,bshd->bthd", weights, v).reshape(n, t, 6)
        return nn.Dense(7)(nn.LayerNorm()(x + nn.Dense(6)(out)))

    return body


def swin(self: nn.Module, x: Any) -> Any:
    x = nn.Dense(6)(x)
    n, h, w, c = x.shape
    y = jnp.roll(nn.LayerNorm()(x), (1, 1), (1, 2))
    y = y.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
    q, k, v = (nn.DenseGeneral((2, 3), name=name)(y) for name in "qkv")
    bias = self.param("bias", nn.initializers.normal(), (9, 2))
    place = np.stack(np.meshgrid(np.arange(2), np.arange(2), indexing="ij")).reshape(2, 4)
    index = (place[:, :, None] - place[:, None, :] + 1).transpose(1, 2, 0) @ np.array([3, 1])
    logits = jnp.einsum("bthd,bshd->bhts", q, k) + bias[index].transpose(2, 0, 1)
    y = nn.DenseGeneral(6, (-2, -1), name="o")(jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits), v))
    y = y.reshape(n, h // 2, w // 2, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
    x = x + jnp.roll(y, (-1, -1), (1, 2))
    return nn.Dense(7)(nn.LayerNorm()(x))


def one_plus_gain(self: nn.Module, x: Any) -> Any:
    def norm(name: str, x: Any) -> Any:
        x = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
        return x * (1.0 + self.param(name, nn.initializers.normal(), (6,)))

    x = nn.Dense(6, use_bias=False)(x)
    x = x + nn.Dense(6)(nn.relu(nn.Dense(5, use_bias=False)(norm("first", x))))
    return nn.Dense(7)(norm("last", x))


def head_norm(_: nn.Module, x: Any) -> Any:
    q, k, v = (nn.DenseGeneral((2, 4))(x) for _n in range(3))
    q, k = (nn.standardize(y) for y in (q, k))
    weights = jax.nn.softmax(10 * jnp.einsum("bthd,bshd->bhts", q, k))
    return nn.DenseGeneral(7, (-2, -1))(jnp.einsum("bhts,bshd->bthd", weights, v))


def tied(_: nn.Module, x: Any) -> Any:
    embed = nn.Embed(7, 5)
    h = embed(x)
    h = h + nn.Dense(5, use_bias=False)(nn.relu(nn.Dense(6, use_bias=False)(h)))
    return embed.attend(h)


def recurrent(cell: Any) -> Callable:
    return lambda _, x: nn.Dense(7)(nn.RNN(cell)(x))


def soft_experts(_: nn.Module, x: Any) -> Any:
    gate = jax.nn.softmax(nn.Dense(3)(x))
    h = nn.relu(nn.DenseGeneral((3, 4))(x))
    out = nn.DenseGeneral(
        7,
    )(h)
    return (gate[..., None] * out).sum(-2)


def shared(_: nn.Module, x: Any) -> Any:
    layer = nn.Dense(5)
    x = nn.relu(nn.Dense(5)(x))
    return nn.Dense(7)(nn.relu(layer(nn.relu(layer(x)))))


def half(_: nn.Module, x: Any) -> Any:
    x = nn.relu(nn.Dense(5, dtype=jnp.bfloat16)(x))
    return nn.Dense(7, dtype=jnp.bfloat16)(x)


def group_norm(_: nn.Module, x: Any) -> Any:
    x = nn.relu(nn.GroupNorm(3)(conv(6)(x)))
    return nn.Dense(7)(mean(nn.relu(nn.GroupNorm(2)(conv(4)(x)))))


def query_norm(_: nn.Module, x: Any) -> Any:
    q, k, v = (nn.DenseGeneral((2, 4), use_bias=False)(x) for _n in range(3))
    q, k = (y / jnp.sqrt((y * y).sum(-1, keepdims=True) + 1e-6) for y in (q, k))
    weights = jax.nn.softmax(10 * jnp.einsum("bthd,bshd->bhts", q, k))
    return nn.DenseGeneral(7, (-2, -1))(jnp.einsum("bhts,bshd->bthd", weights, v))


def cosine(_: nn.Module, x: Any) -> Any:
    h = nn.relu(nn.Dense(5)(x))
    return nn.log_softmax(nn.Dense(7)(h / jnp.maximum(jnp.linalg.norm(h, axis=-1, keepdims=True), 1e-12)))


def weight_norm(_: nn.Module, x: Any) -> Any:
    return nn.Dense(7)(nn.relu(nn.WeightNorm(nn.Dense(5))(x)))


def maxout(_: nn.Module, x: Any) -> Any:
    return nn.Dense(7)(nn.DenseGeneral((5, 2))(x).max(-1))


def glu_split(_: nn.Module, x: Any) -> Any:
    return nn.Dense(7)(nn.glu(nn.Dense(10)(x)))


def strided(_: nn.Module, x: Any) -> Any:
    h = nn.relu(nn.Dense(6)(x))
    return nn.Dense(7)(h[:, ::2] - h[:, 1::2])


def odd_shuffle(_: nn.Module, x: Any) -> Any:
    h = nn.relu(nn.Dense(6)(x))
    h = h.reshape(-1, 3, 2).swapaxes(1, 2).reshape(-1, 6)
    a, b = jnp.split(h, [2], -1)
    return nn.Dense(7)(jnp.concatenate([nn.tanh(nn.Dense(2)(a)), b], -1))


ROWS, IMAGES, SEQUENCES = (3, 4), (2, 8, 8, 3), (2, 5, 7)


class Case(NamedTuple):
    """A model, its input's shape, and what a hand count gives."""

    body: Callable
    shape: tuple[int, ...]
    classes: int
    scalings: int
    linear: int = 0
    signs: int = 0
    shifts: int = 0
    refused: tuple[str, ...] = ()


CASES = {
    # the stream 4; 2 groups, 3 units of each before and behind
    "resnext": Case(resnext, IMAGES, 4, 4 + 6 + 6),
    # segments 4, 3, 3; variance and gain of 4 + 7 channels, and the segments; mean against beta
    "densenet": Case(densenet, IMAGES, 3, 2 * (4 + 7) + 10, shifts=4 + 7),
    # relu6 keeps its units, depthwise filters and the last ones do not
    "mobilenet": Case(mobilenet, IMAGES, 2, 4 + 5),
    "squeeze-excite": Case(squeeze_excite, IMAGES, 2, 4 + 3),
    # quarters of 2 after two shuffles
    "shuffle": Case(shuffle_unit, IMAGES, 4, 8 + 4 + 4),
    # two gains, the layer scale, two streams; two betas, a bias along ones, two readers of centred streams; a kernel
    # and a bias in front of the layer scale, along ones behind it
    "convnext": Case(convnext, IMAGES, 2, 6 + 6 + 6 + 2, signs=20, shifts=6 + 6 + 1 + 8 + 7 + 8 + 1),
    # the layer scale, a gain, the stream; a beta, a bias along ones, the head, and a kernel and a bias along 1 / scale
    "layer scale": Case(layer_scale, ROWS, 2, 4 + 4 + 1, signs=3 + 4 + 4 + 1, shifts=4 + 1 + 7 + 3 + 1),
    "unet": Case(unet, IMAGES, 4, 4 + 5 + 4 + 6),
    # three channels of 2 x 2 places
    "pixel shuffle": Case(pixel_shuffle, IMAGES, 1, 3),
    # gain over tokens 1, gains 6 + 6, the stream 1; the head reads a mean of a centred stream
    "mixer": Case(mixer, SEQUENCES, 3, 14, signs=14, shifts=40 + 7),
    # QK 6, VO 6, two gains, the stream; GL(3) twice on 2 heads and O(5) on the stream, which fixes ones; tokens are
    # laid side by side, and their keys, which 2 x 3 biases move alike, and the head read centred streams
    "vit": Case(vit, IMAGES, 4, 25, 24 + 10, signs=25, shifts=102 + 12 + 7),
    # QK 4, VO 4, two gains, the stream; GL(2) twice on 2 heads, O(3); five rows and a bias of the first layer, the
    # token, four rows and a bias of the last along ones; two betas, a key and a value bias; q, k, v and head as readers
    "class token": Case(class_token, (2, 3, 5), 4, 17, 8 + 3, signs=17, shifts=5 + 1 + 1 + 4 + 1 + 8 + 4 + 4 + 12 + 7),
    "fused split": Case(fused(True), SEQUENCES, 4, 25, 24 + 10, signs=25, shifts=21 + 6 + 6 + 7),
    "fused reshape": Case(fused(False), SEQUENCES, 3, 25, 24 + 10, signs=25, shifts=21 + 6 + 6 + 7),
    # a key, a value bias, two betas, the head, seven rows of the embedding, a bias for each head, two along ones;
    # q, k and v read a centred stream through windows
    "swin": Case(swin, (2, 4, 4, 7), 4, 25, 24 + 10, signs=25, shifts=6 + 6 + 12 + 7 + 2 + 2 + 7 + 18),
    # O(6) in the frames of two gains `1 + g`, which a scaling does not keep; the stream by one number
    "one plus gain": Case(one_plus_gain, ROWS, 2, 5 + 1, 15, signs=6),
    # keys and queries are standardised in each of 2 heads: O(3) on the vectors of sum zero; GL(4) on the values
    "head norm": Case(head_norm, SEQUENCES, 3, 2 * 2 + 8, 2 * 3 + 2 * 12, signs=8 + 2, shifts=2 * 14 + 8 + 4),
    # O(5): no scaling, so no more
    "tied": Case(tied, (), 2, 6, 10, signs=5),
    "gru": Case(recurrent(nn.GRUCell(6)), SEQUENCES, 1, 0, signs=6),
    "lstm": Case(recurrent(nn.OptimizedLSTMCell(6)), SEQUENCES, 1, 0, signs=6),
    "soft experts": Case(soft_experts, SEQUENCES, 2, 4, shifts=8),
    # a layer applied twice joins three layers of units
    "shared": Case(shared, ROWS, 1, 5),
    "bfloat16": Case(half, ROWS, 1, 5),
    "group norm": Case(group_norm, IMAGES, 4, 15, signs=5, shifts=5),
    # keys and queries keep their norm: a number each, and O(4) for each head on both; GL(4) on the values
    "query norm": Case(query_norm, SEQUENCES, 3, 2 * 2 + 8, 2 * 6 + 2 * 12, signs=8 + 8),
    # the whole layer by one number; the softmax's shift of 5 rows and the bias
    "cosine": Case(cosine, ROWS, 1, 1, shifts=6),
    # a column's length is divided out, its gain is not
    "weight norm": Case(weight_norm, ROWS, 1, 10, signs=5),
    # both pieces of a unit, which may be exchanged in each
    "maxout": Case(maxout, ROWS, 2, 5, shifts=5),
    "glu split": Case(glu_split, ROWS, 1, 5, signs=5),
    "strided": Case(strided, ROWS, 0, 1, refused=("strided slice", "strided slice")),
    "odd shuffle": Case(odd_shuffle, ROWS, 1, 1, signs=2, refused=("split through units",)),
}


LONG = ("class token", "convnext", "densenet", "swin", "vit")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in CASES])
def test_counts(name: str, initialised: Callable) -> None:
    case = CASES[name]
    model = Plain(case.body)
    tokens = jnp.arange(10).reshape(2, 5) % 7
    x = jax.random.normal(jax.random.key(1), case.shape, jnp.float32) if case.shape else tokens
    found = symmetries(model.apply, initialised(model, x), x)
    print(found)
    assert found.checked.failed == ()
    assert found.checked.error < 1e-11
    assert found.checked.sensitivity > 1e-3
    assert tuple(refusal.primitive for refusal in found.refused) == case.refused
    assert len(found.permutations) == case.classes
    assert sum(scaling.dimension for scaling in found.scalings) == case.scalings
    assert sum(group.dimension - group.diagonal for group in found.linear) == case.linear
    assert sum(int(np.prod(sign.shape)) for sign in found.signs) == case.signs
    assert sum(shift.dimension for shift in found.shifts) == case.shifts


@pytest.mark.slow
def test_none_is_missing_where_tokens_are_laid_side_by_side_and_a_mean_of_them_is_read(initialised: Callable) -> None:
    case, x = CASES["class token"], jax.random.normal(jax.random.key(1), (16, 3, 5))
    model = Plain(case.body)
    variables = initialised(model, x)
    counted = complete(symmetries(model.apply, variables, x), variables, x)
    assert (counted.parameters, counted.rank, counted.missing) == (159, 84, 0)
