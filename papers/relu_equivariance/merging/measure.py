"""Measure every network with its mirror image, and with the network of the next seed, training by training."""

from pathlib import Path
from typing import Any, NamedTuple

from papers.common import data
from papers.common.errors import UserError
from papers.common.runs import RunDirectory
from papers.relu_equivariance.networks.finished import Trained, read_trained
from papers.relu_equivariance.networks.kinds import KINDS
from papers.relu_equivariance.pairs.corrections import CORRECTIONS
from papers.relu_equivariance.pairs.measure import WAYS, Pair, barriers, flipped_self, two_networks
from papers.relu_equivariance.pairs.stage import prepare
from symjax.matching import barrier


class Merged(NamedTuple):
    """All pairs of a training: of networks of one kind and one width.

    Attributes:
        trained: the networks.
        selves: each with its mirror image.
        others: each with the network of the next seed; empty for one network.
    """

    trained: Trained
    selves: tuple[Pair, ...]
    others: tuple[Pair, ...]

    @property
    def words(self) -> str:
        """Kind and width."""
        return f"{KINDS[self.trained.config.kind].words}, width {self.trained.config.width:g}"


def measure(config: Any, directory: RunDirectory) -> tuple[Merged, ...]:
    """Measure all pairs of all trainings; a run that goes on reads those that it measured."""
    trainings, found = _read(config), []
    for trained in trainings:
        stem = f"{trained.config.kind}-{trained.config.width:g}-" if len(trainings) > 1 else ""
        found.append(_pairs(trained, config, directory, stem))
    return tuple(found)


def _read(config: Any) -> list[Trained]:
    """Trainings of different kinds or widths on the same images."""
    found: dict[tuple[str, float], tuple[Path, Trained]] = {}
    for path in config.networks:
        trained = read_trained(path, config.data_dir, config.cache_dir)
        key = trained.config.kind, trained.config.width
        if key in found:
            raise UserError(
                f"{path} holds networks of the kind and width of those in {found[key][0]}: name one of them"
            )
        found[key] = path, trained
    trainings = [trained for _, trained in found.values()]
    if len({data.fingerprint(trained.dataset) for trained in trainings}) > 1:
        raise UserError("--networks names trainings on different images: merge them by commands of their own")
    return trainings


def _pairs(trained: Trained, config: Any, directory: RunDirectory, stem: str) -> Merged:
    stage = prepare(trained.apply, trained.variables[0], trained.dataset, config.images)
    which = f"{KINDS[trained.config.kind].words}, width {trained.config.width:g}, " if stem else ""
    many, selves, others = len(trained.seeds), [], []
    for place, (seed, variables) in enumerate(zip(trained.seeds, trained.variables, strict=True)):

        def own(variables: Any = variables) -> Pair:
            return flipped_self(stage, variables, config.alphas, config.curve_images)

        selves.append(directory.part(f"{stem}self-{seed}", Pair, own))
        tell(directory, f"{which}flipped self of seed {seed}", selves[-1])
        after = (place + 1) % many
        if many > 1 and (place, after) != (1, 0):  # of two networks there is one pair

            def other(variables: Any = variables, after: int = after) -> Pair:
                return two_networks(stage, variables, trained.variables[after], config.alphas, config.curve_images)

            others.append(directory.part(f"{stem}two-{seed}-{trained.seeds[after]}", Pair, other))
            tell(directory, f"{which}seeds {seed} and {trained.seeds[after]}", others[-1])
    return Merged(trained, tuple(selves), tuple(others))


def tell(directory: RunDirectory, name: str, pair: Pair) -> None:
    """Write the pair's accuracies and barriers down, and the main ones on the terminal."""
    found, place = barriers(pair), list(CORRECTIONS).index("repair")
    main = barrier(*pair.right_ends, pair.right[1, place])
    record = {"pair": name, "ends": pair.ends.tolist(), "involutive": float(pair.layers.involutive.mean())}
    for way, row, accuracies in zip(WAYS, found, pair.middle, strict=False):
        for correction, height, accuracy in zip(CORRECTIONS, row, accuracies, strict=True):
            record |= {f"{way}, {correction}": float(accuracy), f"{way}, {correction}, barrier": float(height)}
    directory.append(record | {"matched, repair, interval over images": [main.low, main.high]})
    unmatched, matched = pair.middle[:2, place]
    print(
        f"{name}: ends {pair.ends[0]:.3f}, {pair.ends[1]:.3f}, middle unmatched {unmatched:.3f}, matched {matched:.3f} "
        f"with REPAIR, {pair.middle[1, 0]:.3f} without, barrier {main.value:.3f} ({main.low:.3f} to {main.high:.3f})",
        flush=True,
    )


def require(config: Any) -> str:
    """Require trained networks and their images, and give the fingerprint of these."""
    return data.fingerprint(_read(config)[0].dataset)
