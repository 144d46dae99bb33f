"""Device memory of a preset of ``papers.noether.train``: resident images, state, and the step's temporaries.

    python tests/benchmarks/bench_memory.py [PRESET]

What XLA counts when it compiles the step for this machine; no image is loaded, nothing is trained.
"""

import sys

import jax
import numpy as np

from papers.common.data import Dataset, Split
from papers.noether.config import PRESETS
from papers.noether.run import build

IMAGES, SIDE, CLASSES = 110_000, 64, 200  # of Tiny-ImageNet, training and test


def main(preset: str = "panel-a-high") -> None:
    """Print the three sizes in GB and their sum."""
    config = PRESETS[preset].config
    few = Split(np.zeros((config.batch_size, SIDE, SIDE, 3), np.uint8), np.zeros(config.batch_size, np.int32))
    one = (1.0, 1.0, 1.0)
    dataset = Dataset(config.data, few, few, CLASSES, 255.0, one, one, "crop_flip")
    state, plan = build(config, dataset)

    def step(state, images, labels, index):
        return plan.step(state, (images[index], labels[index]))

    index = np.arange(config.batch_size, dtype=np.int32)
    lowered = jax.jit(step, donate_argnums=0).lower(state, plan.train.images, plan.train.labels, index)
    counted = lowered.compile().memory_analysis()
    sizes = {
        "resident images": IMAGES * SIDE * SIDE * 3,
        "state": counted.argument_size_in_bytes - few.images.nbytes - few.labels.nbytes - index.nbytes,
        "temporaries of a step": counted.temp_size_in_bytes,
    }
    for name, size in (*sizes.items(), ("together", sum(sizes.values()))):
        print(f"{name}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main(*sys.argv[1:])
