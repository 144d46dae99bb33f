"""The 1,797 handwritten digits inside scikit-learn's wheel: real images without a download."""

import gzip
import hashlib
import importlib.util
import zlib
from pathlib import Path

import numpy as np

from papers.common.cli import check
from papers.common.data.dataset import Dataset, Split
from papers.common.data.outline import Outline
from papers.common.errors import UserError

TEST_IMAGES = 360
SIZES = (32, 64)
MD5 = "265453a2439934797bb770ce205b6fad"  # of the 1,797 rows of 65 numbers as bytes


def outline(size: int | None, data_dir: Path | None, cache_dir: Path | None) -> Outline:
    """Describe the digits, which need neither a source nor a cache."""
    dataset = load(size)
    return Outline(dataset.classes, np.bincount(dataset.train.labels), lambda: dataset)


def load(size: int | None = None) -> Dataset:
    """Read the digits, enlarge them to `size` x `size` and split them, stratified, into 1,437 train and 360 test.

    Each of the 8 x 8 pixels is repeated, each grey value fills three equal channels. Pixels stay the raw integers
    0 ... 16, so `scale` is 16 and a network sees [0, 1].

    Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI 1998 (its test part).

    Args:
        size: 32 (the default) or 64.

    Raises:
        UserError: another size, or scikit-learn's file is absent or damaged.

    >>> digits = load(32)
    >>> digits.train.images.shape, digits.test.labels.shape
    ((1437, 32, 32, 3), (360,))
    """
    size = SIZES[0] if size is None else size
    check(size in SIZES, "size", size, "32 or 64 for digits")
    table = _table()
    images = table[:, :-1].reshape(-1, 8, 8).astype(np.uint8)
    labels = table[:, -1].astype(np.int32)
    images = images.repeat(size // 8, axis=1).repeat(size // 8, axis=2)
    images = np.repeat(images[..., None], 3, axis=3)
    test = stratified(labels, TEST_IMAGES, seed=0)
    train, test = (Split(images[rows], labels[rows]) for rows in (~test, test))
    return Dataset("digits", train, test, 10, 16.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "none")


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Choose `count` images so that every class has its share, to within one image.

    The shares count * n_c / n are rounded by largest remainder, ties to the smaller class.

    Args:
        labels: integers, (n,).
        count: number of images to choose.
        seed: of the generator that shuffles within each class.

    Returns:
        bool, (n,): True for the chosen ones.
    """
    sizes = np.bincount(labels)
    quota, remainder = np.divmod(count * sizes, len(labels))
    quota[np.argsort(-remainder, kind="stable")[: count - quota.sum()]] += 1
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label, share in enumerate(quota):
        chosen[generator.permutation(np.flatnonzero(labels == label))[:share]] = True
    return chosen


def _table() -> np.ndarray:
    # Importing sklearn.datasets costs a second; its file alone costs 0.01 s.
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError("digits are read from scikit-learn, which is not installed; run `pip install scikit-learn`")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            values = np.loadtxt(file, np.float32, delimiter=",")
        found = hashlib.md5(values.astype(np.uint8).tobytes()).hexdigest()
        if values.shape != (1797, 65) or found != MD5:
            raise ValueError(
                f"a table of shape {values.shape}, md5 {found} found, shape (1797, 65), md5 {MD5} expected"
            )
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(
            f"{path} is absent or damaged ({error}); run `pip install --force-reinstall scikit-learn`"
        ) from error
    return values
