"""Seconds of tracing, from shapes and without the check, above those of `jax.make_jaxpr` on the same function.

    python tests/benchmarks/bench_tracing.py [--rounds 5]

The architectures of keras.applications need ``pip install -e ".[zoo]"`` and are left out without it. Of each model both
sides take turns in one process of its own, on functions that jax has not seen before, after one round that warms up:
medians of CPU seconds, the difference pair by pair. The transformers are of Llama's shape (RMSNorm with gain, rotary
positions, grouped queries, SwiGLU): at 32 layers 8 billion parameters, which are never made; ``cold`` is the first call
of a process, everything included, ``MB`` the largest resident memory of a process that did nothing but this.
"""

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from alternating import alternate, one_core

KERAS = {"ResNet50": 1.0, "DenseNet121": 3.0, "NASNetMobile": 3.0}
LIMIT_LLAMA, LIMIT_MEGABYTES, LIMIT_LINEAR = 2.0, 500, 1.5
LAYERS = (4, 8, 16, 32)


def llama(layers: int) -> tuple[Callable, Any, Any]:
    """A function, and the shapes of its parameters and input: width 4096, 32 query and 8 key heads of 128."""
    import jax
    import jax.numpy as jnp

    width, heads, groups, size, inner, words = 4096, 32, 8, 128, 14_336, 128_256

    def norm(x: Any, gain: Any) -> Any:
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5) * gain

    def rotate(x: Any) -> Any:
        angle = jnp.arange(x.shape[1])[:, None] / 500_000.0 ** (jnp.arange(size // 2) / (size // 2))
        cos, sin = jnp.cos(angle)[None, :, None], jnp.sin(angle)[None, :, None]
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def block(p: Any, x: Any) -> Any:
        y = norm(x, p["norm0"])
        q, k, v = (jnp.einsum("btc,chd->bthd", y, p[name]) for name in "qkv")
        q, k = rotate(q), jnp.repeat(rotate(k), heads // groups, 2)
        logits = jnp.einsum("bthd,bshd->bhts", q, k) / size**0.5
        logits = jnp.where(jnp.tril(jnp.ones((x.shape[1],) * 2, bool)), logits, -1e30)
        v = jnp.repeat(v, heads // groups, 2)
        x = x + jnp.einsum("bthd,hdc->btc", jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits), v), p["o"])
        y = norm(x, p["norm1"])
        return x + (jax.nn.silu(y @ p["gate"]) * (y @ p["up"])) @ p["down"]

    def apply(params: Any, tokens: Any) -> Any:
        x = params["embed"][tokens]
        for p in params["blocks"]:
            x = block(p, x)
        return norm(x, params["norm"]) @ params["head"]

    one = {"norm0": (width,), "q": (width, heads, size), "k": (width, groups, size), "v": (width, groups, size)}
    one |= {"o": (heads, size, width), "norm1": (width,), "gate": (width, inner), "up": (width, inner)}
    one["down"] = (inner, width)
    shapes = {"embed": (words, width), "blocks": [one] * layers, "norm": (width,), "head": (width, words)}
    params = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, jnp.float32), shapes, is_leaf=lambda s: type(s) is tuple)
    return apply, params, jax.ShapeDtypeStruct((1, 16), jnp.int32)


def keras_model(name: str) -> tuple[Callable, Any, Any]:
    """An architecture of keras.applications at 32 pixels, as a function and shapes."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    from keras import applications

    options = {"weights": None, "classes": 10, "classifier_activation": None, "input_shape": (32, 32, 3)}
    model = getattr(applications, name)(**options)
    parts = model.trainable_variables, model.non_trainable_variables
    variables = [[jax.ShapeDtypeStruct(tuple(one.shape), one.dtype) for one in part] for part in parts]

    def apply(variables: Any, x: Any) -> Any:
        return model.stateless_call(*variables, x, training=False)[0]

    return apply, variables, jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")


def measure(name: str, rounds: int) -> dict[str, float]:
    """One row, in this process."""
    import jax

    from symjax.tracing import symmetries

    apply, variables, x = llama(int(name)) if name.isdigit() else keras_model(name)
    started = time.process_time()
    found = symmetries(lambda v, x: apply(v, x), variables, x)
    cold = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # of Linux, in KiB
    sides = {
        "make_jaxpr": lambda: jax.make_jaxpr(lambda v, x: apply(v, x))(variables, x),
        "symmetries": lambda: symmetries(lambda v, x: apply(v, x), variables, x),
    }
    rows = alternate(sides, rounds)
    seconds = {side: [cpu for cpu, _ in rows[side]] for side in sides}
    above = [b - a for a, b in zip(*seconds.values(), strict=True)]
    return {
        "equations": len(found.model.program.equations),
        "dimension": found.dimension,
        **{side: statistics.median(values) for side, values in seconds.items()},
        "above": statistics.median(above),
        "most": max(above),
        "cold": cold,
        "MB": peak,
    }


def fresh(name: str, rounds: int) -> dict[str, float]:
    """One row, in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--rounds", str(rounds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Print the rows, and what is held against the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    one_core()
    if given.one:
        print(json.dumps(measure(given.one, given.rounds)))
        return
    names = [*map(str, LAYERS), *(KERAS if importlib.util.find_spec("keras") else ())]
    print(
        "| model | equations | dimension | make_jaxpr s | symmetries s | above s | cold s | MB |\n" + "|---" * 8 + "|"
    )
    rows = {}
    for name in names:
        row = rows[name] = fresh(name, given.rounds)
        cells = [f"llama, {name} layers" if name.isdigit() else name]
        cells += [f"{row['equations']:,}", f"{row['dimension']:,}"]
        cells += [f"{row[key]:.2f}" for key in ("make_jaxpr", "symmetries", "above", "cold")]
        print(f"| {' | '.join(cells)} | {row['MB']:.0f} |", flush=True)
    for name, limit in KERAS.items():
        if name in rows:
            print(f"{name}: {rows[name]['above']:.2f} s above make_jaxpr, at most {limit:g}")
    first, last = rows[str(LAYERS[0])], rows[str(LAYERS[-1])]
    ratio = last["symmetries"] / first["symmetries"] / (LAYERS[-1] / LAYERS[0])
    print(f"llama, {LAYERS[-1]} layers: {last['symmetries']:.2f} s ({last['cold']:.2f} cold), at most {LIMIT_LLAMA:g};")
    print(f"  {last['MB']:.0f} MB, at most {LIMIT_MEGABYTES}; {ratio:.2f} times linear, at most {LIMIT_LINEAR}")


if __name__ == "__main__":
    main()
