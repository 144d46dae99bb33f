"""What was found acts through the library's own channels and flows, and leaves the model's outputs as they are."""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import channels, symmetry
from symjax.channels import Channel, Scaling, Site
from symjax.tracing import symmetries


@pytest.fixture(scope="module", autouse=True)
def models_promote() -> Iterator[None]:
    """Models are written as users write them."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


class Grouped(nn.Module):
    """Groups, a flattening and a normalisation."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.tanh(nn.BatchNorm(True, param_dtype=jnp.float64)(nn.Conv(4, (3, 3), param_dtype=jnp.float64)(x)))
        x = nn.leaky_relu(nn.Conv(6, (3, 3), feature_group_count=2, param_dtype=jnp.float64)(x))
        return nn.Dense(3, param_dtype=jnp.float64)(x.reshape(x.shape[0], -1))


class Attention(nn.Module):
    """Fused queries, keys and values, heads, a gated unit."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(6, use_bias=False, param_dtype=jnp.float64)(x)
        qkv = nn.Dense(3 * 8, use_bias=False, param_dtype=jnp.float64, name="qkv")(x)
        q, k, v = (part.reshape(*x.shape[:2], 2, 4) for part in jnp.split(qkv, 3, -1))
        weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
        x = jnp.einsum("bhts,bshd->bthd", weights, v).reshape(*x.shape[:2], 8)
        x = nn.Dense(5, param_dtype=jnp.float64, name="up")(x) * nn.sigmoid(nn.Dense(5, param_dtype=jnp.float64)(x))
        return nn.Dense(3, param_dtype=jnp.float64, name="out")(x)


MODELS = {"grouped": (Grouped(), (2, 4, 4, 3)), "attention": (Attention(), (2, 5, 3))}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, initialised: Callable) -> tuple[Callable, Any, jax.Array, Any]:
    module, shape = MODELS[request.param]
    numbers = np.random.default_rng(0)
    x = jnp.asarray(numbers.normal(size=shape))
    moved = lambda leaf: jnp.asarray(np.asarray(leaf, float) + 0.1 * numbers.uniform(size=leaf.shape))  # noqa: E731
    variables = jax.tree.map(moved, initialised(module, x))
    return jax.jit(module.apply), variables, x, symmetries(module.apply, variables, x)


def unchanged(model: tuple, variables: Any) -> None:
    apply, before, x, _ = model
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), before, variables)
    assert max(jax.tree.leaves(moved)) > 0.1
    np.testing.assert_allclose(apply(variables, x), apply(before, x), rtol=1e-10, atol=1e-12)


def test_permutations(model: tuple) -> None:
    _, variables, _, found = model
    random = np.random.default_rng(0)
    perms = {
        name: random.permuted(np.broadcast_to(np.arange(channel.size), channel.shape), axis=-1)
        for name, channel in found.channels.items()
    }
    assert perms
    unchanged(model, channels.permute(perms, variables, found.channels))


def test_scalings(model: tuple) -> None:
    _, variables, _, found = model
    random = np.random.default_rng(0)
    s = {
        name: {part.name: random.normal(size=channel.extent(part)) for part in channel.scalings if not part.up_to}
        for name, channel in found.channels.items()
    }
    count = sum(value.size for named in s.values() for value in named.values())
    assert count == sum(scaling.dimension for scaling in found.scalings if not scaling.up_to)
    unchanged(model, channels.rescale({k: v for k, v in s.items() if v}, variables, found.channels))


def test_signs(model: tuple) -> None:
    _, variables, _, found = model
    random = np.random.default_rng(0)
    signs = {
        name: {part.name: random.choice([-1.0, 1.0], size=channel.extent(part)) for part in channel.signs}
        for name, channel in found.channels.items()
        if channel.signs
    }
    unchanged(model, channels.flip(signs, variables, found.channels))


def test_the_composed_flow_is_a_symmetry(model: tuple) -> None:
    apply, variables, x, found = model
    flow, zero, _ = found.symmetry
    same = jax.jit(flow)(zero, variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14), same, variables)
    weight = np.random.default_rng(3).normal(size=apply(variables, x).shape)
    loss = lambda v: jnp.vdot(weight, apply(v, x))  # noqa: E731
    residual = jax.jit(lambda v: symmetry.symmetry_residual(found.symmetry, loss, v))(variables)
    exact = {scaling.name for scaling in found.scalings if not scaling.up_to}
    for kind, named in residual.items():
        for name, value in named.items():
            if kind != "scalings" or name in exact:
                assert np.max(np.abs(value)) < 1e-11, (kind, name)


def test_the_composed_flow_has_every_dimension(model: tuple) -> None:
    _, _, _, found = model
    assert sum(leaf.size for leaf in jax.tree.leaves(found.symmetry.zero)) == found.dimension


def test_a_plain_network_has_the_channel_one_writes_by_hand() -> None:
    def apply(variables: Any, x: jax.Array) -> jax.Array:
        return jax.nn.relu(x @ variables["w"] + variables["b"]) @ variables["v"]

    variables = {"w": jnp.ones((2, 3)), "b": jnp.ones(3), "v": jnp.ones((3, 4))}
    found = symmetries(apply, variables, jnp.ones((5, 2)))
    w, b, v = Site(("w",), 1), Site(("b",), 0), Site(("v",), 0)
    by_hand = Channel(3, (w, b, v), (Scaling("rescale", ((w, 1.0), (b, 1.0), (v, -1.0))),))
    assert found.channels == {"w": by_hand}


def test_a_model_without_a_continuous_symmetry_has_no_flow() -> None:
    variables = {"w": jnp.ones((2, 3)), "v": jnp.ones((3, 4))}
    found = symmetries(lambda v, x: jax.nn.gelu(x @ v["w"]) @ v["v"], variables, jnp.ones((5, 2)))
    with pytest.raises(ValueError, match="no continuous symmetry"):
        _ = found.symmetry


def _flattened(v: dict, x: Any) -> Any:
    both = jnp.concatenate([jax.nn.relu(x @ v["a"]), jax.nn.relu(x @ v["b"])], -1)
    return both.reshape(x.shape[0], -1) @ v["out"]


def _beside(v: dict, x: Any) -> Any:
    both = jnp.concatenate([jax.nn.relu(x @ v["a"]), jax.nn.relu(x @ v["b"])], -1).reshape(x.shape[0], -1)
    return jnp.concatenate([jax.nn.relu(x[:, 0] @ v["c"]), both], -1) @ v["last"]


def _fused(v: dict, x: Any) -> Any:
    query, key, value = jnp.moveaxis((x @ v["fused"]).reshape(*x.shape[:2], 2, 3, 4), 3, 0)
    weights = jax.nn.softmax(jnp.einsum("nthd,nshd->nhts", query, key), -1)
    return jnp.einsum("nhts,nshd->nthd", weights, value).reshape(*x.shape[:2], 8) @ v["from_heads"]


@pytest.mark.parametrize(
    ("apply", "shapes"),
    [
        (_flattened, {"a": (2, 3), "b": (2, 4), "out": (35, 2)}),
        (_beside, {"a": (2, 3), "b": (2, 4), "c": (2, 3), "last": (38, 2)}),
        (_fused, {"fused": (2, 24), "from_heads": (8, 2)}),
    ],
)
def test_units_that_stand_in_strides_with_others_between_them(apply: Any, shapes: dict) -> None:
    """A concatenation that is flattened with its positions, or heads of queries, keys and values, are strided."""
    random = np.random.default_rng(0)
    v, x = {name: random.normal(size=shape) for name, shape in shapes.items()}, random.normal(size=(1, 5, 2))
    found, before = symmetries(apply, v, x).channels, apply(v, x)
    for name, one in found.items():
        shape = (*one.batch, one.size)
        perm = random.permuted(np.broadcast_to(np.arange(one.size), shape), axis=-1)
        moved = channels.permute({name: perm}, v, found)
        for scaling in one.scalings:
            factors = {name: {scaling.name: random.normal(size=one.extent(scaling))}}
            moved = channels.rescale(factors, moved, found)
        np.testing.assert_allclose(apply(moved, x), before, rtol=0, atol=1e-13)
    assert sum(np.prod((*one.batch, one.size)) for one in found.values()) in (7, 10)
