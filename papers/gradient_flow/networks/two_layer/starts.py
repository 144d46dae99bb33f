"""Where the two-layer networks of Figures 3, 6, 7 and 9 start: the authors' own draws, and independent ones.

``authors_draws.npz`` holds the standard normal numbers that the authors' scripts start from: PyTorch 2, CPU, float32,
``torch.manual_seed(12345)`` before each array, ``torch.rand`` of its shape, then ``normal_()`` in place. ``target``,
``output`` and ``input`` are Y, U and V of Figures 3 and 6 (to be multiplied by the scale), ``*_tall`` those of Figure
9, ``radial_output`` and ``radial_input`` the diagonals of arrays (5, 5) and (10, 5), drawn for Figure 7.

Source: Zhao et al. 2023, Figures 3, 6, 7 and 9.
Deviation: every seed but the authors' draws Y, U and V from keys of their own; the authors' come from one seed and are
correlated.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from io import BytesIO
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.gradient_flow.networks.config import Initialisation

Shape = Literal["wide", "tall"]


class Start(NamedTuple):
    """Where networks start; a leading axis of runs, or none, on all three."""

    target: Any  #: Y (m, n)
    output: Any  #: U (m, h)
    input: Any  #: V (n, h)


def draw_elementwise(seed: int, scale: float, initialisation: Initialisation, shape: Shape = "wide") -> Start:
    """Draw the start of Figures 3 and 6 (wide: m = 5, n = 10) or 9 (tall: m = 10, n = 5), 50 hidden units.

    ``Y ~ N(0, 1)``, ``U, V ~ N(0, scale^2)``; one seed has the same Y and the same directions at every scale.

    Source: Zhao et al. 2023, Figures 3, 6, 9.

    Args:
      seed: 0 is the authors' draw where ``initialisation`` says so.
      scale: standard deviation of the weights.
      initialisation: ``authors`` or ``independent``.
      shape: of the target.

    Returns:
      A :class:`Start`, float64.
    """
    m, n = (5, 10) if shape == "wide" else (10, 5)
    if initialisation == "authors" and seed == 0:
        end = "" if shape == "wide" else "_tall"
        target, output, given = (authors_draws()[name + end] for name in ("target", "output", "input"))
    else:
        target, output, given = (
            _normal(seed, f"{shape} {name}", size)
            for name, size in (("target", (m, n)), ("output", (m, 50)), ("input", (n, 50)))
        )
    return Start(target, scale * output, scale * given)


def draw_radial(seed: int, scale: float, initialisation: Initialisation) -> Start:
    """Draw the start of Figure 7: m = 5, n = 10, 5 hidden units, five pairs of numbers in the target's singular basis.

    ``Y = Phi S Psi^T``, ``U = Phi diag(u)``, ``V = Psi diag(v)`` with ``u, v ~ N(scale, scale^2)``: the row version
    then falls apart into five problems ``(s_i - u_i/v_i)^2/(m n)``.

    Source: Zhao et al. 2023, Figure 7.

    Args:
      seed: 0 is the authors' draw where ``initialisation`` says so.
      scale: mean and standard deviation of the diagonals.
      initialisation: ``authors`` or ``independent``.

    Returns:
      A :class:`Start`, float64.
    """
    if initialisation == "authors" and seed == 0:
        draws = authors_draws()
        target, u, v = draws["target"], draws["radial_output"], draws["radial_input"]
    else:
        target = _normal(seed, "wide target", (5, 10))
        u, v = (_normal(seed, f"radial {name}", (5,)) for name in ("output", "input"))
    left, _, right = np.linalg.svd(target, full_matrices=False)
    return Start(target, left * (scale * (1 + u)), right.T * (scale * (1 + v)))


@lru_cache
def authors_draws() -> dict[str, np.ndarray]:
    """Read the authors' standard normal draws, name -> float64 array; this file's docstring says how they were made."""
    content = resources.files("papers.gradient_flow.networks.two_layer").joinpath("authors_draws.npz").read_bytes()
    with np.load(BytesIO(content)) as file:
        return {name: file[name].astype(np.float64) for name in file.files}


def stack(starts: Sequence[Start]) -> Start:
    """Join starts along a new leading axis of runs."""
    return Start(*(np.stack(leaves) for leaves in zip(*starts, strict=True)))


def _normal(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return np.asarray(jax.random.normal(key, shape, jnp.float64), dtype=np.float64)
