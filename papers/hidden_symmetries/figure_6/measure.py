"""Functional dimensions of random networks: at the paper's points, and on all of the regions that these lie in.

Source: Grigsby, Lindsey, Rolnick 2023: weights N(0, 2 / fan in), biases N(0, 0.01), standard normal points, 100 times
the bound of them.
Deviation: the paper names neither precision nor threshold; here float64, and the gap of the singular values beside each
rank. Not in the paper: the rank on the sampled regions, and what is lost to units that are never on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from papers.common.errors import UserError
from papers.common.finished import read_config
from papers.common.integrity import Damaged, read_arrays
from papers.common.records import from_arrays
from papers.common.runs import RunDirectory
from papers.hidden_symmetries.figures import FiguresConfig
from symjax.dimension import batch_dimension, bound, certify, sampled_dimension
from symjax.dimension import networks as nets

Part = TypeVar("Part")

BLOCK = 100  # networks whose ranks are written down at once


class Ranks(NamedTuple):
    """What was measured of N networks of one architecture.

    Attributes:
      rank: (N,) at the points, as the paper.
      half: (N,) at the first half of them.
      regions: (N,) on all regions that the points lie in.
      pruned: (N,) the bound without the units that are off at every point.
      off: (N,) units off at every point.
      on: (N,) units on at every point.
      patterns: (N,) different patterns.
      gap: (N,) smaller gap of the singular values of both ranks.
    """

    rank: np.ndarray
    half: np.ndarray
    regions: np.ndarray
    pruned: np.ndarray
    off: np.ndarray
    on: np.ndarray
    patterns: np.ndarray
    gap: np.ndarray


class Proofs(NamedTuple):
    """What is proven of the K networks whose regions have the largest rank: their seeds and the proven ranks, (K,)."""

    seed: np.ndarray
    rank: np.ndarray


class Figure6(NamedTuple):
    """(depth, width) -> the ranks, and the proofs."""

    ranks: dict[tuple[int, int], Ranks]
    proofs: dict[tuple[int, int], Proofs]


def architecture(depth: int, width: int) -> tuple[int, ...]:
    """``(n, ..., n, 1)`` with ``depth`` affine layers."""
    return (width,) * depth + (1,)


def measure(config: FiguresConfig, directory: RunDirectory) -> Figure6:
    """Measure all architectures, the smallest first; what is written down already is read, here or in other runs."""
    found, proofs, others = {}, {}, [(path, read_config(path)) for path in config.reuse]
    for path, record in others:
        directory.append({"reuse": path.name, "run": record["run"], "commits": commits(record)})
    for width in config.widths:
        for depth in config.depths:
            blocks = []
            for seeds in _blocks(config.seed, config.count(width)):
                name = f"d{depth}_n{width}_{seeds[0]:06d}"
                block = reused(others, name, Ranks, lambda block, seeds=seeds: len(block.rank) == len(seeds))
                compute = (lambda block=block: block) if block else partial(ranks, depth, width, seeds)
                blocks.append(directory.part(name, Ranks, compute))
            found[depth, width] = Ranks(*map(np.concatenate, zip(*blocks, strict=True)))
            largest = bound(architecture(depth, width))
            full = int(np.sum(found[depth, width].rank == largest))
            seeds = config.seed + np.flatnonzero(found[depth, width].regions == largest)
            name = f"proofs_d{depth}_n{width}"
            proof = reused(others, name, Proofs, lambda proof, seeds=seeds: np.array_equal(proof.seed, seeds))
            compute = (lambda proof=proof: proof) if proof else partial(proven, depth, width, seeds)
            proofs[depth, width] = directory.part(name, Proofs, compute)
            directory.append({"depth": depth, "width": width, "networks": config.count(width), "full": full})
            print(
                f"depth {depth}, width {width}: {full} of {config.count(width)} networks without hidden symmetries",
                flush=True,
            )
    return Figure6(found, proofs)


def reusable(config: FiguresConfig) -> None:
    """Refuse other runs that are none of this figure, or had other seeds.

    Raises:
        UserError: the run is named.
    """
    for path in config.reuse:
        told = read_config(path)["config"]
        if (told.get("figure"), told.get("seed")) != ("6", config.seed):
            raise UserError(f"the run in {path} is none of Figure 6 with --seed {config.seed}, and cannot be reused")


def commits(record: Mapping[str, Any]) -> list[str]:
    """The commits that a run was begun and resumed at."""
    return [str(each.get("commit")) for each in (record, *record.get("resumed", []))]


def reused(
    others: Sequence[tuple[Path, Mapping[str, Any]]], name: str, kind: type[Part], fits: Callable[[Part], bool]
) -> Part | None:
    """A part that another run measured, whole and fitting; None where there is none."""
    for path, record in others:
        try:
            part = from_arrays(kind, read_arrays(path / "parts" / f"{name}.npz", run=record["run"], part=name))
        except Damaged:
            continue
        if fits(part):
            return part
    return None


def _blocks(first: int, count: int) -> list[range]:
    return [range(first + start, first + min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def network(depth: int, width: int, seed: int) -> tuple[nets.Params, np.ndarray, np.random.Generator]:
    """A random network, its points, and the generator that they were drawn from."""
    sizes, random = architecture(depth, width), np.random.default_rng((6, depth, width, seed))
    params = nets.random_params(sizes, random)
    return params, random.normal(size=(100 * bound(sizes), width)), random


def ranks(depth: int, width: int, seeds: range) -> Ranks:
    """Measure networks, one a seed."""
    sizes, rows, began = architecture(depth, width), [], time.monotonic()
    for seed in seeds:
        params, points, random = network(depth, width, seed)
        at_points = batch_dimension(params, points, random)
        on_regions = sampled_dimension(params, points, random)
        masks = nets.patterns(params, points)
        off, on = ~masks.any(axis=0), masks.all(axis=0)
        gap = min(at_points.evidence.gap, on_regions.evidence.gap, 1e300)
        counts = (at_points.rank, at_points.half, on_regions.rank, pruned(sizes, off), off.sum(), on.sum())
        rows.append((*counts, at_points.patterns, gap))
    seconds = (time.monotonic() - began) / len(seeds)
    print(f"depth {depth}, width {width}, seeds {seeds[0]} to {seeds[-1]}: {seconds:.2g} s a network", flush=True)
    return Ranks(*map(np.asarray, zip(*rows, strict=True)))


def proven(depth: int, width: int, seeds: np.ndarray) -> Proofs:
    """Prove that networks have no hidden symmetry of positive dimension: exact rows modulo primes."""
    found = []
    for seed in seeds:
        params, points, random = network(depth, width, int(seed))
        found.append(certify(params, sampled_dimension(params, points, random)).rank)
    return Proofs(np.asarray(seeds, int), np.asarray(found, int))


def pruned(sizes: tuple[int, ...], off: np.ndarray) -> int:
    """The bound of the network without some hidden units; a layer of none leaves the outputs' biases."""
    left = [int(np.sum(~layer)) for layer in nets.split(off, sizes)]
    return bound((sizes[0], *left, sizes[-1])) if all(left) else sizes[-1]
