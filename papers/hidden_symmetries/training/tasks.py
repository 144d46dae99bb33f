"""What is learnt: digits enlarged to 28 x 28 pixels, or a function of five numbers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from papers.hidden_symmetries.train import TrainConfig

SIDE = 28
CLASSES = 10
POINTS = 2000  # of regression, to train on and to test on


class Points(NamedTuple):
    """Inputs (n, n_0) and what is to be learnt of them: classes (n,) or numbers (n,)."""

    inputs: np.ndarray
    targets: np.ndarray


class Task(NamedTuple):
    """A task.

    Attributes:
        sizes: widths of its network.
        train: the training points.
        test: others.
        measured: at how many points of each the dimension on the data is measured: more rows than it can have.
        random: how many standard normal points the dimension on random inputs is measured with.
        enlarge: what is done to noisy inputs before a network sees them.
    """

    sizes: tuple[int, ...]
    train: Points
    test: Points
    measured: int
    random: int
    enlarge: Callable[[np.ndarray], np.ndarray]


def fingerprint(config: TrainConfig) -> str | None:
    """That of the digits."""
    from papers.common import data

    return data.fingerprint(data.load_once("digits")) if config.task == "digits" else None


def digits() -> Task:
    """Real images: 64 pixels that a network sees enlarged to 784, so that all images span at most 64 directions."""
    from papers.common import data

    dataset = data.load_once("digits")
    train, test = (
        Points(split.images[:, ::4, ::4, 0].reshape(-1, 64) / dataset.scale, split.labels.astype(np.int64))
        for split in (dataset.train, dataset.test)
    )
    return Task((SIDE**2, 30, 30, 30, CLASSES), train, test, 360, 1000, enlarged)


def enlarged(images: np.ndarray) -> np.ndarray:
    """Images (n, 64) of 8 x 8 pixels as (n, 784): each pixel is repeated three or four times both ways."""
    nearest = np.arange(SIDE) * 8 // SIDE
    return images.reshape(-1, 8, 8)[:, nearest][:, :, nearest].reshape(-1, SIDE**2)


def regression() -> Task:
    """``sin(pi x_1) x_2 + |x_3| - x_4 x_5`` on the cube from -1 to 1; the points are the same for every seed."""
    random = np.random.default_rng(0)
    splits = []
    for _ in range(2):
        x = random.uniform(-1, 1, (POINTS, 5))
        splits.append(Points(x, np.sin(np.pi * x[:, 0]) * x[:, 1] + np.abs(x[:, 2]) - x[:, 3] * x[:, 4]))
    return Task((5, 15, 15, 15, 1), *splits, POINTS, 50_000, lambda inputs: inputs)


TASKS: dict[str, Callable[[], Task]] = {"digits": digits, "regression": regression}


def noisy(task: Task, arm: str, config: TrainConfig, seed: int) -> Points:
    """The training points of an arm, as a network sees them."""
    random = np.random.default_rng((7, seed))
    inputs, targets = task.train
    if arm == "input noise":
        inputs = inputs + config.input_noise * random.normal(size=inputs.shape)
    if arm == "label noise" and targets.dtype.kind == "i":
        targets = np.where(random.random(len(targets)) < config.label_noise, random.permutation(targets), targets)
    elif arm == "label noise":
        targets = targets + config.label_noise * random.normal(size=targets.shape)
    return Points(task.enlarge(inputs), targets)
