"""Settings and fixtures of the whole test suite."""

import os
from collections.abc import Iterator
from pathlib import Path

# two processes share one accelerator; read when jax is imported
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import hypothesis
import jax
import pytest

# No deadline: the first example of a property compiles its program. Drawing may compile too, hence no `too_slow` check.
_COMMON = {"deadline": None, "max_examples": 30, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("default", hypothesis.settings(**_COMMON))
hypothesis.settings.register_profile("ci", hypothesis.settings(**_COMMON, derandomize=True, database=None))
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="module", autouse=True)
def rank_promotion_raises() -> Iterator[None]:
    """Refuse arrays of different rank in one operation: a missing axis is an error, not a broadcast.

    A module's scope, so that the module's own fixtures are built under the setting as well.
    """
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def real_data(pytestconfig: pytest.Config) -> Path:
    """The packed real data sets beside the checkout, `restore.py` among them; skips where there are none."""
    folder = pytestconfig.rootpath.parent / "shared" / "data"
    if not (folder / "restore.py").is_file():
        pytest.skip("the packed real data sets (../shared/data) are not beside this checkout")
    return folder
