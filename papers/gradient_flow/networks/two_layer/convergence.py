"""When a recorded curve converges, and the few numbers of a run that are written down."""

from typing import Any

import numpy as np

from papers.common.runs import RunDirectory
from papers.gradient_flow.networks.two_layer.descent import Curves

CLOSE = 0.1
"""|F - Y| that counts as converged in Figure 6."""


def first_below(steps: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """Find the first recorded step with a value below a limit, the last step where there is none.

    Args:
      steps: (records,).
      values: (..., records).
      limit: the limit.

    Returns:
      Array (...), floating; NaN where the values are not finite at the end.

    >>> first_below(np.array([0, 1, 10]), np.array([[3.0, 2.0, 0.5], [3.0, 3.0, 3.0]]), 1.0)
    array([10., 10.])
    """
    below = values < limit
    found = np.where(below.any(axis=-1), steps[below.argmax(axis=-1)], steps[-1]).astype(np.float64)
    return np.where(np.isfinite(values[..., -1]), found, np.nan)


def write_numbers(
    directory: RunDirectory, curves: Curves, run: int, values: np.ndarray, what: dict[str, Any], *, close: bool = False
) -> None:
    """Write the key numbers of one run: what is plotted at the powers of ten, and where it passes below ``CLOSE``.

    Args:
      directory: the open run directory.
      curves: of all runs.
      run: which of them.
      values: what is plotted of it, (records,).
      what: network, seed, scale and initial charge.
      close: whether to say when the values pass below ``CLOSE``.
    """
    powers = 10 ** np.arange(int(np.log10(curves.steps[-1])) + 1)
    record = what | {
        "start": values[0],
        "at_step": {str(step): values[np.searchsorted(curves.steps, step)] for step in powers},
        "steps": int(curves.steps[-1]),
        "end": values[-1],
        "diverged": not bool(curves.finite[run].all()),
    }
    if close:
        below = values < CLOSE
        record["first_step_below_0.1"] = int(curves.steps[below.argmax()]) if below.any() else None
    directory.append(record)
