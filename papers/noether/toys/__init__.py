"""The toy figures: mechanics in two to four dimensions, where every law can be watched and measured in seconds.

| name | file | what it shows |
|---|---|---|
| `rotated_starts` | `rotation.py` | rotated starts, rotated trajectories, the same energy (Fig. 1a) |
| `charge_decay` | `rotation.py` | the Noether charge against time for several m / mu (Fig. 2) |
| `discretisation` | `discretisation.py` | what a finite step does, and which continuous model follows it (Eq. 3) |
| `conserved_surfaces` | `surfaces.py` | softmax, BatchNorm and a linear path: plane, sphere, hyperbola |
| `valley` | `valley.py` | a scale-symmetric valley: free norm, fixed norm, gradient flow (Sec. 4) |
| `rmsprop` | `rmsprop.py` | SGD's direction and RMSProp on the sphere, one curve (Eq. 18) |

Each file computes with pure functions and draws with one function that returns the figure's claims; their thresholds
stand in `papers.noether.claims`. All of it needs float64: whoever calls `draw_all` switches `jax_enable_x64` on.

Source: Tanaka & Kunin 2021, Noether's Learning Dynamics; figures of fields and discretisation after Kunin et al. 2021,
Neural Mechanics.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from papers.common.claims import Claim
from papers.common.runs import RunDirectory
from papers.noether.toys import discretisation, rmsprop, rotation, surfaces, valley
from papers.noether.toys.measure import COMMAND

__all__ = ["TOYS", "draw_all"]

TOYS: dict[str, Callable[[RunDirectory, str], list[Claim]]] = {
    "rotated_starts": rotation.draw_rotated_starts,
    "charge_decay": rotation.draw_charge_decay,
    "discretisation": discretisation.draw_discretisation,
    "conserved_surfaces": surfaces.draw_surfaces,
    "valley": valley.draw_valley,
    "rmsprop": rmsprop.draw_rmsprop,
}
"""Name -> draw(directory, command): writes `toy_<name>.png` and `.npz`, returns the claims."""


def draw_all(directory: RunDirectory, names: Sequence[str] | None = None, command: str = COMMAND) -> list[Claim]:
    """Draw the toy figures into a run's directory.

    Args:
        directory: an open run.
        names: which of `TOYS`; all of them by default.
        command: the command that draws them again, for the claims.

    Returns:
        The claims of all figures drawn, in the order of the names.

    Raises:
        ValueError: for an unknown name, or without float64.
    """
    names = list(TOYS) if names is None else list(names)
    for name in names:
        if name not in TOYS:
            raise ValueError(f"there is no toy figure {name!r}: choose from {', '.join(TOYS)}")
    if jnp.result_type(float) != jnp.float64:
        raise ValueError("the toy figures need float64, but jax computes in float32: switch jax_enable_x64 on")
    return [claim for name in names for claim in TOYS[name](directory, command)]
