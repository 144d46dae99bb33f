"""Whether a symmetry is missing, where the answer is known: the zoo of the tracing tests has the other models."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.dimension import complete
from symjax.tracing import symmetries

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 2))
PARAMS = {"in": RANDOM.normal(size=(2, 3)), "bias": RANDOM.normal(size=3), "out": RANDOM.normal(size=(3, 4))}


def relu(params: Any, x: jax.Array) -> jax.Array:
    """2-3-4 with ReLU."""
    return jnp.maximum(x @ params["in"] + params["bias"][None], 0.0) @ params["out"]


def test_none_is_missing_and_units_that_never_fire_are() -> None:
    """A second block is always off: none of its 6 + 12 parameters matters, and 3 of these directions are scalings."""
    alive = complete(symmetries(relu, PARAMS, X), PARAMS, X)
    assert alive.complete and (alive.rank, alive.traced, alive.missing, alive.idle) == (18, 3, 0, 0)
    assert str(alive) == "symmetries traced: 3; rank 18; 18 + 3 = 21, none missing"

    def with_dead(params: Any, x: jax.Array) -> jax.Array:
        return relu(params, x) + jnp.maximum(-(x * x) @ (params["w"] * params["w"]), 0.0) @ params["r"]

    params = PARAMS | {"w": RANDOM.normal(size=(2, 3)), "r": RANDOM.normal(size=(3, 4))}
    found = symmetries(with_dead, params, X)
    assert found.dimension == 6
    counted = complete(found, params, X)
    assert not counted.complete and (counted.rank, counted.missing, counted.idle) == (18, 39 - 18 - 6, 18)
    assert str(counted).endswith("18 + 6 = 39 - 15: 15 unexplained, 18 idle parameters among them")


def test_a_symmetry_that_was_not_found_is_missed() -> None:
    found = symmetries(relu, PARAMS, X)
    assert complete(found._replace(scalings=()), PARAMS, X).missing == 3


@pytest.mark.slow
def test_shared_weights_leave_one_scaling_a_channel() -> None:
    """Convolutions of 3 and 2 channels and a dense layer: D = 30 + 56 + 9, less 5 channels."""
    rng = np.random.default_rng(1)
    shapes = {"one": (3, 3, 1, 3), "b1": (3,), "two": (3, 3, 3, 2), "b2": (2,), "dense": (3, 2), "b3": (3,)}
    params, x = {name: rng.normal(size=shape) for name, shape in shapes.items()}, rng.normal(size=(6, 5, 5, 1))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        for kernel, bias in (("one", "b1"), ("two", "b2")):
            x = jax.lax.conv_general_dilated(
                x, params[kernel], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jnp.maximum(x + params[bias][None, None, None], 0.0)
        return x.mean((1, 2)) @ params["dense"].T + params["b3"][None]

    found = symmetries(apply, params, x)
    assert found.dimension == 3 + 2
    counted = complete(found, params, x)
    assert counted.complete and counted.rank + counted.traced == counted.parameters == 30 + 56 + 9


def test_what_is_refused() -> None:
    found = symmetries(relu, PARAMS, X)
    with pytest.raises(ValueError, match="another structure"):
        complete(found, {"in": PARAMS["in"]}, X)
    with pytest.raises(ValueError, match=r"inputs have shapes \[\(3, 2\)\], but what was traced has \[\(12, 2\)\]"):
        complete(found, PARAMS, X[:3])


@pytest.mark.slow
def test_models_too_large_for_a_dense_rank_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same counts without a Jacobian: exact where none is missing, within its error where some are."""
    monkeypatch.setattr("symjax.dimension.completeness._MEMORY", 100)
    found = symmetries(relu, PARAMS, X)
    alive = complete(found, PARAMS, X)
    assert alive.complete and (alive.rank, alive.traced, alive.missing) == (18, 3, 0) and alive.evidence is None
    assert "estimated" in str(alive) and alive.estimate.nullity < 1e-2
    unexplained = complete(found._replace(scalings=()), PARAMS, X)
    assert not unexplained.complete and abs(unexplained.estimate.nullity - 3) < 3 * unexplained.estimate.error
