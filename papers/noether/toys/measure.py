"""Random starts and claims of the toy figures."""

import zlib
from collections.abc import Sequence

import numpy as np

from papers.common.claims import Claim, claim_over_seeds
from papers.common.runs import RunDirectory
from papers.common.verdicts import Direction

COMMAND = "python -m papers.noether.figures --panel toys"
SEEDS = 5


def random_starts(name: str, dimension: int, shortest: float, longest: float, seeds: int = SEEDS) -> np.ndarray:
    """Draw points of uniform direction and of a length between two bounds.

    Args:
        name: of the figure; the same name gives the same points.
        dimension: of the space.
        shortest: smallest length.
        longest: largest length.
        seeds: how many points.

    Returns:
        Array (seeds, dimension), float64.

    >>> lengths = np.linalg.norm(random_starts("example", 3, 1.0, 2.0), axis=-1)
    >>> bool((lengths >= 1).all() and (lengths <= 2).all())
    True
    """
    points = []
    for seed in range(seeds):
        generator = np.random.default_rng((zlib.crc32(name.encode()), seed))
        direction = generator.normal(size=dimension)
        points.append(generator.uniform(shortest, longest) * direction / np.linalg.norm(direction))
    return np.array(points)


def toy_claim(
    directory: RunDirectory,
    command: str,
    values: Sequence[float] | np.ndarray,
    threshold: float,
    direction: Direction,
    *,
    claim: str,
    figure: str,
    paper: str,
    source: str,
    model: str,
) -> Claim:
    """Make a claim of one value for each random start; a toy is never a reduced run."""
    return claim_over_seeds(
        [float(value) for value in np.asarray(values)],
        threshold,
        direction,
        reduced=False,
        environment=directory.environment,
        claim=claim,
        figure=figure,
        paper=paper,
        source=source,
        data="none: random starts",
        model=model,
        command=command,
    )
