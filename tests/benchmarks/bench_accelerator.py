"""Training speed of VGG11 at 32x32 without BatchNorm on an accelerator: one network, and many side by side.

    python tests/benchmarks/bench_accelerator.py --members 1 3 8 24 --ways models columns

Images a second of whole training steps of papers.relu_equivariance (crops and flips, forward, gradient, momentum,
decay; batch 500 by default), steps in a compiled scan over resident images, which are random; wall time, the median of
several chunks after one that warms up. ``models`` is what papers.common.models does; ``columns`` writes every
convolution as a product of shifted copies, which stays one batched product under vmap where a convolution becomes a
grouped one; ``windows`` pools by ``reduce_window``. Each line is printed as soon as it is measured, with the seconds of
compilation. One NVIDIA H200, jax 0.11.2, one network, bfloat16: models 1.50 ms a step, 333,000 images/s (4.6 PFLOP of
100 epochs in 15 s); windows 2.11 ms, 237,000. With the pool of ``windows``: float32 3.32 ms, 151,000; columns 2.20 ms;
three networks under vmap 144,000 (convolutions) and 215,000 (columns), eight 230,000 (columns).
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.batching import stack
from papers.common.models import VGG11, vgg
from papers.common.training import sgd, start
from papers.relu_equivariance.networks.kinds import KINDS
from papers.relu_equivariance.networks.rule import training_step, warm_up_and_decay
from papers.relu_equivariance.networks.tied import draw

CONVOLVE, POOL = vgg.convolve, vgg.relu_max_pool
WAYS = ("models", "columns", "windows")


def columns(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve as ``convolve`` does, by one matrix product of the nine shifted copies of the images."""
    height, width, features = *images.shape[1:3], kernel.shape[-1]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, features)


def windows(x: jax.Array) -> jax.Array:
    """ReLU and max pool by ``reduce_window``, whose gradient is a scatter."""
    return jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def measure(way: str, precision: str, members: int, options: argparse.Namespace) -> str:
    """Compile one program, run chunks, and say how fast they were."""
    vgg.convolve = columns if way == "columns" else CONVOLVE
    vgg.relu_max_pool = windows if way == "windows" else POOL
    kind = KINDS[options.kind]
    model = VGG11(10, options.width, batch_norm=False, dropout=0.0, hidden_layers=0, dtype=jnp.dtype(precision))
    optimiser = sgd(warm_up_and_decay(0.08, 500, 10_000), 0.9)

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        mean, std = np.float32((0.4914, 0.4822, 0.4465)), np.float32((0.2023, 0.1994, 0.2010))
        return (data.augment(key, raw, "crop_flip" if kind.flips else "crop") / np.float32(255) - mean) / std

    step = training_step(model, kind, optimiser, prepare, lambda step: jnp.float32(0.3), 5e-4)

    def chunk(state, images, labels, indices):
        return jax.lax.scan(lambda s, i: step(s, (images[i], labels[i])), state, indices)

    params = [draw(model, kind.equivariant, seed, (32, 32, 3)) for seed in range(members)]
    states = [start({"params": p}, optimiser, jax.random.PRNGKey(s)) for s, p in enumerate(params)]
    program = chunk if members == 1 else jax.vmap(chunk, in_axes=(0, None, None, 0))
    state = states[0] if members == 1 else stack(states)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (10_000, 32, 32, 3), np.uint8))
    labels = jnp.asarray(rng.integers(0, 10, 10_000, np.int32))
    leading = () if members == 1 else (members,)
    indices = jnp.asarray(rng.integers(0, 10_000, (*leading, options.steps, options.batch), np.int32))
    began = time.perf_counter()
    compiled = jax.jit(program, donate_argnums=0).lower(state, images, labels, indices).compile()
    compilation, seconds = time.perf_counter() - began, []
    for _ in range(options.rounds + 1):
        began = time.perf_counter()
        state, metrics = compiled(state, images, labels, indices)
        loss = np.asarray(metrics["loss"])
        seconds.append(time.perf_counter() - began)
    each = statistics.median(seconds[1:]) / options.steps
    rate = members * options.batch / each
    return (
        f"{way:12s} {precision:9s} {members:3d} networks  {1e3 * each:8.3f} ms a step  {rate:10,.0f} images/s  "
        f"compiled in {compilation:5.1f} s  loss {loss.mean():.4f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 3, 8, 24])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--precisions", nargs="+", choices=("bfloat16", "float32"), default=["bfloat16"])
    parser.add_argument("--kind", choices=tuple(KINDS), default="cnn_aug")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, width {options.width:g}, batch {options.batch}")
    for members in options.members:
        for way in options.ways:
            for precision in options.precisions:
                try:
                    print(measure(way, precision, members, options), flush=True)
                except Exception as error:  # out of memory, say: the other rows still count
                    print(f"{way} {precision} {members}: {' '.join(str(error).split())[:300]}", flush=True)


if __name__ == "__main__":
    main()
