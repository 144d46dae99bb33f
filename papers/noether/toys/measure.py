"""Random starts of the toy figures, and their claims judged."""

import zlib
from collections.abc import Sequence

import numpy as np

from papers.common.claims import Claim, Setting, Statement, judge
from papers.common.runs import RunDirectory

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
    statement: Statement,
    values: Sequence[float] | np.ndarray,
    *,
    model: str,
    count: int | None = None,
    **filled: object,
) -> Claim:
    """Judge one value for each random start; a toy is never a reduced run.

    Args:
        directory: of the run, for its environment.
        command: the command that measures it again.
        statement: of :mod:`papers.noether.claims`.
        values: one for each start; for a law the start's worst case.
        model: the toy in words.
        count: of a law, over how many numbers the worst cases were taken in all.
        **filled: what stands in the braces of the sentence.
    """
    setting = Setting("none: random starts", model, command, directory.environment)
    return judge(statement, [float(value) for value in np.asarray(values)], setting, count=count, **filled)
