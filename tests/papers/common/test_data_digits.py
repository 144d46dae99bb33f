"""The digits are scikit-learn's own, split by class, enlarged pixel by pixel; selections keep every class's share."""

import dataclasses
import gzip
import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from papers.common.data import SETS, Dataset, Split, digits, fingerprint, load, load_once, select
from papers.common.data.digits import stratified
from papers.common.errors import UserError
from papers.noether.networks.config import TrainConfig


@pytest.fixture(scope="module")
def published():
    return load_digits()


def test_shapes_counts_and_numbers():
    digits = load("digits")
    assert digits.train.images.shape == (1437, 32, 32, 3) and digits.test.images.shape == (360, 32, 32, 3)
    assert digits.train.images.dtype == np.uint8 and digits.train.labels.dtype == np.int32
    assert (digits.scale, digits.mean, digits.std, digits.augmentation) == (16.0, (0.0,) * 3, (1.0,) * 3, "none")
    assert digits.train.images.max() == 16 and digits.classes == 10


@pytest.mark.parametrize("size", [32, 64])
def test_every_image_is_one_of_scikit_learns_and_all_are_used(published, size):
    digits = load("digits", size=size)
    images = np.concatenate([digits.train.images, digits.test.images])
    labels = np.concatenate([digits.train.labels, digits.test.labels])
    block = size // 8
    small = images[:, ::block, ::block, 0]
    assert np.array_equal(images, np.kron(small, np.ones((1, block, block), np.uint8))[..., None].repeat(3, axis=3))

    def rows(x, y):
        return sorted(map(tuple, np.column_stack([x.reshape(len(x), -1), y]).astype(int)))

    assert rows(small, labels) == rows(published.images, published.target)


def test_split_is_stratified_and_the_same_every_time(published):
    first, again = load("digits"), load("digits")
    assert np.array_equal(first.test.labels, again.test.labels)
    assert np.array_equal(first.test.images, again.test.images)
    share = np.bincount(published.target) * 360 / 1797
    assert np.all(np.abs(np.bincount(first.test.labels) - share) < 1)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.floats(0, 1), st.integers(0, 3))
def test_stratified_gives_every_class_its_share(labels, fraction, seed):
    labels = np.array(labels)
    count = int(fraction * len(labels))
    chosen = stratified(labels, count, seed)
    assert chosen.sum() == count
    share = count * np.bincount(labels, minlength=6) / len(labels)
    assert np.all(np.abs(np.bincount(labels[chosen], minlength=6) - share) < 1)


def test_stratified_depends_on_the_seed():
    labels = np.repeat(np.arange(10), 20)
    assert not np.array_equal(stratified(labels, 50, 0), stratified(labels, 50, 1))


@given(st.lists(st.integers(0, 4), min_size=20, max_size=80), st.integers(2, 5), st.integers(1, 90))
def test_select_keeps_first_classes_shares_and_order(labels, classes, limit):
    labels = np.array(labels, np.int32)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)  # each image is its own number
    split = Split(images, labels)
    whole = Dataset("toy", split, split, 5, 255.0, (0.0,) * 3, (1.0,) * 3, "none")
    chosen = select(whole, classes, limit)
    number = chosen.train.images.ravel()
    assert chosen.classes == classes and np.all(np.diff(number.astype(int)) > 0)
    assert np.array_equal(labels[number], chosen.train.labels) and np.all(chosen.train.labels < classes)
    available = np.bincount(labels[labels < classes], minlength=classes)
    kept = np.bincount(chosen.train.labels, minlength=classes)
    assert len(number) == min(limit, available.sum())
    level = kept.max(initial=0)
    assert np.all((kept == available) | (kept >= level - 1))  # a class falls behind only when it has no more images


def test_select_without_arguments_copies_nothing():
    digits = load("digits")
    assert select(digits) is digits


def test_a_command_loads_its_data_once(monkeypatch):
    """Once to refuse what they do not allow, once to train on them: the second time costs nothing."""
    asked = []
    monkeypatch.setitem(SETS, "digits", lambda *options: asked.append(options) or digits.outline(*options))
    load_once.cache_clear()
    config = TrainConfig(limit=50, batch_size=10)
    config.preflight()
    assert config.load() is config.load() and len(asked) == 1
    assert len(dataclasses.replace(config, limit=40).load().train.labels) == 40 and len(asked) == 2
    load_once.cache_clear()


def changed(dataset, split, what, place):
    """The data set with one bit of one array flipped."""
    array = getattr(getattr(dataset, split), what).copy()
    array[place] ^= 1
    return dataset._replace(**{split: getattr(dataset, split)._replace(**{what: array})})


def test_a_fingerprint_tells_every_difference_and_nothing_else():
    few = load("digits", limit=30)
    same = few._replace(name="another", train=Split(*(np.array(array) for array in few.train)))
    assert fingerprint(same) == fingerprint(few) and len(fingerprint(few)) == 16
    others = [
        changed(few, "train", "images", (29, 31, 31, 2)),
        changed(few, "test", "images", (0, 0, 0, 0)),
        changed(few, "train", "labels", 3),
        changed(few, "test", "labels", 29),
        few._replace(train=Split(few.train.images[::-1], few.train.labels[::-1])),
        few._replace(train=few.test, test=few.train),
        few._replace(scale=255.0),
        few._replace(mean=(0.0, 0.0, 0.1)),
        few._replace(augmentation="crop_flip"),
        load("digits", limit=31),
        load("digits", limit=30, size=64),
    ]
    assert len({fingerprint(dataset) for dataset in [few, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": "digits", "limit": 10**12}, "limit is 1000000000000"),
        ({"name": "digits", "size": 48}, "size is 48"),
        ({"name": "digits", "classes": 1}, "classes is 1"),
        ({"name": "digits", "classes": 11}, "classes is 11"),
        ({"name": "digits", "limit": 0}, "limit is 0"),
        ({"name": "cifar10", "size": 64}, "size is 64"),
        ({"name": "tiny_imagenet", "classes": 201}, "classes is 201"),
        ({"name": "tiny_imagenet", "limit": -1}, "limit is -1"),
        ({"name": "digits", "batch_size": 1438}, "--batch-size is 1438, but must be at most 1437"),
        ({"name": "cifar10", "batch_size": 50_001}, "at most 50000"),
        ({"name": "tiny_imagenet", "classes": 20, "batch_size": 10_001}, "at most 10000"),
        ({"name": "tiny_imagenet", "classes": 20, "limit": 100, "batch_size": 101}, "at most 100,"),
        ({"name": "mnist"}, "'mnist'"),
    ],
)
def test_bad_arguments_are_named_before_any_data_is_touched(tmp_path, arguments, named):
    with pytest.raises(UserError, match=named):
        load(**arguments, cache_dir=tmp_path / "cache", data_dir=tmp_path / "absent")
    assert not (tmp_path / "cache").exists()


def test_damaged_file_in_scikit_learn_is_reported(tmp_path, monkeypatch):
    package = tmp_path / "sklearn"
    (package / "datasets" / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: type("Spec", (), {"origin": str(package / "__init__.py")})
    )
    with pytest.raises(UserError, match="absent or damaged.*force-reinstall"):
        load("digits")
    file = package / "datasets" / "data" / "digits.csv.gz"
    file.write_bytes(b"\x1f\x8b\x08 not a table")
    with pytest.raises(UserError, match="absent or damaged.*force-reinstall"):
        load("digits")
    other = np.zeros((1797, 65), np.uint8)
    with gzip.open(file, "wt") as text:
        np.savetxt(text, other, "%d", delimiter=",")
    found = hashlib.md5(other.tobytes()).hexdigest()
    with pytest.raises(UserError, match=f"md5 {found} found, shape .*, md5 {digits.MD5} expected.*force-reinstall"):
        load("digits")


def test_import_and_digits_need_neither_jax_nor_tensorflow_datasets_nor_sklearn():
    code = (
        "import sys; from papers.common.data import load; load('digits');"
        "print(sorted({'jax', 'tensorflow_datasets', 'sklearn', 'tensorflow', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
