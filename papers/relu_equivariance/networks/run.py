"""One network from its configuration to its directory, the networks of many seeds, and those of many kinds."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.compilation import once_options
from papers.common.errors import Divergence, UserError
from papers.common.finished import is_finished, load_json, read_config
from papers.common.models import VGG11
from papers.common.network import Network
from papers.common.paths import user_path
from papers.common.runs import RunDirectory, load
from papers.common.signals import Interrupt
from papers.common.training import Data, Plan, Session, TrainState, evaluate, sgd, start, steps_per_epoch
from papers.relu_equivariance.networks.config import TrainConfig
from papers.relu_equivariance.networks.invariance import mean_invariance_errors
from papers.relu_equivariance.networks.kinds import KINDS
from papers.relu_equivariance.networks.plain import apply_vgg11
from papers.relu_equivariance.networks.rule import gate, training_step, warm_up_and_decay
from papers.relu_equivariance.networks.tied import draw, expand

LEARNT = 2.0
"""A network counts as trained when its test accuracy is above so many times chance."""


EVALUATED = 500
"""Images at a time whose invariance error is measured."""

AROUND = {"preset", "data_dir", "cache_dir", "seeds", "record_every", "checkpoint_epochs", "driver", "out", "resume"}
"""Options that make a network no other one."""


class Expanded(NamedTuple):
    """A plain network on tied parameters.

    Attributes:
        model: the plain network.
        equivariant: how many of its convolutions are tied.
    """

    model: Any
    equivariant: int

    def apply(self, variables: Any, images: jax.Array, train: bool = False) -> jax.Array:
        """The logits, (n, classes)."""
        return self.model.apply({"params": expand(variables["params"], self.equivariant)}, images, train=train)


def build_vgg11(classes: int, width: float, precision: str = "float32") -> VGG11:
    """The plain network of all kinds: eight convolutions with biases, no BatchNorm, one dense layer."""
    dtype = jnp.dtype(precision)
    return VGG11(classes, width, batch_norm=False, dropout=0.0, hidden_layers=0, dtype=dtype)


class Training(NamedTuple):
    """What the networks of all seeds share; all compile one program.

    Attributes:
        plan: of the configuration's own seed.
        begin: ``begin(seed)``, the first state.
    """

    plan: Plan
    begin: Callable[[int], TrainState]


def build(config: TrainConfig, dataset: data.Dataset) -> Training:
    """Put the training of a kind of network together."""
    kind, model = KINDS[config.kind], build_vgg11(dataset.classes, config.width, config.precision)
    per_epoch = steps_per_epoch(len(dataset.train.labels), config.batch_size)
    total = config.epochs * per_epoch
    rate = warm_up_and_decay(config.learning_rate, config.warm_up_epochs * per_epoch, total)
    optimiser = sgd(rate, config.momentum)
    changes = ["crop"] * (dataset.augmentation != "none") + ["turn"] * kind.turns + ["flip"] * kind.flips

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        return data.normalise(data.augment(key, raw, "_".join(changes) or "none"), dataset)

    def weight(step: jax.Array) -> jax.Array:
        return config.invariance_weight * gate(kind, step, total)

    @partial(jax.jit, compiler_options=once_options())  # one program instead of a hundred small ones
    def first(params: Any, key: jax.Array) -> TrainState:
        return start({"params": params}, optimiser, key)

    def begin(seed: int) -> TrainState:
        params = draw(model, kind.equivariant, seed, dataset.train.images.shape[1:], config.gain)
        return first(params, jax.random.PRNGKey(seed))

    test = Data(jnp.asarray(dataset.test.images), jnp.asarray(dataset.test.labels))
    accuracy = evaluate(Expanded(model, kind.equivariant), partial(data.normalise, dataset=dataset))
    plan = Plan(
        training_step(model, kind, optimiser, prepare, weight, config.weight_decay, config.invariance_of == "centred"),
        lambda state: {},
        lambda state: accuracy(state, test),
        Data(jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels)),
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        record_every=config.record_every,
        checkpoint_epochs=config.checkpoint_epochs,
        driver=config.driver,
    )
    return Training(plan, begin)


def train_one(
    config: TrainConfig, dataset: data.Dataset, training: Callable[[], Training], command: str, again: str
) -> dict[str, Any] | None:
    """Train the network of the configuration's seed in its ``out``, or read what it left there.

    Args:
        config: of one network; an unfinished run in ``out`` goes on.
        dataset: it learns.
        training: gives what all seeds share.
        command: what to write down as the command.
        again: the command that continues, for the line that says so when it is stopped.

    Returns:
        The summary; None when it was stopped, after a checkpoint.

    Raises:
        Divergence: a loss is not finite; the newest checkpoint is kept.
        UserError: the network found was trained otherwise.
    """
    config = RunDirectory.take_up(config)
    if is_finished(config.out):
        check_recipe(config, dataset)
        return load_json(config.out, "summary.json")
    with RunDirectory.open(config, command, data.fingerprint(dataset)) as directory:
        directory.again = again
        with Interrupt() as interrupt:
            plan, begin = training()
            session = Session(directory, plan._replace(seed=config.seed), begin(config.seed))
            if not session.train(interrupt):
                return None
        arrays = session.arrays()
        kind = KINDS[config.kind]
        params = jax.tree.map(np.asarray, expand(session.state.params, kind.equivariant))
        summary = {
            "test_accuracy": float(arrays["test_top1"][-1]),
            "test_loss": float(arrays["test_loss"][-1]),
            **mean_invariance_errors(
                apply_vgg11(),
                {"params": params},
                partial(data.normalise, dataset=dataset),
                dataset.test.images,
                len(dataset.test.images),
                EVALUATED,
            ),
            "learnt": bool(arrays["test_top1"][-1] > LEARNT / dataset.classes),
            "seconds": session.seconds,
            "images_per_second": session.images_per_second,
        }
        directory.save_network(apply_vgg11, {"params": params})
        directory.save_arrays("history", **arrays)
        directory.write_json("summary", summary)
        directory.finish()
    return summary


def train_all(config: TrainConfig, path: Path, command: str, again: str) -> list[dict[str, Any]]:
    """Train every seed's network in a folder of its own; those that are finished are read.

    Args:
        config: of all.
        path: the folder above.
        command: what each network writes down.
        again: the command that continues, for the line that says so when it is stopped.

    Returns:
        A summary of each, with its ``seed``; of a network that left the finite numbers ``failed`` says how. One that
        stayed near chance has ``learnt`` False. Neither counts further on.

    Raises:
        KeyboardInterrupt: stopped, after a checkpoint.
    """
    rows, dataset = [], config.load(config.batch_size)
    training = cache(lambda: build(config, dataset))
    for seed in range(config.seed, config.seed + config.seeds):
        one = dataclasses.replace(config, seed=seed, seeds=1, out=folder(path, seed), resume=False)
        try:
            summary = train_one(one, dataset, training, command, again)
        except Divergence as failure:
            summary = {"learnt": False, "failed": str(failure)}
        if summary is None:
            raise KeyboardInterrupt
        rows.append({"seed": seed, **summary})
    return rows


class Learnt(NamedTuple):
    """The networks of a kind that learnt more than chance.

    Attributes:
        seeds: of them.
        failed: seeds of the others.
        summaries: of each.
        networks: of each, opened.
    """

    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    summaries: tuple[dict[str, Any], ...]
    networks: tuple[Network, ...]


def train_kinds(config: Any, directory: RunDirectory) -> Iterator[tuple[str, Learnt]]:
    """Train the networks of every kind that are not there yet, kind by kind; one of which none learnt is left out.

    Args:
        config: of an experiment: ``kinds``, ``training(kind)``, and ``networks``, the folder where they are, None for
            one of the experiment's own.
        directory: of the experiment.

    Yields:
        The kind, and its networks.

    Raises:
        UserError: no network of any kind learnt, or one that is there was trained otherwise.
        KeyboardInterrupt: stopped, after a checkpoint.
    """
    folders, nothing = directory.path / "networks" if config.networks is None else user_path(config.networks), True
    for kind in config.kinds:
        print(KINDS[kind].words, flush=True)
        rows = train_all(config.training(kind), folders / kind, directory.again, directory.again)
        learnt = tuple(row for row in rows if row["learnt"])
        failed = tuple(row["seed"] for row in rows if not row["learnt"])
        if not learnt:
            print(f"  none of {len(rows)} networks learnt more than chance: the kind is left out", flush=True)
            directory.append({"kind": kind, "failed": failed})
            continue
        nothing, seeds = False, tuple(row["seed"] for row in learnt)
        yield kind, Learnt(seeds, failed, learnt, tuple(load(folder(folders / kind, seed)) for seed in seeds))
    if nothing:
        raise UserError("no network learnt more than chance: try more --epochs or another --learning-rate")


def check_recipe(config: TrainConfig, dataset: data.Dataset) -> None:
    """Refuse a finished network that was trained otherwise than the configuration says, or on other images.

    Raises:
        UserError: names the first difference.
    """
    record = read_config(config.out)
    for field in sorted({field.name for field in dataclasses.fields(config)} - AROUND):
        found, asked = record["config"].get(field), getattr(config, field)
        if found != asked:
            raise UserError(f"the network in {config.out} was trained with {field} {found}, not {asked}: name another")
    if record.get("data") not in (None, data.fingerprint(dataset)):
        raise UserError(f"the network in {config.out} was trained on other images: name another folder")


def folder(path: Path, seed: int) -> Path:
    """Where a seed's network is, below the directory of its training."""
    return path / f"seed-{seed}"
