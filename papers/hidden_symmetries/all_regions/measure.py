"""Exact functional dimensions of the random networks of Figure 6, and what their hidden directions are.

Source: Grigsby, Lindsey, Rolnick 2023 for networks and points; the regions and mechanisms are this project's own.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from papers.common.runs import RunDirectory
from papers.hidden_symmetries.exact import ExactConfig
from symjax.dimension import (
    activation_regions,
    batch_dimension,
    bent_hyperplanes,
    bound,
    certify,
    count,
    exact_dimension,
    explain,
)
from symjax.dimension import networks as nets

BLOCK = 25  # networks that are written down at once
MECHANISMS = ("off", "image", "always on", "one hyperplane", "biases", "adjacent layers", "unexplained")
BOX = 3.0  # half the side of the picture


class Exact(NamedTuple):
    """What was measured of N networks.

    Attributes:
      exact: (N,) functional dimension over all regions.
      proven: (N,) what of it is proven by exact rows modulo primes.
      sampled: (N,) rank at the paper's points.
      regions: (N,) number of activation regions.
      pieces: (N,) number of maximal affine pieces.
      patterns: (N,) activation regions that the points lie in.
      missing: (N, 7) hidden directions by mechanism, the unexplained last.
    """

    exact: np.ndarray
    proven: np.ndarray
    sampled: np.ndarray
    regions: np.ndarray
    pieces: np.ndarray
    patterns: np.ndarray
    missing: np.ndarray


class Bends(NamedTuple):
    """The first network's bent hyperplanes, for two inputs: segments (S, 2, 2) and their units; else none."""

    segments: np.ndarray
    units: np.ndarray


class AllRegions(NamedTuple):
    """The networks, and a picture of the first."""

    networks: Exact
    bends: Bends


def network(sizes: tuple[int, ...], seed: int) -> tuple[nets.Params, np.ndarray]:
    """A random network and its points: those of Figure 6 with this seed."""
    other = () if sizes[0] == sizes[1] else (sizes[0],)
    random = np.random.default_rng((6, len(sizes) - 1, sizes[1], seed, *other))
    params = nets.random_params(sizes, random)
    return params, random.normal(size=(100 * bound(sizes), sizes[0]))


def measure(config: ExactConfig, directory: RunDirectory) -> AllRegions:
    """Measure all networks; what is written down already is read."""
    blocks = []
    for start in range(0, config.networks, BLOCK):
        seeds = range(config.seed + start, config.seed + min(start + BLOCK, config.networks))
        blocks.append(directory.part(f"exact_{seeds[0]:06d}", Exact, partial(exact, config.sizes, seeds)))
        done = np.concatenate([block.exact for block in blocks])
        print(f"{len(done)} of {config.networks} networks: mean exact dimension {done.mean():.2f}", flush=True)
    found = Exact(*map(np.concatenate, zip(*blocks, strict=True)))
    directory.append({"networks": len(found.exact), "exact": found.exact.mean(), "sampled": found.sampled.mean()})
    return AllRegions(found, _first(config, found))


def exact(sizes: tuple[int, ...], seeds: range) -> Exact:
    """Measure networks, one a seed."""
    rows = []
    for seed in seeds:
        params, points = network(sizes, seed)
        whole = exact_dimension(params)
        explanation = explain(params, whole.regions)
        missing = [sum(part.drop for part in explanation.parts if part.mechanism == name) for name in MECHANISMS[:-1]]
        sampled = batch_dimension(params, points)
        counts = count(params, whole.regions)
        proof = certify(params, whole.dimension)
        numbers = (whole.rank, proof.rank, sampled.rank, counts.activation_regions, counts.affine_pieces)
        rows.append((*numbers, sampled.patterns, [*missing, explanation.unexplained]))
    return Exact(*map(np.asarray, zip(*rows, strict=True)))


def _first(config: ExactConfig, found: Exact) -> Bends:
    """The first network's bent hyperplanes; what the only one lacks is printed."""
    if config.networks == 1:
        params, _ = network(config.sizes, config.seed)
        print(f"{found.regions[0]:,} regions, {found.pieces[0]:,} affine pieces; {explain(params)}", flush=True)
    if config.sizes[0] != 2:
        return Bends(np.zeros((0, 2, 2)), np.zeros(0, int))
    params, _ = network(config.sizes, config.seed)
    return Bends(*bent_hyperplanes(params, activation_regions(params), BOX))
