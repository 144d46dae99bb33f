"""Where a run happens: versions, commit, device, flags, and the command that started it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
SETTINGS = (
    "jax_enable_x64",
    "jax_threefry_partitionable",
    "jax_default_prng_impl",
    "jax_default_matmul_precision",
    "jax_default_device",
    "jax_numpy_dtype_promotion",
    "jax_disable_jit",
)


def environment() -> dict[str, Any]:
    """Describe where a run happens: versions, commit, device, XLA flags and the time.

    Starts jax's backend, so call it after everything that configures jax.

    Returns:
        ``versions``, ``commit`` (None outside the repository, ``-dirty`` behind it where tracked files were changed),
        ``device`` (kind, platform, count, cpu, and the cores this process may use, which decide how XLA splits a sum),
        ``settings`` (:func:`settings`), ``xla_flags``, ``started`` (UTC); ready for JSON.
    """
    import jax

    devices = jax.devices()
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": _commit(Path(__file__).resolve()),
        "device": {
            "kind": devices[0].device_kind,
            "platform": devices[0].platform,
            "count": len(devices),
            "cpu": _cpu(),
            "cores": cores(),
        },
        "settings": settings(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def settings() -> dict[str, Any]:
    """Read those of jax's settings that change numbers."""
    import jax

    return {name.removeprefix("jax_"): _plain(getattr(jax.config, name, None)) for name in SETTINGS}


def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def command_line(module: str, arguments: Sequence[str] | None = None) -> str:
    """Spell the command that repeats what the process runs, for ``config.json`` and claims: a resumed run is repeated
    by the words that began it.

    >>> command_line("papers.noether.train", ["--seed", "1", "--resume"])
    'python -m papers.noether.train --seed 1'
    """
    import shlex

    words = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", module, *(word for word in words if word not in ("--resume", "--no-resume"))])


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(file: Path) -> str | None:
    """The commit of the repository that tracks a file; a package installed inside a foreign repository has none."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(file.parent), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
