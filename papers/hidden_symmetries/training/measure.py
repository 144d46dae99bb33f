"""Networks trained in four ways, and their functional dimensions on the way.

Source: Bona-Pellissier, Malgouyres, Bachoc 2024 (arXiv 2402.08269): the rank on the training inputs, on test inputs and
on random inputs, for 784-30-30-30-10.
Deviation: digits of 8 x 8 pixels enlarged, not MNIST; on random inputs the rank of all gradients of the regions that
standard normal points lie in, not of those at the points.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from papers.common.runs import RunDirectory
from papers.hidden_symmetries.train import TrainConfig
from papers.hidden_symmetries.training.tasks import TASKS, Points, Task, noisy
from symjax.dimension import networks as nets
from symjax.dimension import wide_batch_dimension, wide_sampled_dimension

ARMS = ("plain", "weight decay", "input noise", "label noise")
THROUGH = ("plain", "weight decay")  # arms that are measured through training; the others at its end
SETS = ("train", "test", "random")


class Trained(NamedTuple):
    """A network on its way.

    Attributes:
        epoch: (T,) after how many epochs.
        params: (T, D).
        loss: (T,) mean loss over the epoch before; NaN at the start.
        score: (T,) on the test points: accuracy, or for regression the share of variance explained.
    """

    epoch: np.ndarray
    params: np.ndarray
    loss: np.ndarray
    score: np.ndarray


class Ranks(NamedTuple):
    """On the training inputs, the test inputs and random inputs: (3,) rank, what is possible, rows, gap."""

    rank: np.ndarray
    most: np.ndarray
    rows: np.ndarray
    gap: np.ndarray


class Course(NamedTuple):
    """What became of a network: epochs (T,), losses and scores (T,), and the ranks (T, 3)."""

    epoch: np.ndarray
    loss: np.ndarray
    score: np.ndarray
    ranks: Ranks


Courses = dict[str, list[Course]]
"""arm -> a course a network."""


def measure(config: TrainConfig, directory: RunDirectory) -> Courses:
    """Train all networks and measure their dimensions; what is written down already is read."""
    task = TASKS[config.task]()
    courses: Courses = {arm: [] for arm in ARMS}
    for seed in range(config.seed, config.seed + config.networks):
        for arm in ARMS:
            points, name = noisy(task, arm, config, seed), f"{arm.replace(' ', '_')}_{seed}"
            compute = partial(trained, task, points, config, arm, seed)
            network = directory.part(f"trained_{name}", Trained, compute)
            found = []
            for epoch, params in zip(network.epoch, network.params, strict=True):
                compute = partial(ranks, task, points, params, (7, seed, int(epoch)))
                found.append(directory.part(f"ranks_{name}_{epoch}", Ranks, compute))
                print(f"{arm}, seed {seed}, epoch {epoch}: {said(found[-1])}", flush=True)
            layers = nets.unflatten(network.params[-1], task.sizes)
            variables = {f"layer{number}": {"kernel": w.T, "bias": b} for number, (w, b) in enumerate(layers, 1)}
            directory.save_network(apply_relu, {"params": variables}, into=f"network_{name}")
            stacked = Ranks(*map(np.stack, zip(*found, strict=True)))
            courses[arm].append(Course(network.epoch, network.loss, network.score, stacked))
            last = {f"dimension_{which}": found[-1].rank[place] for place, which in enumerate(SETS)}
            directory.append({"arm": arm, "seed": seed, "score": network.score[-1], **last})
    return courses


def apply_relu():
    """Build ``apply(variables, x)`` of a ReLU network, its inputs (m, n_0)."""
    return _outputs


def _outputs(variables, x):
    import jax

    depth = len(variables["params"])
    for number in range(1, depth + 1):
        layer = variables["params"][f"layer{number}"]
        x = x @ layer["kernel"] + layer["bias"][None]
        x = jax.nn.relu(x) if number < depth else x
    return x


def said(ranks: Ranks) -> str:
    """The three ranks in words."""
    numbers = zip(SETS, ranks.rank, ranks.most, strict=True)
    return ", ".join(f"{which} {rank:,} of at most {most:,}" for which, rank, most in numbers)


def trained(task: Task, points: Points, config: TrainConfig, arm: str, seed: int) -> Trained:
    """Train a network by minibatch descent, in double precision."""
    import jax
    import jax.numpy as jnp

    from papers.common.training.fit import Data, fit
    from papers.common.training.optimiser import sgd
    from papers.common.training.step import start

    first = [
        tuple(map(jnp.asarray, layer)) for layer in nets.random_params(task.sizes, np.random.default_rng((7, seed)))
    ]
    decay = config.weight_decay if arm == "weight decay" else 0.0
    optimiser = sgd(lambda step: config.learning_rate, 0.0, decay)
    state = start({"params": first}, optimiser, jax.random.key(seed))
    moments = sorted(
        {math.ceil(config.epochs * part) for part in (0, 1 / 20, 1 / 4, 1)} if arm in THROUGH else {config.epochs}
    )
    rows, losses = [], [math.nan]

    def record(epoch: int, state) -> None:
        if epoch in moments:
            params = [tuple(np.asarray(leaf, np.float64) for leaf in layer) for layer in state.params]
            rows.append((epoch, nets.flatten(params), np.mean(losses), score(task, params)))
        losses.clear()

    record(0, state)
    fit(
        partial(_step, optimiser),
        state,
        Data(jnp.asarray(points.inputs), jnp.asarray(points.targets)),
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=seed,
        on_chunk=lambda fetched: losses.extend(fetched.metrics["loss"]),
        on_epoch=record,
    )
    return Trained(*map(np.asarray, zip(*rows, strict=True)))


def _step(optimiser, state, batch):
    import jax
    import optax

    from papers.common.training.step import cross_entropy

    inputs, targets = batch

    def loss(params):
        h = inputs
        for number, (w, b) in enumerate(params, 1):
            h = h @ w.T + b[None]
            h = jax.nn.relu(h) if number < len(params) else h
        return cross_entropy(h, targets) if targets.dtype.kind == "i" else ((h[:, 0] - targets) ** 2).mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    updates, moved = optimiser.update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    return state._replace(step=state.step + 1, params=params, optimiser=moved), {"loss": value}


def score(task: Task, params: nets.Params) -> float:
    """Accuracy on the test points, or for regression the share of variance explained."""
    outputs, targets = nets.forward(params, task.enlarge(task.test.inputs)), task.test.targets
    if targets.dtype.kind == "i":
        return float(np.mean(outputs.argmax(axis=1) == targets))
    return float(1 - np.mean((outputs[:, 0] - targets) ** 2) / targets.var())


def ranks(task: Task, points: Points, params: np.ndarray, seed: tuple[int, ...]) -> Ranks:
    """The dimension of a network on its training inputs, on test inputs and on the regions of random inputs."""
    network, random = nets.unflatten(params, task.sizes), np.random.default_rng(seed)
    data = (points.inputs[: task.measured], task.enlarge(task.test.inputs[: task.measured]))
    found = [wide_batch_dimension(network, inputs, random) for inputs in data]
    found.append(wide_sampled_dimension(network, random.normal(size=(task.random, task.sizes[0])), random))
    return Ranks(*map(np.asarray, zip(*(one._replace(gap=min(one.gap, 1e300)) for one in found), strict=True)))
