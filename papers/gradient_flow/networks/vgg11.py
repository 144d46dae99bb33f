"""VGG11 without BatchNorm under plain minibatch descent, every neuron's charge watched."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.compilation import once_options
from papers.common.models import VGG11, initialise
from papers.common.training import Data, TrainState, evaluate, sgd, start, training_step
from papers.gradient_flow.networks.neurons import Neurons, neurons, watched
from symjax.tracing import symmetries


class Vgg11Training(NamedTuple):
    """A training of VGG11 put together.

    Attributes:
      step: of :func:`papers.common.training.fit`.
      begin: ``begin(variables, learning_rate, key) -> TrainState``, compiled; the rate is the state's monitor.
      evaluate: ``evaluate(state, data)``.
      neurons: whose charges are watched.
      train: the training images.
      test: the test images.
    """

    step: Any
    begin: Any
    evaluate: Any
    neurons: Neurons
    train: Data
    test: Data


def build(classes: int, width: float, precision: str) -> VGG11:
    """The network: neither normalisation nor dropout."""
    return VGG11(classes, width, batch_norm=False, dropout=0.0, dtype=jnp.dtype(precision))


def vgg11(dataset: data.Dataset, width: float, precision: str) -> Vgg11Training:
    """Put together plain descent on VGG11 without BatchNorm and dropout; one program serves all rates and seeds."""
    dtype, model = jnp.dtype(precision), build(dataset.classes, width, precision)
    shapes = initialise(model, 0, dataset.train.images.shape[1:])
    image = jax.ShapeDtypeStruct((2, *dataset.train.images.shape[1:]), dtype)
    found = neurons(symmetries(model.apply, shapes, image).channels, dtype)

    def descent(learning_rate: Any) -> Any:
        return watched(found, sgd(learning_rate), learning_rate)

    @partial(jax.jit, compiler_options=once_options())
    def begin(variables: Any, learning_rate: Any, key: jax.Array) -> TrainState:
        return start(variables, descent(learning_rate), key, learning_rate)

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        del key  # neither augmentation nor dropout: nothing is random but the order of the images
        return data.normalise(raw, dataset, dtype)

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        return training_step(model, descent(state.monitor), prepare)(state, batch)

    normalise = partial(data.normalise, dataset=dataset, dtype=dtype)
    train, test = (
        Data(jnp.asarray(split.images), jnp.asarray(split.labels)) for split in (dataset.train, dataset.test)
    )
    return Vgg11Training(step, begin, evaluate(model, normalise), found, train, test)


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
