"""The small CIFAR-10 network of Figures 10 and 11 and its training.

convolution 3 -> 32, 3x3, same; leaky ReLU (0.01); max pool 2; flatten 8192; dense to h = 16; the *group activation*;
dense to 10. The group elements of the figures act on the h pre-activations of the group activation.

Source: Zhao et al. 2023, Figures 10 and 11: the authors' notebooks.
"""

import time
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from papers.common import data
from papers.common.cli import check
from papers.common.errors import UserError
from papers.common.integrity import Damaged, read_arrays, write_arrays
from papers.common.models.convolution import convolve, convolve_windows, on_cpu
from papers.common.records import to_json
from papers.common.training import Data, TrainState, evaluate, fit, start, training_step
from papers.common.training.fit import Fetched, epoch_order
from papers.gradient_flow.networks.cifar.config import GroupActivation, NetworkConfig, Output

DATA_RANGE = (-0.5, 0.5)
"""Pixels / 255 - 0.5."""

FILTERS = 32


def leaky_relu(z: Array) -> Array:
    """The group activation of Figure 11: z where positive, z / 10 elsewhere."""
    return jax.nn.leaky_relu(z, 0.1)


def leaky_square(z: Array) -> Array:
    """The group activation of Figure 10: leaky(z)^2 + z / 100 with slope 0.1."""
    return jnp.square(leaky_relu(z)) + 0.01 * z


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"leaky_relu": leaky_relu, "leaky_square": leaky_square}


class CifarNetwork(nn.Module):
    """The network, cut at the group activation: `preactivations`, then the activation, then `classify`.

    Attributes:
        activation: name of the group activation.
        hidden: width h.
        output: logits, or the probabilities that the authors hand to the cross-entropy.
        classes: the number of outputs.
    """

    activation: GroupActivation = "leaky_square"
    hidden: int = 16
    output: Output = "logits"
    classes: int = 10

    def setup(self) -> None:
        self.convolution = Convolution(FILTERS)
        self.inner = nn.Dense(self.hidden)
        self.outer = nn.Dense(self.classes)

    def preactivations(self, images: Array) -> Array:
        """Give the h numbers before the group activation, (n, hidden), of normalised images (n, 32, 32, 3)."""
        pooled = jax.nn.leaky_relu(self.convolution(images), 0.01)
        return self.inner(pooled.reshape(len(images), -1))

    def classify(self, activated: Array) -> Array:
        """Give the logits (n, classes) of what the group activation returned, (n, hidden)."""
        return self.outer(activated)

    def __call__(self, images: Array, train: bool = False) -> Array:
        """Give the outputs (n, classes); `train` changes nothing."""
        logits = self.classify(ACTIVATIONS[self.activation](self.preactivations(images)))
        return jax.nn.softmax(logits) if self.output == "softmax" else logits


class Convolution(nn.Module):
    """A 3x3 convolution and a 2x2 max pool; the leaky ReLU between them is increasing and may follow.

    The gradient of a window with several maxima is shared among them, which changes no gradient of the weights unless
    the pixels that such maxima see differ.
    """

    features: int

    @nn.compact
    def __call__(self, images: Array) -> Array:
        n, height, width, channels = images.shape
        kernel_shape, bias_shape = (3, 3, channels, self.features), (self.features,)
        kernel = self.param("kernel", nn.initializers.lecun_uniform(), kernel_shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, bias_shape, jnp.float32)
        shape = (n, height // 2, width // 2, self.features)
        if on_cpu():
            first, second, third, fourth = jnp.split(convolve_windows(images, kernel), 4, -1)
            pooled = jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth)).reshape(shape)
        else:
            window = (1, 2, 2, 1)
            pooled = lax.reduce_window(convolve(images, kernel), -jnp.inf, lax.max, window, window, "VALID")
        return pooled + bias.reshape(1, 1, 1, -1)


def build(config: NetworkConfig) -> CifarNetwork:
    """Give the network of a configuration."""
    return CifarNetwork(config.activation, config.hidden, config.output)


def initialise(model: CifarNetwork, seed: int) -> dict:
    """Draw initial variables: every kernel and bias uniform in +- 1 / sqrt(fan in).

    Source: the defaults of ``torch.nn.Conv2d`` and ``torch.nn.Linear``, which the authors use; the numbers are drawn by
    NumPy, seeded with (seed, crc32(path)).

    Args:
        model: the network.
        seed: a non-negative integer.

    Returns:
        ``{"params": ...}`` of float32 NumPy arrays.

    >>> variables = initialise(CifarNetwork(), seed=0)
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables))
    132154
    """
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    params = {}
    for layer, leaves in shapes.items():
        bound = prod(leaves["kernel"].shape[:-1]) ** -0.5
        params[layer] = {}
        for name, leaf in leaves.items():
            generator = np.random.default_rng([seed, crc32(f"{layer}/{name}".encode())])
            params[layer][name] = generator.uniform(-bound, bound, leaf.shape).astype(np.float32)
    return {"params": params}


def scaled(dataset: data.Dataset) -> data.Dataset:
    """Replace the data set's normalisation by the authors': pixels / 255 - 0.5."""
    return dataset._replace(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))


def pixels(images: np.ndarray, dataset: data.Dataset) -> Array:
    """Turn raw uint8 images into the network's input, float32 in [-0.5, 0.5]."""
    return data.normalise(jnp.asarray(images), scaled(dataset))


class Trained(NamedTuple):
    """A trained network.

    Attributes:
        params: its parameters, float32.
        loss: mean training loss of each epoch, (epochs,).
        accuracy: mean training accuracy of each epoch, (epochs,).
        test_accuracy: on the official test split, in [0, 1].
        seconds: wall time of the training, compilation included.
    """

    params: Any
    loss: np.ndarray
    accuracy: np.ndarray
    test_accuracy: float
    seconds: float


def train(
    config: NetworkConfig,
    dataset: data.Dataset,
    watched: Callable[[Any], Any] = lambda adam: adam,
    *,
    chunk: int = 250,
    report: Callable[[TrainState], Any] = lambda state: (),
    on_chunk: Callable[[Fetched], None] = lambda fetched: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train the network with Adam on the first images of the training file, in file order.

    Source: Zhao et al. 2023, Figures 10 and 11 (notebooks): 40,000 images, 10 epochs of batches of 32, no augmentation,
    no shuffling, Adam with learning rate 1e-3.
    Deviation: logits by default; the authors put a softmax before the cross-entropy, which has one of its own.

    Args:
        config: of the training.
        dataset: CIFAR-10, as :func:`papers.common.data.load` gives it.
        watched: wraps the optax transformation, such as in :func:`symjax.watch.watch`.
        chunk: steps between two reports.
        report: read from the state at the end of each chunk, such as what the wrapper gathered in the optimiser's.
        on_chunk: takes each chunk's losses, accuracies and report, in order.
        should_stop: asked after each chunk.

    Returns:
        The trained network.

    Raises:
        UserError: where there are fewer training images than asked for.
        Divergence: a loss is not finite.
    """
    config.validate()
    images = min(config.images, len(dataset.train.labels))
    check(images == config.images, "images", config.images, f"at most {images}, the number of training images")
    model, optimiser, began = build(config), watched(optax.adam(config.learning_rate)), time.monotonic()
    step = training_step(model, optimiser, lambda key, raw: data.normalise(raw, scaled(dataset)))
    state = start(initialise(model, config.seed), optimiser, jax.random.PRNGKey(config.seed))
    losses, accuracies = [], []
    for epoch in range(config.epochs):
        gathered: list[dict[str, np.ndarray]] = []

        def collect(fetched: Fetched, gathered: list = gathered) -> None:
            gathered.append(fetched.metrics)
            on_chunk(fetched)

        # fit shuffles; the images laid out by the inverse permutation come in file order
        place = np.argsort(epoch_order(config.seed, epoch, images))
        resident = Data(jnp.asarray(dataset.train.images[place]), jnp.asarray(dataset.train.labels[place]))
        state = fit(
            step,
            state,
            resident,
            batch_size=config.batch_size,
            epochs=epoch + 1,
            seed=config.seed,
            chunk=chunk,
            report=report,
            on_chunk=collect,
            should_stop=should_stop,
        )
        losses.append(np.concatenate([metrics["loss"] for metrics in gathered]).mean())
        accuracies.append(np.concatenate([metrics["accuracy"] for metrics in gathered]).mean())
        if should_stop():
            break
    seconds = time.monotonic() - began
    test = Data(jnp.asarray(dataset.test.images), jnp.asarray(dataset.test.labels))
    measured = evaluate(model, partial(data.normalise, dataset=scaled(dataset)), 500)(state, test)
    params = jax.device_get(state.params)
    return Trained(params, np.array(losses), np.array(accuracies), measured["top1"], seconds)


def obtain(config: NetworkConfig, dataset: data.Dataset, folder: Path) -> Trained:
    """Read a trained network from a folder, or train it and write it there.

    Args:
        config: of the training.
        dataset: CIFAR-10.
        folder: holds one npz for each network.

    Returns:
        The trained network.

    Raises:
        UserError: a file of the right name that is damaged or holds another training.
    """
    file = folder / f"{config.activation}-{config.output}-{config.seed}.npz"
    identity = {"training": to_json(config), "data": data.fingerprint(dataset)}
    if file.exists():
        try:
            stored = read_arrays(file, **identity)
        except Damaged as damage:
            raise UserError(
                f"{file} holds no network of this training ({damage}): name another folder, or remove it"
            ) from None
        params: dict = {}
        for key in stored:
            if "/" in key:
                layer, name = key.split("/")
                params.setdefault(layer, {})[name] = stored[key]
        numbers = {name: float(stored[name]) for name in ("test_accuracy", "seconds")}
        return Trained(params, stored["loss"], stored["accuracy"], **numbers)
    trained = train(config, dataset)
    folder.mkdir(parents=True, exist_ok=True)
    leaves = {f"{layer}/{name}": leaf for layer, leaves in trained.params.items() for name, leaf in leaves.items()}
    write_arrays(file, leaves | {k: v for k, v in trained._asdict().items() if k != "params"}, **identity)
    return trained
