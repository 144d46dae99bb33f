"""Training with every neuron's charge watched: plain descent on VGG11, Adam on the network of Figures 10 and 11."""

import math
import zipfile
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.checkpoint import Checkpoints
from papers.common.cli import check
from papers.common.compilation import once_options
from papers.common.errors import Divergence, UserError
from papers.common.models import VGG11, initialise, vgg11_channels
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training import (
    Data,
    Progress,
    TrainState,
    evaluate,
    fit,
    sgd,
    start,
    steps_per_epoch,
    training_step,
)
from papers.common.training.fit import Fetched
from papers.gradient_flow import cifar_network, imbalance
from papers.gradient_flow.cifar_setting import NetworkConfig
from papers.gradient_flow.train_config import TrainConfig

RECORDED = ("measured", "first_order", "second_order", "worst")
"""Fields of :class:`papers.gradient_flow.imbalance.Watched` that a run stores."""


class Experiment(NamedTuple):
    """A training of VGG11 put together.

    Attributes:
      step: of :func:`papers.common.training.fit`.
      begin: ``begin(variables, learning_rate, key) -> TrainState``, compiled.
      evaluate: ``evaluate(state, data)``.
      neurons: whose charges are watched.
      train: the training images.
      test: the test images.
    """

    step: Any
    begin: Any
    evaluate: Any
    neurons: imbalance.Neurons
    train: Data
    test: Data


def vgg11(dataset: data.Dataset, width: float, precision: str) -> Experiment:
    """Put together plain descent on VGG11 without BatchNorm and dropout; one program serves all rates and seeds."""
    dtype = jnp.dtype(precision)
    model = VGG11(dataset.classes, width, batch_norm=False, dropout=0.0, dtype=dtype)
    shapes = initialise(model, 0, dataset.train.images.shape[1:])
    found = imbalance.neurons(vgg11_channels(shapes), dtype)

    @partial(jax.jit, compiler_options=once_options())
    def begin(variables: Any, learning_rate: Any, key: jax.Array) -> TrainState:
        watched = imbalance.start(found, variables["params"], learning_rate)
        return start(variables, sgd(learning_rate), key, watched)

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        del key  # neither augmentation nor dropout: nothing is random but the order of the images
        return data.normalise(raw, dataset, dtype)

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        optimiser = sgd(state.monitor.learning_rate)
        watched = training_step(model, optimiser, prepare, partial(imbalance.observe, found, "descent"))
        return watched(state, batch)

    normalise = partial(data.normalise, dataset=dataset, dtype=dtype)
    train, test = (
        Data(jnp.asarray(split.images), jnp.asarray(split.labels)) for split in (dataset.train, dataset.test)
    )
    return Experiment(step, begin, evaluate(model, normalise), found, train, test)


def first_variables(dataset: data.Dataset, width: float, precision: str, kind: str, seed: int) -> dict:
    """Draw the first variables of VGG11.

    ``he``: the published draw with every kernel rescaled to variance 2/fan-in. Plain descent without momentum stays on
    the first plateau for long from the published dense layers, of standard deviation 0.01 at full width.

    Source: He et al. 2015, Eq. 10.
    Deviation: applied to the dense layers too, and by fan-in where the model's own convolutions take fan-out.

    Args:
      dataset: gives the classes and the size of the images.
      width: of VGG11.
      precision: float32 or float64.
      kind: he or published.
      seed: of the draw.

    Returns:
      ``{"params": ...}`` of NumPy arrays.
    """
    model = VGG11(dataset.classes, width, batch_norm=False, dropout=0.0)
    params = initialise(model, seed, dataset.train.images.shape[1:])["params"]
    if kind == "he":
        params = {
            name: {**layer, "kernel": layer["kernel"] * _he(model, layer["kernel"].shape)}
            for name, layer in params.items()
        }
    return {"params": jax.tree.map(lambda leaf: np.asarray(leaf, precision), params)}


def _he(model: VGG11, shape: tuple[int, ...]) -> np.float32:
    return np.float32(math.sqrt(2 / math.prod(shape[:-1])) / model.deviation(shape))


class History:
    """Losses of every step, charges of every record; saved with the checkpoints and cut back to them on resume."""

    def __init__(self) -> None:
        self.loss: list[np.ndarray] = []
        self.accuracy: list[np.ndarray] = []
        self.records: list[dict[str, np.ndarray]] = []

    def add(self, fetched: Fetched) -> None:
        """Append one chunk."""
        self.loss.append(fetched.metrics["loss"])
        self.accuracy.append(fetched.metrics["accuracy"])
        step = fetched.step + len(fetched.metrics["loss"])
        self.records.append({"step": np.asarray(step)} | {name: np.asarray(fetched.report[name]) for name in RECORDED})

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it: ``loss`` and ``accuracy`` a step, ``step`` and :data:`RECORDED` a record."""
        charges = {name: np.stack([record[name] for record in self.records]) for name in (self.records or [{}])[0]}
        losses = {name: np.concatenate(getattr(self, name) or [np.zeros(0)]) for name in ("loss", "accuracy")}
        return losses | charges

    def load(self, directory: RunDirectory, step: int) -> None:
        """Read what was saved, up to a step."""
        file = directory.path / "history.npz"
        try:
            with np.load(file) as saved:
                arrays = {name: saved[name] for name in saved.files}
            self.loss, self.accuracy = [arrays["loss"][:step]], [arrays["accuracy"][:step]]
            kept = np.flatnonzero(arrays["step"] <= step)
            self.records = [{name: arrays[name][place] for name in ("step", *RECORDED)} for place in kept]
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{file} is absent or damaged ({error}): the run cannot go on, start a new one") from None


def report(state: TrainState) -> dict[str, jax.Array]:
    """What is stored of the charges at the end of a chunk."""
    return {name: getattr(state.monitor, name) for name in RECORDED}


def run_vgg11(config: TrainConfig, directory: RunDirectory, again: str) -> dict[str, np.ndarray] | None:
    """Train VGG11, with checkpoints; stop cleanly on SIGINT or SIGTERM.

    Args:
      config: resolved.
      directory: open.
      again: the command that continues a stopped run.

    Returns:
      The history's arrays with ``start``, ``size``, ``layer`` and the last test numbers; None when stopped.

    Raises:
      UserError: a batch larger than the data, or nothing to resume.
      Divergence: a loss is not finite; the newest checkpoint is kept.
    """
    dataset = load(config)
    experiment = vgg11(dataset, config.width, config.precision)
    variables = first_variables(dataset, config.width, config.precision, config.start, config.seed)
    rate = np.asarray(config.learning_rate, config.precision)
    state = experiment.begin(variables, rate, jax.random.PRNGKey(config.seed))
    total = config.epochs * steps_per_epoch(len(dataset.train.labels), config.batch_size)
    with Checkpoints(directory.path / "checkpoints") as checkpoints, Interrupt() as interrupt:
        session = _Session(config, directory, checkpoints)
        if config.resume:
            state = session.restore(state)
        state = session.train(experiment, state, total, interrupt)
    if int(state.step) < total:
        print(f"stopped at step {int(state.step)} of {total}; continue with: {again}", flush=True)
        return None
    test = experiment.evaluate(state, experiment.test)
    if not math.isfinite(test["loss"]):
        raise Divergence(f"the test loss became {test['loss']} at the last step: try a smaller --learning-rate")
    watched = jax.device_get(state.monitor)
    tested = {f"test_{name}": np.asarray(value) for name, value in test.items()}
    fixed = {"start": watched.start, "size": watched.size, "layer": imbalance.layers(experiment.neurons)}
    return session.history.arrays() | fixed | tested


class _Session:
    """A run of VGG11 on its way: its history, and the checkpoints it leaves."""

    def __init__(self, config: TrainConfig, directory: RunDirectory, checkpoints: Checkpoints) -> None:
        self.config, self.directory, self.checkpoints = config, directory, checkpoints
        self.history, self._saved = History(), -1

    def restore(self, like: TrainState) -> TrainState:
        """Go back to the newest checkpoint that is whole."""
        step, state, skipped = self.checkpoints.restore(like)
        for bad, reason in skipped:
            print(f"checkpoint of step {bad} is damaged and was set aside ({reason})", flush=True)
        print(f"continuing from the checkpoint of step {step}", flush=True)
        self.directory.truncate_metrics(step)
        self.history.load(self.directory, step)
        return jax.tree.map(jnp.asarray, state)

    def train(self, experiment: Experiment, state: TrainState, total: int, interrupt: Interrupt) -> TrainState:
        """Train to the end or to a signal; what was not saved at the end of an epoch is saved then."""
        progress = Progress(total, self.config.batch_size, int(state.step))

        def on_chunk(fetched: Fetched) -> None:
            _append(self.directory, self.history, fetched)
            progress(fetched)

        try:
            state = fit(
                experiment.step,
                state,
                experiment.train,
                batch_size=self.config.batch_size,
                epochs=self.config.epochs,
                seed=self.config.seed,
                chunk=self.config.record_every,
                report=report,
                on_chunk=on_chunk,
                on_epoch=self._on_epoch,
                should_stop=lambda: interrupt.requested,
            )
        finally:
            progress.close()
        if self._saved != int(state.step):
            self._save(state)
        return state

    def _on_epoch(self, epoch: int, state: TrainState) -> None:
        every = self.config.checkpoint_epochs
        if epoch == self.config.epochs or (every and epoch % every == 0):
            self._save(state)

    def _save(self, state: TrainState) -> None:
        # the history first: a kill between the two leaves a checkpoint whose history is at least as long
        self.directory.save_arrays("history", **self.history.arrays())
        self._saved = int(state.step)
        self.checkpoints.save(self._saved, state)


def run_cifar(config: TrainConfig, directory: RunDirectory) -> dict[str, np.ndarray]:
    """Train the network of Figures 10 and 11 as they do, charges watched; arrays as :func:`run_vgg11` gives them."""
    dataset = load(config)
    network = NetworkConfig(
        activation=config.activation,
        images=min(40_000, len(dataset.train.labels)),
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seed=config.seed,
    )
    variables = cifar_network.initialise(cifar_network.build(network), network.seed)
    found = imbalance.neurons(imbalance.cifar_channels(variables, config.activation), jnp.float32)
    # every leaf its own buffer: the driver donates the state
    watched = jax.tree.map(jnp.copy, imbalance.start(found, variables["params"], config.learning_rate))
    first = jax.device_get(watched)
    history = History()
    trained = cifar_network.train(
        network,
        dataset,
        partial(imbalance.observe, found, "other"),
        monitor=watched,
        chunk=config.record_every,
        report=report,
        on_chunk=partial(_append, directory, history),
    )
    fixed = {"start": first.start, "size": first.size, "layer": imbalance.layers(found)}
    return history.arrays() | fixed | {"test_top1": np.asarray(trained.test_accuracy)}


def load(config: TrainConfig) -> data.Dataset:
    """Load the data of a run, and refuse a batch larger than it."""
    dataset = data.load(config.data, data_dir=config.data_dir, cache_dir=config.cache_dir, limit=config.limit)
    images = len(dataset.train.labels)
    check(config.batch_size <= images, "batch_size", config.batch_size, f"at most {images}, the training images")
    return dataset


def _append(directory: RunDirectory, history: History, fetched: Fetched) -> None:
    history.add(fetched)
    losses = fetched.metrics["loss"]
    worst = float(np.max(fetched.report["worst"]))
    directory.append({"step": fetched.step + len(losses), "loss": losses.mean(), "largest_law_error": worst})
