"""One training with its charges recorded: two layers, the network of Figures 10 and 11, or VGG11."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from papers.common.errors import Divergence
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training import Plan, Session, TrainState
from papers.common.training.fit import Fetched
from papers.common.training.history import History
from papers.gradient_flow.networks.cifar import network as cifar_network
from papers.gradient_flow.networks.cifar.config import NetworkConfig
from papers.gradient_flow.networks.neurons import cifar_channels, first_record, neurons, record, watched
from papers.gradient_flow.networks.two_layer.descent import Job, train
from papers.gradient_flow.networks.two_layer.model import hidden_layer
from papers.gradient_flow.networks.two_layer.starts import draw_elementwise, stack
from papers.gradient_flow.networks.vgg11 import build as build_vgg11
from papers.gradient_flow.networks.vgg11 import first_variables, vgg11
from papers.gradient_flow.training.config import TrainConfig


def measure(config: TrainConfig, directory: RunDirectory) -> dict[str, Any]:
    """Train the network of a resolved configuration and store its history.

    Args:
      config: resolved.
      directory: the open run directory; losses and errors of the law go to its metrics.

    Returns:
      Arrays: ``train_loss`` a step, ``step`` and ``measured`` (records, neurons) and the other records of the run,
      ``start``, ``size`` and ``layer`` (neurons,).

    Raises:
      KeyboardInterrupt: the run was stopped, after its checkpoint.
    """
    if directory.resumed and config.network != "vgg11":
        directory.restore_metrics()  # those take a minute and begin again
    if config.network == "two_layer":
        arrays = run_two_layer(config, directory)
    elif config.network == "cifar":
        arrays = run_cifar(config, directory)
    else:
        arrays = run_vgg11(config, directory)
        if arrays is None:
            raise KeyboardInterrupt
    directory.save_arrays("history", **arrays)
    return arrays


def apply_two_layer(activation: str) -> Any:
    """Build ``apply(variables, x)``: ``F X = U sigma(V^T X)``, an input a row of x (points, n)."""

    def apply(variables: dict[str, Any], x: jax.Array) -> jax.Array:
        params = variables["params"]
        return hidden_layer(x @ params["input"], activation) @ params["output"].T

    return apply


def apply_cifar(**options: Any) -> Any:
    """Build ``apply(variables, images)`` of the network of Figures 10 and 11."""
    model = cifar_network.CifarNetwork(**options)
    return lambda variables, images: model.apply(variables, images)


def apply_vgg11(**options: Any) -> Any:
    """Build ``apply(variables, images)``; options as the network takes them."""
    model = build_vgg11(**options)
    return lambda variables, images: model.apply(variables, images)


def run_two_layer(config: TrainConfig, directory: RunDirectory) -> dict[str, Any]:
    """Train a two-layer network of Figures 3 and 6 in float64; arrays as :func:`measure` gives them.

    Raises:
      Divergence: the loss or a charge is not finite.
    """
    start = stack([draw_elementwise(config.seed, config.scale, "authors")])
    every = config.record_every
    steps = np.unique(np.append(np.arange(0, config.steps, every), config.steps))
    curves = train(Job(config.activation, start, np.array([config.learning_rate]), steps))
    if not curves.finite.all():
        at = int(steps[np.argmin(curves.finite[0])])
        raise Divergence(f"the loss or a charge is not finite at step {at}: try a smaller --learning-rate")
    for place in np.unique(np.geomspace(1, len(steps), 200).astype(int)) - 1:
        total = curves.charge[0, place].sum()
        directory.append({"step": int(steps[place]), "loss": curves.loss[0, place], "total_charge": total})
    trained = {"output": curves.output[0], "input": curves.input[0]}
    directory.save_network(apply_two_layer, {"params": trained}, activation=config.activation)
    squares = [np.sum(np.square(leaf[0]), axis=0) for leaf in (start.output, start.input)]
    layer = np.repeat(["hidden"], curves.charge.shape[-1])
    charge, size = curves.charge[0], (squares[0] + squares[1]) / 2
    return {
        "train_loss": curves.loss[0],
        "step": steps,
        "measured": charge,
        "start": charge[0],
        "size": size,
        "layer": layer,
    }


def report(state: TrainState) -> dict[str, jax.Array]:
    """What is stored of the charges at the end of a chunk."""
    return record(state.optimiser)


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
        training = vgg11(dataset, config.width, config.precision)
        variables = first_variables(dataset, config.width, config.precision, config.start, config.seed)
        rate = np.asarray(config.learning_rate, config.precision)
        state = training.begin(variables, rate, jax.random.PRNGKey(config.seed))
        plan = Plan(
            training.step,
            report,
            lambda state: training.evaluate(state, training.test),
            training.train,
            batch_size=config.batch_size,
            epochs=config.epochs,
            seed=config.seed,
            record_every=config.record_every,
            checkpoint_epochs=config.checkpoint_epochs,
            fixed=first_record(training.neurons, state.optimiser),
            line=line,
        )
        session = Session(directory, plan, state)
        if not session.train(interrupt):
            return None
        options = {"width": config.width, "precision": config.precision}
        directory.save_network(apply_vgg11, session.variables, classes=dataset.classes, **options)
        return session.arrays()


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
    found = neurons(cifar_channels(variables, config.activation), jnp.float32)
    around, history = partial(watched, found), History()
    fixed = first_record(found, around(optax.identity()).init(variables["params"]))

    def on_chunk(fetched: Fetched) -> None:
        history.add(fetched)
        directory.append({"step": fetched.step + len(fetched.metrics["loss"]), **line(fetched)})

    trained = cifar_network.train(network, dataset, around, chunk=config.record_every, report=report, on_chunk=on_chunk)
    options = {"activation": config.activation, "hidden": network.hidden, "output": network.output}
    directory.save_network(apply_cifar, {"params": trained.params}, **options)
    history.evaluate(len(history.arrays()["train_loss"]), {"top1": trained.test_accuracy})
    return history.arrays() | fixed


def line(fetched: Fetched) -> dict[str, float]:
    """What ``metrics.jsonl`` says of a chunk: its mean loss, and the largest error of the exact law so far."""
    return {"loss": float(fetched.metrics["loss"].mean()), "largest_law_error": float(np.max(fetched.report["worst"]))}
