"""The persistent compilation cache of the entry points: a second start compiles nothing."""

import errno
import os
from pathlib import Path

from papers.common.data.cache import default_directory
from papers.common.errors import UserError
from papers.common.paths import shortened, used, user_path


def use_compilation_cache(cache_dir: Path | None = None) -> None:
    """Keep compiled programs in ``<cache_dir>/xla``; call before anything is compiled.

    Results are bit-identical with and without it. ``JAX_COMPILATION_CACHE_DIR``, if set, is left to rule. Where the
    default folder cannot be written, or there is no home to hold it, programs are compiled anew in every process.

    Args:
      cache_dir: folder of the prepared data and programs; the data's own default if None.

    Raises:
      UserError: the folder named cannot be written, or jax finds no device of the kind that it was told to use.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", _programs(cache_dir))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # jax 0.10 asserts that some platform was found
        reason = shortened(" ".join(str(error).split()) or "no such device is found")
        raise UserError(
            f"jax was told to use JAX_PLATFORMS={jax.config.jax_platforms}, which it cannot ({reason}): unset "
            "JAX_PLATFORMS, or install the jax that drives it"
        ) from None


def _programs(cache_dir: Path | None) -> str | None:
    """The folder of the compiled programs, made; None where there can be none by default."""
    try:
        folder = (default_directory() if cache_dir is None else user_path(cache_dir)) / "xla"
        with used(folder, "name another folder by --cache-dir"):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except UserError:
        if cache_dir is None:
            return None
        raise
    return str(folder)


def step_options() -> dict[str, bool]:
    """Compiler options of a training step: on CPU the older loop emitters, a quarter less to compile, the same speed.

    VGG11-BN's step with its charges compiles in 8.7 CPU s instead of 11.2 and takes 1.01 of the time (width 1/8, 64x64,
    batch 128, one core, jax 0.10.1). Releases of jax from 0.11 have no such option and compile as fast without it.
    """
    import jax

    plain = jax.default_backend() != "cpu" or jax.__version_info__ >= (0, 11)
    return {} if plain else {"xla_cpu_use_fusion_emitters": False}


def once_options() -> dict[str, int]:
    """Compiler options of what runs rarely (evaluation, first state): fewer passes, half the time to compile."""
    import jax

    return {"xla_backend_optimization_level": 1, **step_options()} if jax.default_backend() == "cpu" else {}
