"""One network written for several libraries of modules, and by hand: the same symmetries."""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from symjax.channels import permute
from symjax.tracing import symmetries
from symjax.tracing.found import Symmetries


@pytest.fixture(scope="module", autouse=True)
def models_promote() -> Iterator[None]:
    """Models are written as users write them."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def linen() -> tuple[Callable, Any]:
    model = nn.Sequential([nn.Dense(6), nn.relu, nn.Dense(5), nn.LayerNorm(), nn.tanh, nn.Dense(3)])
    return model.apply, model.init(jax.random.key(1), jnp.ones((1, 4)))


def split() -> tuple[Callable, Any]:
    rngs = nnx.Rngs(1)
    layers = nnx.Linear(4, 6, rngs=rngs), nnx.relu, nnx.Linear(6, 5, rngs=rngs), nnx.LayerNorm(5, rngs=rngs)
    model = nnx.Sequential(*layers, nnx.tanh, nnx.Linear(5, 3, rngs=rngs))
    graph, state = nnx.split(model)
    return lambda state, x: nnx.merge(graph, state)(x), state


def pure() -> tuple[Callable, Any]:
    kernels = {"in": (4, 6), "middle": (6, 5), "out": (5, 3)}
    keys = jax.random.split(jax.random.key(1), len(kernels))
    params = {
        name: {"w": jax.random.normal(key, shape), "b": jnp.zeros(shape[1])}
        for key, (name, shape) in zip(keys, kernels.items(), strict=True)
    }
    params["norm"] = {"gain": jnp.ones(5), "bias": jnp.zeros(5)}

    def apply(params: Any, x: Any) -> Any:
        def dense(name: str, x: Any) -> Any:
            return x @ params[name]["w"] + params[name]["b"]

        x = dense("middle", jax.nn.relu(dense("in", x)))
        x = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)
        return dense("out", jnp.tanh(x * params["norm"]["gain"] + params["norm"]["bias"]))

    return apply, params


def equinox() -> tuple[Callable, Any]:
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")
    keys = jax.random.split(jax.random.key(1), 3)
    layers = eqx.nn.Linear(4, 6, key=keys[0]), eqx.nn.Lambda(jax.nn.relu), eqx.nn.Linear(6, 5, key=keys[1])
    last = eqx.nn.LayerNorm(5), eqx.nn.Lambda(jnp.tanh), eqx.nn.Linear(5, 3, key=keys[2])
    arrays, static = eqx.partition(eqx.nn.inference_mode(eqx.nn.Sequential([*layers, *last])), eqx.is_array)
    return lambda arrays, x: jax.vmap(eqx.combine(arrays, static))(x), arrays


def keras() -> tuple[Callable, Any]:
    pytest.importorskip("keras", reason="keras is not installed (extra `zoo`)")
    import keras as library

    if library.backend.backend() != "jax":
        pytest.skip("keras runs on another backend: set KERAS_BACKEND=jax")
    dense = library.layers.Dense
    layers = dense(6, "relu"), dense(5), library.layers.LayerNormalization(epsilon=1e-6)
    model = library.Sequential([library.Input((4,)), *layers, library.layers.Activation("tanh"), dense(3)])
    parts = model.trainable_variables, model.non_trainable_variables
    values = [[jnp.asarray(one.value) for one in part] for part in parts]
    return lambda v, x: model.stateless_call(*v, x, training=False)[0], values


MODELS = {"flax.linen": linen, "flax.nnx": split, "plain function": pure, "equinox": equinox, "keras": keras}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[Callable, Any, jax.Array, Symmetries]:
    apply, variables = MODELS[request.param]()
    x = jax.random.normal(jax.random.key(0), (7, 4))
    return apply, variables, x, symmetries(apply, variables, x)


def test_the_same_symmetries(model: tuple) -> None:
    """Counted by hand: what each library calls its leaves does not matter."""
    _, _, _, found = model
    assert sorted(found.classes[name].size for name in found.permutations) == [5, 6]
    # 6 ReLU units; all that is written before the LayerNorm together, up to its epsilon
    assert sorted((one.dimension, one.up_to) for one in found.scalings) == [(1, "epsilon"), (6, "")]
    # the LayerNorm takes a mean away: of each of 6 rows of the kernel before it, and of the bias
    assert sorted(one.dimension for one in found.shifts) == [1, 6]
    # 5 units of tanh; all 5 before the LayerNorm together
    assert sorted(int(np.prod(one.shape)) for one in found.signs) == [1, 5]
    assert not found.linear and not found.refused and not found.unread


def test_acting_keeps_structure_and_outputs(model: tuple) -> None:
    apply, variables, x, found = model
    perms = {name: np.arange(channel.size)[::-1].copy() for name, channel in found.channels.items()}
    moved = permute(perms, variables, found.channels)
    assert jax.tree.structure(moved) == jax.tree.structure(variables)
    assert any(
        np.abs(a - b).max() > 0.1 for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(variables), strict=True)
    )
    before, after = apply(variables, x), apply(moved, x)
    np.testing.assert_allclose(after, before, rtol=0, atol=np.abs(before).max() * np.finfo(before.dtype).eps * 100)
