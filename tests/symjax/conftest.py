"""The library's own tests run in float64, and no operation mixes types silently."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest


@pytest.fixture(scope="module", autouse=True)
def float64_and_strict_promotion() -> Iterator[None]:
    """Switch on x64 and strict dtype promotion for one module of tests, and restore both after it."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


# Relative unless said. The names are the identities, the numbers what they were seen to hold to, with a margin.
_TOLERANCES = {
    "oracle": {"float64": 1e-13, "float32": 1e-5},  # the same quantity computed a second way
    "law": {"float64": 1e-13, "float32": 5e-6},  # identity, composition and inverse of an action
    "invariance": {"float64": 1e-12, "float32": 1e-5},  # of a loss or a function
    "scale gradient": {"float64": 1e-13, "float32": 1e-5},  # <q, g> / (|q| |g|)
    "rescale gradient": {"float64": 1e-13, "float32": 1e-5},
    "batchnorm epsilon": {"float64": 1e-12, "float32": 1e-4},
    "redundant bias": {"float64": 1e-13, "float32": 1e-6},  # absolute
    "softmax": {"float64": 1e-14, "float32": 1e-6},  # absolute
    "hessian": {"float64": 1e-10, "float32": 1e-3},
}


@pytest.fixture(scope="session")
def tolerance() -> Callable[[str, Any], float]:
    """The one table of tolerances: ``tolerance(identity, dtype)``."""
    return lambda identity, dtype: _TOLERANCES[identity][jnp.dtype(dtype).name]
