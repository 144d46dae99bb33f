"""The library's own tests run in float64, and no operation mixes types silently."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def float64_and_strict_promotion() -> Iterator[None]:
    """Switch on x64 and strict dtype promotion for one module of tests, and restore both after it."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield
