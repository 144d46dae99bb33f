"""Train every kind's networks and measure accuracy, invariance error and barriers, network by network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from papers.common import data
from papers.common.runs import RunDirectory
from papers.relu_equivariance.networks.run import Learnt, train_kinds
from papers.relu_equivariance.pairs.measure import Pair, barriers, flipped_self, two_networks
from papers.relu_equivariance.pairs.stage import Stage, prepare

CORRECTIONS = ("none", "repair")
UNMATCHED, MATCHED = 0, 1
NONE, REPAIR = 0, 1


class Row(NamedTuple):
    """A kind of network: one number for each network that learnt, by seed.

    Attributes:
        seeds: (networks,).
        failed: seeds of networks that did not learn.
        accuracy: on the test images (networks,).
        error: mean invariance error (networks,).
        centred: the same of logits less their mean over the classes (networks,).
        barrier: of a network and its mirror image, matched and REPAIRed (networks,).
        uncorrected: the same without REPAIR (networks,).
        unmatched: the same with REPAIR and without a permutation (networks,).
        other: barrier of a network and that of the next seed, matched and REPAIRed (networks,); NaN where there is no
            such pair: for one network, and for the second of two.
        involutive: share of channels in cycles of at most two (networks,).
        matched: mean correlation of the channels of each layer with those of the mirror image (networks, layers).
        layerwise: how far each kernel is from being equivariant under the matching (networks, kernels).
    """

    seeds: np.ndarray
    failed: np.ndarray
    accuracy: np.ndarray
    error: np.ndarray
    centred: np.ndarray
    barrier: np.ndarray
    uncorrected: np.ndarray
    unmatched: np.ndarray
    other: np.ndarray
    involutive: np.ndarray
    matched: np.ndarray
    layerwise: np.ndarray


def measure(config: Any, directory: RunDirectory) -> dict[str, Row]:
    """Train what is not trained, then measure what is not measured.

    Raises:
        UserError: no network of any kind learnt; a row without one is left out.
        KeyboardInterrupt: stopped, after a checkpoint.
    """
    dataset, stage, rows = config.load(config.batch_size), None, {}
    for kind, learnt in train_kinds(config, directory):
        variables = [network.variables for network in learnt.networks]
        if stage is None:
            stage = prepare(learnt.networks[0].apply, variables[0], dataset, config.images)
        with jax.default_matmul_precision("highest"):  # accelerators round the factors to ten bits otherwise
            pairs = _pairs(stage, directory, kind, learnt.seeds, variables)
        rows[kind] = _row(learnt, *pairs)
        numbers = {name: np.asarray(value).tolist() for name, value in rows[kind]._asdict().items()}
        directory.append({"kind": kind, **numbers})
        print(f"  {tell(rows[kind])}", flush=True)
    return rows


def _pairs(
    stage: Stage, directory: RunDirectory, kind: str, seeds: Sequence[int], variables: list[Any]
) -> tuple[list[Pair], list[Pair]]:
    selves, others = [], []
    for place, seed in enumerate(seeds):
        first, second = variables[place], variables[(place + 1) % len(seeds)]

        def own(first: Any = first) -> Pair:
            return flipped_self(stage, first, corrections=CORRECTIONS)

        def other(first: Any = first, second: Any = second) -> Pair:
            return two_networks(stage, first, second, corrections=CORRECTIONS)

        selves.append(directory.part(f"{kind}-self-{seed}", Pair, own))
        if len(seeds) > 2 or (len(seeds), place) == (2, 0):  # of two networks there is one pair
            others.append(directory.part(f"{kind}-two-{seed}", Pair, other))
    return selves, others


def _row(learnt: Learnt, selves: list[Pair], others: list[Pair]) -> Row:
    own = np.stack([barriers(pair) for pair in selves])
    two = [barriers(pair)[MATCHED, REPAIR] for pair in others]
    return Row(
        seeds=np.array(learnt.seeds),
        failed=np.array(learnt.failed, int),
        accuracy=np.array([pair.ends[0] for pair in selves]),
        error=np.array([pair.error[0] for pair in selves]),
        centred=np.array([row["centred_invariance_error"] for row in learnt.summaries]),
        barrier=own[:, MATCHED, REPAIR],
        uncorrected=own[:, MATCHED, NONE],
        unmatched=own[:, UNMATCHED, REPAIR],
        other=np.array(two + [np.nan] * (len(selves) - len(two))),
        involutive=np.array([np.average(pair.layers.involutive, weights=pair.layers.size) for pair in selves]),
        matched=np.stack([pair.layers.matched for pair in selves]),
        layerwise=np.stack([pair.layerwise for pair in selves]),
    )


def tell(row: Row) -> str:
    """A row in words: means, with the standard deviation over the networks."""
    columns = {"accuracy": row.accuracy, "invariance error": row.error, "of centred logits": row.centred}
    columns |= {"barrier": row.barrier, "without a permutation": row.unmatched, "two networks": row.other}
    parts = [f"{name} {_spread(values)}" for name, values in columns.items()]
    failed = f", {len(row.failed)} failed" if len(row.failed) else ""
    return ", ".join(parts) + f" ({len(row.seeds)} networks{failed})"


def _spread(values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    sd = f" +- {values.std(ddof=1):.2g}" if len(values) > 1 else ""
    return f"{values.mean():.3g}{sd}" if len(values) else "unknown"


def require(config: Any) -> str:
    """Give the fingerprint of the images."""
    return data.fingerprint(config.load(config.batch_size))
