"""Training with every neuron's charge watched: plain descent on VGG11, Adam on the network of Figures 10 and 11."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.compilation import once_options
from papers.common.models import VGG11, initialise, vgg11_channels
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training import Data, Plan, Session, TrainState, evaluate, sgd, start, training_step
from papers.common.training.fit import Fetched
from papers.common.training.history import History
from papers.gradient_flow.networks import imbalance
from papers.gradient_flow.networks.cifar import network as cifar_network
from papers.gradient_flow.networks.cifar.setting import NetworkConfig
from papers.gradient_flow.train_config import TrainConfig

RECORDED = ("measured", "first_order", "second_order", "worst")
"""Fields of :class:`papers.gradient_flow.networks.imbalance.Watched` that a run stores."""


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


def report(state: TrainState) -> dict[str, jax.Array]:
    """What is stored of the charges at the end of a chunk."""
    return {name: getattr(state.monitor, name) for name in RECORDED}


def run_vgg11(config: TrainConfig, directory: RunDirectory) -> dict[str, np.ndarray] | None:
    """Train VGG11, with checkpoints; stop cleanly on SIGINT or SIGTERM.

    Args:
      config: resolved.
      directory: open.

    Returns:
      The history's arrays with ``start``, ``size`` and ``layer``; None when stopped.

    Raises:
      UserError: a batch larger than the data, or nothing to resume.
      Divergence: a loss is not finite; the newest checkpoint is kept.
    """
    dataset = config.load()
    with Interrupt() as interrupt:
        experiment = vgg11(dataset, config.width, config.precision)
        variables = first_variables(dataset, config.width, config.precision, config.start, config.seed)
        rate = np.asarray(config.learning_rate, config.precision)
        state = experiment.begin(variables, rate, jax.random.PRNGKey(config.seed))
        plan = Plan(
            experiment.step,
            report,
            lambda state: experiment.evaluate(state, experiment.test),
            experiment.train,
            batch_size=config.batch_size,
            epochs=config.epochs,
            seed=config.seed,
            record_every=config.record_every,
            checkpoint_epochs=config.checkpoint_epochs,
            fixed=_fixed(state.monitor, experiment.neurons),
            line=line,
        )
        session = Session(directory, plan, state)
        return session.arrays() if session.train(interrupt) else None


def run_cifar(config: TrainConfig, directory: RunDirectory) -> dict[str, np.ndarray]:
    """Train the network of Figures 10 and 11 as they do, charges watched; arrays as :func:`run_vgg11` gives them."""
    dataset = config.load()
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
    fixed, history = _fixed(watched, found), History()

    def on_chunk(fetched: Fetched) -> None:
        history.add(fetched)
        directory.append({"step": fetched.step + len(fetched.metrics["loss"]), **line(fetched)})

    trained = cifar_network.train(
        network,
        dataset,
        partial(imbalance.observe, found, "other"),
        monitor=watched,
        chunk=config.record_every,
        report=report,
        on_chunk=on_chunk,
    )
    history.evaluate(len(history.arrays()["train_loss"]), {"top1": trained.test_accuracy})
    return history.arrays() | fixed


def line(fetched: Fetched) -> dict[str, float]:
    """What ``metrics.jsonl`` says of a chunk: its mean loss, and the largest error of the exact law so far."""
    return {"loss": float(fetched.metrics["loss"].mean()), "largest_law_error": float(np.max(fetched.report["worst"]))}


def _fixed(watched: imbalance.Watched, neurons: imbalance.Neurons) -> dict[str, np.ndarray]:
    """What no step changes: the first charges, the size they are judged by, and every neuron's layer."""
    first = jax.device_get(watched)
    return {"start": first.start, "size": first.size, "layer": imbalance.layers(neurons)}
