"""Settings and fixtures of the whole test suite."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

# two processes share one accelerator; read when jax is imported
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# and two share the cores: threads of NumPy's linear algebra would wait for one another; read when NumPy is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import jax
import pytest

# Thousands of small programs run once: a third of the time to compile them, and no matter how fast they run. Releases
# of jax from 0.11 have no such emitters to leave out.
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):
    QUICK_COMPILATION += " --xla_cpu_use_fusion_emitters=false"

# No deadline: the first example of a property compiles its program. Drawing may compile too, hence no `too_slow` check.
_COMMON = {"deadline": None, "max_examples": 30, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("default", hypothesis.settings(**_COMMON))
hypothesis.settings.register_profile("ci", hypothesis.settings(**_COMMON, derandomize=True, database=None))
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config: pytest.Config) -> None:
    """Compile quickly, here and in processes the tests start; under ``-m slow`` only where a test asks for the flags.

    XLA reads the flags with the first program, which no import compiles.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if config.getoption("markexpr") == "not slow" and QUICK_COMPILATION not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {QUICK_COMPILATION}".strip()


def pytest_collection_finish() -> None:
    """Collect garbage rarely, and never look again at what was imported: 4 to 6 % of the time where profiled."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="module", autouse=True)
def rank_promotion_raises() -> Iterator[None]:
    """Refuse arrays of different rank in one operation: a missing axis is an error, not a broadcast.

    A module's scope, so that the module's own fixtures are built under the setting as well.
    """
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which nothing lies, one for each process of the tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The empty folder in which tests run: one for all that leave it empty, as each new one is looked up among all."""
    return [tmp_path_factory.mktemp("nowhere")]


@pytest.fixture(autouse=True)
def nothing_of_the_user(
    empty_home: Path,
    nowhere: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run every test in an empty folder and an empty home: neither the user's files nor the checkout's are there."""
    monkeypatch.setenv("HOME", str(empty_home))
    for name in ("XDG_CACHE_HOME", "SYMJAX_PAPERS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    if not nowhere[0].is_dir() or any(nowhere[0].iterdir()):
        nowhere[0] = tmp_path_factory.mktemp("nowhere")
    monkeypatch.chdir(nowhere[0])


@pytest.fixture(scope="session")
def quick_compilation() -> str:
    """Flags of XLA for a process that compiles for longer than it computes."""
    return QUICK_COMPILATION


@pytest.fixture(scope="session")
def users_environment() -> dict[str, str]:
    """The environment without those flags: a process in it compiles as a user's does."""
    return {**os.environ, "XLA_FLAGS": os.environ.get("XLA_FLAGS", "").replace(QUICK_COMPILATION, "").strip()}


@pytest.fixture(scope="session")
def real_data(pytestconfig: pytest.Config) -> Path:
    """The packed real data sets beside the checkout, `restore.py` among them; skips where there are none."""
    folder = pytestconfig.rootpath.parent / "shared" / "data"
    if not (folder / "restore.py").is_file():
        pytest.skip("the packed real data sets (../shared/data) are not beside this checkout")
    return folder
