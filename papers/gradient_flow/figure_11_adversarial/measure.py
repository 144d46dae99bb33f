"""Attacks of growing strength on one trained network, and what its ensembles make of the attacked images."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from papers.common.cli import check
from papers.common.data import Dataset
from papers.common.runs import RunDirectory
from papers.common.training import cross_entropy
from papers.common.verdicts import interval
from papers.gradient_flow.claims import FGSM, PAPER_ACCURACY, PGD
from papers.gradient_flow.figure_11_adversarial.attacks import Loss, Range, ensemble_loss, fgsm, pgd
from papers.gradient_flow.networks.cifar.config import KINDS, CifarConfig, Kind, NetworkConfig
from papers.gradient_flow.networks.cifar.ensembles import (
    Head,
    Scores,
    head,
    logits,
    own_accuracy,
    preactivations,
    right,
    score,
)
from papers.gradient_flow.networks.cifar.network import DATA_RANGE, CifarNetwork, build, pixels
from papers.gradient_flow.networks.cifar.perturbations import Perturbations
from papers.gradient_flow.networks.cifar.perturbations import draw as perturb
from papers.gradient_flow.networks.cifar.trained import load, networks, stacked, write_summary
from papers.gradient_flow.networks.config import ExperimentConfig

MEMBERS, EPSILON, OFFICIAL = 200, 10.0, 1000
ADAPTIVE: tuple[Kind, ...] = ("group", "interpolated_permutation")
"""The ensembles that retain signal, and are attacked themselves."""


class Protocol(NamedTuple):
    """How an attack is applied: range of the pixels, how many times in a row, PGD's ball and step."""

    clip: Range
    applications: int
    ball: float
    step: float


CORRECTED = Protocol(DATA_RANGE, 1, 0.03, 0.01)
LEGACY = Protocol((0.0, 1.0), 2, 0.3, 0.01)
"""The authors': images of [-0.5, 0.5] clipped to [0, 1], attacked twice in a row, a random start up to 0.3 away."""


class Strength(NamedTuple):
    """An attack of the sweep: FGSM's epsilon, or PGD's number of steps; 0 leaves the images as they are."""

    method: Literal["fgsm", "pgd"]
    value: float


class Sweep(NamedTuple):
    """What one network gives on one set of images; A strengths, K kinds.

    Attributes:
      own: (A,), accuracy of the network on images that attack it.
      transfer: Scores of arrays (A, K), of the ensembles on the same images.
      adaptive: Scores of arrays (A, 2), of the ensembles ADAPTIVE, each on images that attack it.
      strongest: (A, 2), accuracy of the same by mean softmax where an image counts if it is right under both attacks.
      clipped: (), accuracy of the network on clean images whose pixels are clipped to [0, 1], as the authors' are.
    """

    own: np.ndarray
    transfer: Scores
    adaptive: Scores
    strongest: np.ndarray
    clipped: np.ndarray


class Target(NamedTuple):
    """A trained network with the maps of its ensembles."""

    network: NetworkConfig
    params: Any
    last: Head
    maps: Perturbations


@partial(jax.jit, static_argnums=0)
def network_loss(model: CifarNetwork, params: Any, images: Array, labels: Array) -> Array:
    """Give the network's cross-entropy, of what its training gives the cross-entropy, summed over images."""
    return cross_entropy(model.apply({"params": params}, images), labels) * len(labels)


@partial(jax.jit, static_argnums=0)
def adaptive_loss(
    model: CifarNetwork, params: Any, last: Head, maps: tuple[Array, Array], images: Array, labels: Array
) -> Array:
    """Give :func:`ensemble_loss` of an ensemble as a function of the images."""
    hidden = preactivations(model, params, images).astype(last.kernel.dtype)
    return ensemble_loss(logits(last, hidden, *maps, model.activation), labels)


def attack(loss: Loss, images: Array, labels: Array, strength: Strength, protocol: Protocol, key: Array) -> Array:
    """Attack images once, or as many times in a row as the protocol says; strength 0 returns them as they are.

    Args:
      loss: what is climbed.
      images: (n, 32, 32, 3).
      labels: (n,) integers.
      strength: method and strength.
      protocol: range, applications, ball and step.
      key: of the random starts.

    Returns:
      As images.
    """
    if strength.value == 0:
        return images
    for application in range(protocol.applications):
        if strength.method == "fgsm":
            images = fgsm(loss, images, labels, strength.value, protocol.clip)
        else:
            once = jax.random.fold_in(key, application)
            numbers = {"epsilon": protocol.ball, "step": protocol.step, "iterations": int(strength.value)}
            images = pgd(loss, images, labels, once, clip=protocol.clip, **numbers)
    return images


def prepare(network: NetworkConfig, params: Any, dataset: Dataset, members: int, epsilon: float) -> Target:
    """Draw the ensembles of a trained network: the last h images of the training file for each member fit its maps."""
    h, total = network.hidden, len(dataset.train.labels)
    fitting = pixels(dataset.train.images[total - h * members :], dataset)
    hidden = preactivations(build(network), params, fitting).astype(jnp.result_type(float))
    batches = hidden.reshape(members, h, h)
    return Target(network, params, head(params), perturb(_key(network, 0), epsilon, batches, network.activation))


def held_out(target: Target, dataset: Dataset, count: int) -> tuple[Array, Array]:
    """Give the images, normalised, and labels before those that fit the maps."""
    members = target.maps.lower.shape[1]
    last = len(dataset.train.labels) - target.network.hidden * members
    free = last - target.network.images
    check(count <= free, "members", members, f"fewer: {free} images are left of the training file, {count} are needed")
    seen = slice(last - count, last)
    return pixels(dataset.train.images[seen], dataset), jnp.asarray(dataset.train.labels[seen])


def sweep(target: Target, images: Array, labels: Array, strengths: tuple[Strength, ...], protocol: Protocol) -> Sweep:
    """Attack the network and its ensembles at every strength.

    Source: Zhao et al. 2023, Figure 11 (notebook): the attacks are taken on the untransformed network.
    Deviation: one trained network for the whole sweep (the authors train one at each point); beside the transferred
    attack an adaptive one, which differentiates through the ensemble's mean softmax.

    Args:
      target: network and ensembles.
      images: (n, 32, 32, 3), normalised.
      labels: (n,) integers.
      strengths: the attacks.
      protocol: how they are applied.

    Returns:
      The accuracies.
    """
    network, params, last, maps = target
    model, activation, key = build(network), network.activation, _key(network, 1)

    def hidden(images: Array) -> Array:
        return preactivations(model, params, images).astype(last.kernel.dtype)

    def attacked(loss: Callable[..., Array], strength: Strength) -> Array:
        return hidden(attack(loss, images, labels, strength, protocol, key))

    own, transfer, adaptive, strongest = [], [], [], []
    for strength in strengths:
        transferred = attacked(partial(network_loss, model, params), strength)
        own.append(own_accuracy(last, transferred, labels, activation))
        transfer.append(score(last, transferred, labels, maps.lower, maps.upper, activation))
        each, both = [], []
        for kind in ADAPTIVE:
            one = slice(KINDS.index(kind), KINDS.index(kind) + 1)
            single = (maps.lower[one][0], maps.upper[one][0])
            adapted = attacked(partial(adaptive_loss, model, params, last, single), strength)
            each.append(score(last, adapted, labels, maps.lower[one], maps.upper[one], activation))
            survives = [right(last, seen, labels, *single, activation) for seen in (transferred, adapted)]
            both.append(float(np.mean(np.all(survives, axis=0))))
        adaptive.append(jax.tree.map(lambda *fields: jnp.concatenate(fields), *each))
        strongest.append(both)
    clipped = own_accuracy(last, hidden(jnp.clip(images, 0.0, 1.0)), labels, activation)
    joined = (Scores(*(np.stack(field) for field in zip(*scores, strict=True))) for scores in (transfer, adaptive))
    return Sweep(np.array(own), *joined, np.array(strongest), np.array(clipped))


def _key(network: NetworkConfig, use: int) -> Array:
    return jax.random.fold_in(jax.random.key(network.seed), use)


class Measured(NamedTuple):
    """Both sweeps and how well the ensembles' maps are known, (kinds,); a leading axis of seeds in the end."""

    held_out: Sweep
    official: Sweep
    largest_residual: np.ndarray
    median_condition: np.ndarray


def measure(config: ExperimentConfig, directory: RunDirectory) -> Measured:
    """Train or read each seed's network and attack it, on held-out and on official test images."""
    config = CifarConfig.of(config)
    dataset, tested, found = load(config), [], []
    for network, trained in networks(config, "leaky_relu", dataset, directory):
        tested.append(trained.test_accuracy)
        attack_one = partial(attacked, network, trained.params, dataset, config)
        found.append(directory.part(f"attacked-{network.seed}", Measured, attack_one))
    together = stacked(found)
    _write_summary(directory, together, config, tested)
    return together


def attacked(network: NetworkConfig, params: Any, dataset: Dataset, config: CifarConfig) -> Measured:
    """Attack one trained network at every strength of the paper's table."""
    protocol = _protocol(config)
    target = prepare(network, params, dataset, members(config), EPSILON)
    seen = sweep(target, *held_out(target, dataset, 200 if config.quick else 1000), strengths(), protocol)
    count = config.shown_official(OFFICIAL)
    images = pixels(dataset.test.images[:count], dataset)
    official = sweep(target, images, jnp.asarray(dataset.test.labels[:count]), strengths(), protocol)
    residual, condition = np.max(target.maps.residual, axis=1), np.median(target.maps.condition, axis=1)
    return Measured(seen, official, residual, condition)


def _protocol(config: CifarConfig) -> Protocol:
    return LEGACY if config.legacy else CORRECTED


def members(config: ExperimentConfig) -> int:
    """Give the number of members of each ensemble."""
    return 4 if config.quick else MEMBERS


def strengths() -> tuple[Strength, ...]:
    """Give the attacks in the order of the paper's table."""
    return (*(Strength("fgsm", value) for value in FGSM), *(Strength("pgd", float(value)) for value in PGD))


def _write_summary(directory: RunDirectory, found: Measured, config: CifarConfig, tested: list[float]) -> None:
    quality = {"largest_residual": found.largest_residual, "median_condition": found.median_condition}
    maps = {name: dict(zip(KINDS, values.max(axis=0).tolist(), strict=True)) for name, values in quality.items()}
    summary = {split: _summary(getattr(found, split)) for split in ("held_out", "official")}
    summary |= {"paper": PAPER_ACCURACY, "seeds": config.all_seeds, "network_test_accuracy": tested, "maps": maps}
    write_summary(directory, summary | {"protocol": _protocol(config), "strengths": strengths()})


def _summary(found: Sweep) -> dict:
    """Accuracy at every strength, mean and interval over seeds."""

    def table(values: np.ndarray) -> list:
        return [interval(column) for column in values.T]

    return {
        "original": table(found.own),
        "original_clean_clipped_to_0_1": interval(found.clipped),
        "transfer_mean_softmax": {kind: table(found.transfer.mean_softmax[..., k]) for k, kind in enumerate(KINDS)},
        "transfer_vote": {kind: table(found.transfer.vote[..., k]) for k, kind in enumerate(KINDS)},
        "adaptive_mean_softmax": {kind: table(found.adaptive.mean_softmax[..., k]) for k, kind in enumerate(ADAPTIVE)},
        "adaptive_vote": {kind: table(found.adaptive.vote[..., k]) for k, kind in enumerate(ADAPTIVE)},
        "strongest_of_both": {kind: table(found.strongest[..., k]) for k, kind in enumerate(ADAPTIVE)},
        "smallest_share_of_finite_members": float(found.transfer.finite.min()),
    }
