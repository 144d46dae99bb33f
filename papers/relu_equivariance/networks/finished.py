"""Trained networks read back, with the data they were trained on."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from papers.common.data import Dataset, fingerprint
from papers.common.errors import UserError
from papers.common.finished import is_finished, load_json, read_config
from papers.common.paths import user_path
from papers.common.runs import load
from papers.relu_equivariance.networks.config import DataConfig, TrainConfig


class Trained(NamedTuple):
    """The networks of a training that learnt something.

    Attributes:
        config: of the training.
        seeds: of the networks.
        variables: of the plain network, one a seed.
        apply: of all of them.
        summaries: of each.
        failed: seeds of those that did not learn.
        dataset: they were trained on.
    """

    config: TrainConfig
    seeds: tuple[int, ...]
    variables: tuple[dict, ...]
    apply: object
    summaries: tuple[dict, ...]
    failed: tuple[int, ...]
    dataset: Dataset


def read_trained(path: Path, data_dir: Path | None, cache_dir: Path | None) -> Trained:
    """Read the networks of a training, or one of them.

    Args:
        path: of the training, finished as a whole or in part, or of one network.
        data_dir: where the images are.
        cache_dir: of the prepared data.

    Raises:
        UserError: there is no finished network that learnt, or the images are not those of the training.
    """
    path = user_path(path)
    places = [place for place in _networks(path) if is_finished(place)]
    if not places:
        raise UserError(f"{path} holds no finished network of papers.relu_equivariance.train: train some first")
    summaries = [load_json(place, "summary.json") for place in places]
    learnt = [place for place, summary in zip(places, summaries, strict=True) if summary["learnt"]]
    seeds = {place: int(read_config(place)["config"]["seed"]) for place in places}
    if not learnt:
        raise UserError(f"none of the {len(places)} networks in {path} learnt more than chance: train others")
    networks = [load(place) for place in learnt]
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    config = TrainConfig(**{name: value for name, value in networks[0].config.items() if name in known})
    dataset = DataConfig(config.data, config.limit, config.size, config.symmetry, data_dir, cache_dir).load()
    recorded = read_config(learnt[0]).get("data")
    if recorded not in (None, fingerprint(dataset)):
        raise UserError(f"the images found are not those that the networks in {path} were trained on: name --data-dir")
    kept = tuple(summary for summary in summaries if summary["learnt"])
    failed = tuple(seeds[place] for place in places if place not in learnt)
    variables = tuple(network.variables for network in networks)
    return Trained(config, tuple(seeds[p] for p in learnt), variables, networks[0].apply, kept, failed, dataset)


def _networks(path: Path) -> list[Path]:
    if (path / "network.json").is_file():
        return [path]
    return sorted(path.glob("seed-*"), key=lambda place: int(place.name.removeprefix("seed-")))
