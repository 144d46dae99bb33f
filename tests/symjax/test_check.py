"""A symmetry that holds is said to hold, one that does not is refused with the leaf that explains it."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import activations
from symjax.actions import general_linear, hidden_coordinates, rotate
from symjax.channels import Channel, Layer, Scaling, Site, mlp_channels, scalings
from symjax.check import check
from symjax.symmetry import Symmetry, compose

KEY = jax.random.PRNGKey(0)
W, B, V = Site(("w",), 1), Site(("b",), 0), Site(("v",), 0)


def params(dtype: Any = jnp.float64) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    draw = {"w": rng.standard_normal((5, 4)), "b": np.zeros(4), "v": rng.standard_normal((4, 6))}
    return {name: jnp.asarray(value, dtype) for name, value in draw.items()}


def apply(q: dict[str, jax.Array], x: Any) -> jax.Array:
    return jax.nn.relu(jnp.asarray(x, q["w"].dtype) @ q["w"] + q["b"][None]) @ q["v"]


X = np.random.default_rng(1).standard_normal((9, 5))


def units(*terms: tuple[Site, float]) -> Symmetry:
    return scalings({"h": Channel(4, (W, B, V), (Scaling("rescale", terms),))}, "rescale")


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_a_symmetry_holds(dtype: Any) -> None:
    found = check(units((W, 1), (B, 1), (V, -1)), apply, params(dtype), X, key=KEY)
    assert found.holds and found.worst == "" and (found.rank, found.coordinates) == (4, 4)
    limit = 1e-13 if dtype == jnp.float64 else 1e-5
    assert max(found.invariance, found.residual, found.commuting, found.linear, found.symmetric) < limit
    assert found.identity == 0


def test_a_scalar_loss_and_arguments_of_every_type() -> None:
    def loss(q: Any, x: Any, mode: str, train: bool) -> jax.Array:
        assert mode == "mean" and train is True
        return jnp.mean(apply(q, x) ** 2)

    assert check(units((W, 1), (B, 1), (V, -1)), loss, params(), X, "mean", True, key=KEY).holds


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (((W, 1), (V, -1)), "leaf params['b'], which the flow does not move"),
        (((B, 1), (W, 1)), "leaf params['v'], which the flow does not move"),
        (((W, 1), (B, 2), (V, -1)), "leaf params['b'], whose degree or place is perhaps wrong"),
    ],
)
def test_a_wrong_description_fails_although_its_bias_is_zero(terms: Any, words: str) -> None:
    found = check(units(*terms), apply, params(), X, key=KEY)
    assert not found.holds and found.invariance > 1e-3 and found.residual > 1e-3
    assert re.match(r"coordinate \['h'\]\[\d\]; ", found.worst) and found.worst.endswith(words)


@pytest.mark.slow  # a dozen programs
def test_what_kind_of_generators() -> None:
    rng = np.random.default_rng(2)
    layers = tuple(
        Layer(jnp.asarray(rng.standard_normal(s)), jnp.asarray(rng.standard_normal(s[1]))) for s in ((3, 2), (2, 4))
    )

    def linear(q: Any) -> jax.Array:
        return (jnp.asarray(X[:, :3]) @ q[0].kernel + q[0].bias[None]) @ q[1].kernel + q[1].bias[None]

    group = check(Symmetry(general_linear, hidden_coordinates(layers)), linear, layers, key=KEY)
    assert group.holds and group.rank == group.coordinates == 4
    assert group.linear < 1e-12 and group.commuting > 1e-2 and group.symmetric > 1e-3
    turn = check(Symmetry(rotate, jnp.zeros(3)), lambda q: jnp.sum(q**2), jnp.asarray([1.0, 2.0, 3.0]), key=KEY)
    assert turn.holds and (turn.rank, turn.coordinates) == (2, 3) and turn.symmetric > 0.1
    twice = compose(one=scalings(mlp_channels(layers), "rescale"), two=scalings(mlp_channels(layers), "rescale"))
    found = check(twice, linear, layers, key=KEY)
    assert found.holds and (found.rank, found.coordinates) == (2, 4)


def test_a_flow_with_a_domain_is_looked_at_inside_it() -> None:
    rng = np.random.default_rng(3)
    u, v = jnp.asarray(rng.standard_normal((6, 4))), jnp.asarray(rng.standard_normal((4, 5)))
    symmetry = Symmetry(
        lambda s, q: activations.flow(s, q, "sigmoid"),
        jnp.zeros(4),
        lambda s, q: jnp.all(activations.finite_flow.valid(s, q, "sigmoid")),
    )
    found = check(symmetry, lambda q: q[0] @ jax.nn.sigmoid(q[1]), (u, v), key=KEY)
    assert found.holds and found.linear > 1e-3


def test_bad_input_is_one_sentence() -> None:
    symmetry = units((W, 1), (B, 1), (V, -1))
    shifted = Symmetry(lambda s, q: jax.tree.map(lambda leaf: leaf + 1, symmetry.flow(s, q)), symmetry.zero)
    found = check(shifted, apply, params(), X, key=KEY)
    assert not found.holds and found.worst.startswith("the flow moves the parameters at its zero")
    for call, words in (
        (lambda: check(symmetry, apply, "q", X, key=KEY), "params is 'q', but must be an array of real numbers"),
        (lambda: check(symmetry, apply, params(), X, key=KEY, draws=0), "draws is 0, but must be a positive integer"),
        (lambda: check(symmetry, lambda q: jnp.nan * q["w"], params(), key=KEY), "function is not finite at random"),
        (lambda: check(symmetry, apply, params(), X, key=KEY, tolerance="low"), "tolerance is 'low'"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
            call()
