"""Three programs that the excluded jax releases get wrong, compared with NumPy on the CPU backend.

They stand for everything else the tests take on trust: a machine that fails here would compute wrong charges, or die
without a traceback, in places no other test looks at. Reported upstream as jax-ml/jax #39103, #40412 and #39257.
"""

import subprocess
import sys

import jax
import jaxlib
import pytest

ADVICE = (
    f"jax {jax.__version__} with jaxlib {jaxlib.__version__} must not be used on this machine; "
    "0.10.2, 0.11.0 and 0.11.1 of either are known to be faulty: install the versions that pyproject.toml allows"
)

# square norms of 16,385 rows in float64: the last rows came out wrong, silently
ROWS = """
jax.config.update("jax_enable_x64", True)
matrix, rows = random.standard_normal((3, 3)), random.standard_normal((16_385, 3))
measured = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.asarray(matrix) @ row) ** 2)))(rows)
expected = np.sum((rows @ matrix.T) ** 2, axis=1)
"""

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
tolerance = 1e-12 if measured.dtype == np.float64 else 1e-5
np.testing.assert_allclose(measured, expected, rtol=tolerance, atol=tolerance)
print("equal")
"""


@pytest.mark.parametrize("program", [ROWS, RANK_SEVEN, RANK_EIGHT], ids=["rows", "rank_7", "rank_8"])
def test_the_backend_is_right_and_neither_crashes_nor_hangs(program: str, users_environment: dict[str, str]) -> None:
    """In a process of their own, compiled as users compile: two used to end it by a segmentation fault or never."""
    command = [sys.executable, "-c", HEAD + program + TAIL]
    environment = {**users_environment, "JAX_PLATFORMS": "cpu"}
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the program did not end within 120 s: {ADVICE}")
    assert run.returncode == 0, f"the program ended with exit code {run.returncode}: {ADVICE}\n{run.stderr}"
    assert run.stdout.strip() == "equal"
