"""Images for the CIFAR-10 figures: random ones, and the real ones where they are beside the checkout."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from papers.common import data
from papers.common.claims import Setting
from papers.common.data import Dataset, Split
from papers.common.experiment import carry_out
from papers.common.runs import RunDirectory


def random_split(count, seed):
    """Random pixels, every fifth image with white patches, whose max-pool windows tie."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    images[::5, :8, :8] = 255
    return Split(images, generator.integers(0, 10, count).astype(np.int32))


@pytest.fixture(scope="session")
def random_images():
    """300 and 40 random images with random labels, in the place of CIFAR-10."""
    return Dataset(
        "cifar10", random_split(300, 0), random_split(40, 1), 10, 255.0, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "crop_flip"
    )


@pytest.fixture(scope="session")
def cifar10(real_data, tmp_path_factory):
    """CIFAR-10 itself, restored by the packer's own script; skips with a reason where it cannot be."""
    folder = tmp_path_factory.mktemp("cifar10")
    command = [sys.executable, str(real_data / "restore.py"), str(folder), "cifar10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("CIFAR-10 cannot be restored here: " + (done.stderr.strip().splitlines() or ["no reason"])[-1])
    return data.load("cifar10", data_dir=folder, cache_dir=folder / "cache")


@pytest.fixture
def carried_out():
    """``carried_out(experiment, config, path, name)``: the claims of a whole run into a directory."""

    def carry(experiment, config, path, name):
        with RunDirectory.create(path, dataclasses.asdict(config), "command") as directory:
            return carry_out(experiment, config, directory, name=name, command="command", reduced=config.reduced)

    return carry


@pytest.fixture
def setting():
    """Where claims of made-up numbers were measured."""
    return Setting("", "", "command", {"device": None, "versions": {}, "commit": None})
