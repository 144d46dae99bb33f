"""Norm dynamics: predicted and measured norms of one run, which ``papers.noether.networks`` makes, measures and judges.

`draw.py` has its pictures.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from papers.common.runs import RunDirectory
    from papers.noether.networks.config import TrainConfig


def publish(directory: "RunDirectory", arrays: "dict[str, np.ndarray]", config: "TrainConfig", command: str) -> None:
    """Draw a finished run, judge it, and write everything into its directory."""
    from papers.common.claims import format_claims
    from papers.noether.networks.laws import law_claims
    from papers.noether.norm_dynamics.draw import draw_run

    draw_run(directory, arrays, config)
    claims = law_claims([[arrays]], config, directory.environment, command)
    directory.write_claims(claims)
    print(format_claims(claims), flush=True)
