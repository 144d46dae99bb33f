"""One training run from its configuration to a directory with everything it measured."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.compilation import once_options
from papers.common.models import MODELS, initialise
from papers.common.optimisers import OPTIMISERS, Optimiser
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training import (
    Data,
    Plan,
    Session,
    TrainState,
    evaluate,
    start,
    step_schedule,
    steps_per_epoch,
    training_step,
)
from papers.noether.networks import charges
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.summary import summarise

Finish = Callable[[RunDirectory, dict[str, np.ndarray], TrainConfig, str], None]


class Numbers(NamedTuple):
    """The learning rule's numbers; carried in the state, so that one compiled program serves all their values."""

    learning_rate: Any
    momentum: Any
    weight_decay: Any
    drops: Any

    def rule(self, fixed: bool, optimiser: Optimiser) -> charges.Rule:
        """Join the numbers to a rule."""
        schedule = step_schedule(self.learning_rate, self.drops)
        return charges.Rule(schedule, self.momentum, self.weight_decay, fixed, optimiser)


class Watched(NamedTuple):
    """What a run's state carries beside the network and the watched optimiser."""

    numbers: Numbers
    charges: charges.Monitor


class Outcome(NamedTuple):
    """A finished run: what it measured, by name, and how long it took."""

    directory: Path
    arrays: dict[str, np.ndarray]
    summary: dict[str, Any]
    finished: bool


def keep(directory: RunDirectory, arrays: dict[str, np.ndarray], config: TrainConfig, command: str) -> None:
    """Draw nothing: the arrays and the summary are what the run leaves."""


def build_model(name: str, classes: int, width: float, batch_norm: bool, precision: str = "float32") -> Any:
    """The network of a configuration; with or without BatchNorm where it is the paper's VGG11."""
    model = MODELS[name](classes, width, jnp.dtype(precision))
    return model.clone(batch_norm=batch_norm) if name == "vgg11" else model


def apply_model(**options: Any) -> Any:
    """Build ``apply(variables, images)`` in evaluation mode; options as :func:`build_model` takes them."""
    model = build_model(**options)
    return lambda variables, images: model.apply(variables, images, train=False)


def build(config: TrainConfig, dataset: data.Dataset) -> tuple[TrainState, Plan]:
    """Put a run together: its first state, and what to do with it."""
    model = build_model(config.model, dataset.classes, config.width, config.batch_norm, config.precision)
    if config.model == "vgg11":
        model = model.clone(dropout=config.dropout)
    variables = initialise(model, config.seed, dataset.train.images.shape[1:])
    per_epoch = steps_per_epoch(len(dataset.train.labels), config.batch_size)
    drops = tuple(np.int32(round(drop * per_epoch)) for drop in config.drop_epochs)
    numbers = Numbers(*map(np.float32, (config.learning_rate, config.momentum, config.weight_decay)), drops)
    fixed, chosen = config.filter_norm == "fixed", OPTIMISERS[config.optimiser]
    gains = config.model != "vgg11"  # the paper's network is watched for the paper's families
    found = charges.families(model, variables, dataset.train.images.shape[1:], fixed, gains)
    if found.stretch is not None:
        variables = {**variables, "params": found.stretch(variables["params"], config.filter_scale)}

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        return data.normalise(data.augment(key, raw, dataset.augmentation), dataset)

    @partial(jax.jit, compiler_options=once_options())  # one program instead of a hundred small ones
    def begin(variables: Any, numbers: Numbers, key: jax.Array) -> TrainState:
        rule = numbers.rule(fixed, chosen)
        monitor = Watched(numbers, charges.start(found, variables["params"], rule))
        return start(variables, rule.watched(found), key, monitor)

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        numbers, monitor = state.monitor
        rule = numbers.rule(fixed, chosen)
        watched = training_step(model, rule.watched(found), prepare, partial(charges.observe, found, rule))
        state, metrics = watched(state._replace(monitor=monitor), batch)
        return state._replace(monitor=Watched(numbers, state.monitor)), metrics

    def report(state: TrainState) -> dict[str, jax.Array]:
        return charges.report(state.optimiser, state.monitor.charges, state.monitor.numbers.rule(fixed, chosen))

    test, accuracy = _resident(dataset.test), evaluate(model, partial(data.normalise, dataset=dataset))
    plan = Plan(
        step,
        report,
        lambda state: accuracy(state, test),
        _resident(dataset.train),
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        record_every=config.record_every,
        checkpoint_epochs=config.checkpoint_epochs,
        driver=config.driver,
        fixed=charges.layer_names(found),
    )
    return begin(variables, numbers, jax.random.PRNGKey(config.seed)), plan


def run(config: TrainConfig, command: str, finish: Finish = keep, again: str | None = None) -> Outcome:
    """Train, record, checkpoint; stop cleanly on SIGINT or SIGTERM.

    Args:
      config: the configuration.
      command: what to write down as the command.
      finish: called as ``finish(directory, arrays, config, command)`` after the last step, the directory still locked.
      again: the command that continues a stopped run; the run's own if None.

    Returns:
      The outcome; ``finished`` is False when the run was stopped, and its checkpoint is written then.

    Raises:
      UserError: a configuration the data does not allow, a run directory in use, nothing to resume.
      Divergence: a loss is not finite; the newest checkpoint is kept.
    """
    dataset = config.load()
    with RunDirectory.open(config, command, data.fingerprint(dataset)) as directory:
        directory.again = again or directory.again
        print(_used(dataset, directory.environment), flush=True)
        with Interrupt() as interrupt:
            state, plan = build(config, dataset)
            session = Session(directory, plan, state)
            outcome = _train(session, interrupt)
        if outcome.finished:
            options = {"classes": dataset.classes, "width": config.width, "batch_norm": config.batch_norm}
            directory.save_network(apply_model, session.variables, name=config.model, **options)
            finish(directory, outcome.arrays, config, command)
            directory.finish()
        return outcome


def _train(session: Session, interrupt: Interrupt) -> Outcome:
    finished = session.train(interrupt)
    arrays = session.arrays()
    speed = {"seconds": session.seconds, "images_per_second": session.images_per_second}
    summary = summarise(arrays) | speed | _device_memory()
    directory = session.directory
    if finished:
        directory.save_arrays("history", **arrays)
        directory.write_json("summary", summary)
    return Outcome(directory.path, arrays, summary, finished)


def _device_memory() -> dict[str, int]:
    """The most memory this process ever held on the device, where the device counts it (a CPU does not)."""
    counted = jax.local_devices()[0].memory_stats() or {}
    return {"peak_device_bytes": counted["peak_bytes_in_use"]} if "peak_bytes_in_use" in counted else {}


def _used(dataset: data.Dataset, environment: dict[str, Any]) -> str:
    train, test = (len(split.labels) for split in (dataset.train, dataset.test))
    side, device, versions = dataset.train.images.shape[1], environment["device"], environment["versions"]
    kind = device["cpu"] if device["platform"] == "cpu" else device["kind"]
    images = f"{train} training and {test} test images of {side}x{side}, {dataset.classes} classes"
    return f"{images}; {kind}, jax {versions['jax']}"


def _resident(split: data.Split) -> Data:
    return Data(jnp.asarray(split.images), jnp.asarray(split.labels))
