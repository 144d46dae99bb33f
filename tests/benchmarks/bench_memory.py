"""Device memory of a preset of ``papers.noether.train``: resident images, state, and the step's temporaries.

    python tests/benchmarks/bench_memory.py [PRESET]

What XLA counts when it compiles the step for this machine; no image is loaded, nothing is trained.
"""

import math
import sys

import jax
import numpy as np

from papers.common.data import Dataset, Split, tiny_imagenet
from papers.noether.networks.presets import PRESETS
from papers.noether.networks.run import build


def main(preset: str = "panel-a-high") -> None:
    """Print the three sizes in GB and their sum."""
    config = PRESETS[preset].config
    recipe = tiny_imagenet.recipe()
    few = Split(np.zeros((config.batch_size, *recipe.shape), np.uint8), np.zeros(config.batch_size, np.int32))
    dataset = Dataset(recipe.name, few, few, recipe.classes, 255.0, recipe.mean, recipe.std, recipe.augmentation)
    state, plan = build(config, dataset)

    def step(state, images, labels, index):
        return plan.step(state, (images[index], labels[index]))

    index = np.arange(config.batch_size, dtype=np.int32)
    lowered = jax.jit(step, donate_argnums=0).lower(state, plan.train.images, plan.train.labels, index)
    counted = lowered.compile().memory_analysis()
    sizes = {
        "resident images": sum(recipe.counts.values()) * math.prod(recipe.shape),
        "state": counted.argument_size_in_bytes - few.images.nbytes - few.labels.nbytes - index.nbytes,
        "temporaries of a step": counted.temp_size_in_bytes,
    }
    for name, size in (*sizes.items(), ("together", sum(sizes.values()))):
        print(f"{name}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main(*sys.argv[1:])
