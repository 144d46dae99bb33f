"""Three programs that the excluded jax releases get wrong, compared with NumPy on the CPU backend.

They stand for everything else the tests take on trust: a machine that fails here would compute wrong charges, or die
without a traceback, in places no other test looks at. Reported upstream as jax-ml/jax #39103, #40412 and #39257.
"""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

ADVICE = (
    f"jax {jax.__version__} with jaxlib {jaxlib.__version__} must not be used on this machine; "
    "0.10.2, 0.11.0 and 0.11.1 of either are known to be faulty: install the versions that pyproject.toml allows"
)

RANK_SEVEN = """
u = random.standard_normal((3, 1, 2, 2, 8, 8, 8)).astype(np.float32)
v = random.standard_normal(u.shape).astype(np.float32)
measured = jax.jit(lambda u, v: jnp.sum(u * v, axis=3))(u, v)
expected = np.sum(u * v, axis=3)
"""

RANK_EIGHT = """
u = random.uniform(0.5, 1.5, (10, 4, 6)).astype(np.float32)
v = random.uniform(0.5, 1.5, (10, 4, 6, 5, 5, 5, 5, 5)).astype(np.float32)
measured = jax.jit(lambda u, v: jnp.log(jnp.sum(u[..., None, None, None, None, None] * v, axis=2)))(u, v)
expected = np.log(np.sum(u[..., None, None, None, None, None] * v, axis=2))
"""

HEAD = """
import jax, jax.numpy as jnp, numpy as np
random = np.random.default_rng(0)
"""

TAIL = """
np.testing.assert_allclose(measured, expected, rtol=1e-5, atol=1e-5)
print("equal")
"""


def test_rows_of_a_compiled_matrix_product_are_right() -> None:
    """Square norms of 16,385 rows in float64: the last rows came out wrong, silently."""
    random = np.random.default_rng(0)
    matrix, rows = random.standard_normal((3, 3)), random.standard_normal((16_385, 3))
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        measured = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.asarray(matrix) @ row) ** 2)))(rows)
    expected = np.sum((rows @ matrix.T) ** 2, axis=1)
    wrong = np.flatnonzero(~np.isclose(measured, expected, rtol=1e-12, atol=0))
    assert wrong.size == 0, f"{wrong.size} of 16385 rows are wrong, the first is row {wrong[0]}: {ADVICE}"


@pytest.mark.parametrize("program", [RANK_SEVEN, RANK_EIGHT], ids=["rank_7", "rank_8"])
def test_reductions_of_high_rank_neither_crash_nor_hang(program: str) -> None:
    """In a process of their own, since they used to end it by a segmentation fault or never."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", HEAD + program + TAIL]
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.fail(f"a reduction of high rank did not end within 120 s: {ADVICE}")
    assert run.returncode == 0, (
        f"a reduction of high rank ended with exit code {run.returncode}: {ADVICE}\n{run.stderr}"
    )
    assert run.stdout.strip() == "equal"
