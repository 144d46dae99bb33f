"""The symmetries of every architecture of keras.applications, which nobody here wrote: traced and checked on the model.

    pip install -e ".[zoo]"
    python tests/benchmarks/zoo_keras.py [NAME ...] [--out zoo_keras.json]

Each network has ten classes, linear outputs, full width and small images. Weights are drawn at random: kernels with
variance 2/fan_in, gains in 0.5 ... 1.5, offsets normal with 0.1, and every moving mean and variance is what the layer
sees of a batch of noise, so that the outputs depend on the inputs (their spread over two inputs is in the table).
Seconds leave building the model out; ``jaxpr`` is what `jax.make_jaxpr` takes, most of it keras' own Python, ``trace``
what is spent on top of it. ``error`` is the largest change of the outputs, relative to the largest of them, under one
random element of all groups at once in double precision; ``dropped`` counts groups that failed and are not returned.
What is finished is kept in the file and not done again. With ``--eager`` the network is never compiled as a whole, only
its operations, one by one and most of them once for all networks (set JAX_COMPILATION_CACHE_DIR).
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import keras
import numpy as np
from keras import applications

from symjax.tracing import symmetries, verify

SIDES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
"""The smallest images that an architecture takes, where that is more than 32 pixels."""
NAMES = tuple(name for name, made in vars(applications).items() if name[0].isupper() and callable(made))


def build(name: str) -> tuple[Any, np.ndarray]:
    """A network with random weights, and two images."""
    side, rng = SIDES.get(name, 32), np.random.default_rng(0)
    options = {"weights": None, "classes": 10, "classifier_activation": None, "input_shape": (side, side, 3)}
    model = getattr(applications, name)(**options)
    for variable in model.variables:
        if np.issubdtype(np.dtype(variable.dtype), np.floating):
            variable.assign(_draw(rng, variable.path.rsplit("/", 1)[-1], tuple(variable.shape)))
    images = rng.normal(127.0, 60.0, (8, side, side, 3)).astype(np.float32)
    normalised = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalised:
        layer.momentum = 0.0  # one pass in training mode leaves the batch's own statistics
    if normalised:
        model(images, training=True)
    return model, images[:2]


def _draw(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if kind in ("gamma", "moving_variance", "variance"):
        return rng.uniform(0.5, 1.5, shape)
    if "kernel" in kind:
        fan_in = int(np.prod(shape[:-1])) if "depthwise" not in kind else int(np.prod(shape[:-2]))
        return rng.normal(0.0, (2.0 / fan_in) ** 0.5, shape)
    return rng.normal(0.0, 0.1, shape)


def examine(name: str, eager: bool = False) -> dict[str, Any]:
    """One row of the table."""
    model, x = build(name)
    variables = [
        [jax.numpy.asarray(one.value) for one in part]
        for part in (model.trainable_variables, model.non_trainable_variables)
    ]

    def apply(variables: Any, x: jax.Array) -> jax.Array:
        return model.stateless_call(*variables, x, training=False)[0]

    with jax.disable_jit(eager):
        outputs = np.asarray(jax.jit(apply)(variables, x))
    spread = float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs).max())
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (variables, x))
    started = time.perf_counter()
    jax.make_jaxpr(lambda variables, x: apply(variables, x))(*shapes)  # a function that jit has not seen
    jaxpr, started = time.perf_counter() - started, time.perf_counter()
    found = symmetries(lambda variables, x: apply(variables, x), *shapes)
    trace, started = time.perf_counter() - started - jaxpr, time.perf_counter()
    with jax.disable_jit(eager):
        derived, found = found, verify(found, variables, x, jax.random.key(0))
    return {
        "model": name,
        "parameters": sum(leaf.size for leaf in variables[0]),
        "equations": len(found.model.program.equations),
        "classes": len(found.permutations),
        "scalings": sum(scaling.dimension for scaling in found.scalings),
        "signs": len(found.signs),
        "linear": len(found.linear),
        "translations": sum(shift.dimension for shift in found.shifts),
        "dimension": found.dimension,
        "refused": sorted({refusal.primitive for refusal in derived.refused}),
        "dropped": [f"{item.kind} {item.name}" for item, _ in found.checked.failed],
        "error": found.checked.error,
        "sensitivity": found.checked.sensitivity,
        "spread": spread,
        "jaxpr": jaxpr,
        "trace": trace,
        "verify": time.perf_counter() - started,
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the checkout this file is in; nothing outside of one."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    counts = ("parameters", "equations", "classes", "scalings", "signs", "linear", "translations")
    names = ("model", *counts, "refused", "dropped", "error", "spread", "jaxpr s", "trace s", "verify s", "commit")
    lines = [" | ".join(("", *names, "")).strip(), "|".join(("", *("---" for _ in names), ""))]
    for row in sorted(rows, key=lambda row: row["model"]):
        cells = [row["model"], *(f"{row[key]:,}" for key in counts)]
        cells += [", ".join(row["refused"]) or "none", str(len(row["dropped"]))]
        cells += [f"{row[key]:.0e}" for key in ("error", "spread")]
        cells += [*(f"{row[key]:.1f}" for key in ("jaxpr", "trace", "verify")), row.get("commit", "")]
        lines.append(" | ".join(("", *cells, "")).strip())
    return "\n".join(lines)


def main() -> None:
    """Examine what is not yet in the file, smallest first, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], default=list(NAMES))
    parser.add_argument("--out", type=Path, default=Path("zoo_keras.json"))
    parser.add_argument("--eager", action="store_true", help="one operation at a time: what XLA takes long to compile")
    options = parser.parse_args()
    rows = json.loads(options.out.read_text()) if options.out.exists() else []
    for name in options.names:
        if name in {row["model"] for row in rows}:
            continue
        keras.utils.clear_session()
        rows.append(examine(name, options.eager))
        options.out.write_text(json.dumps(rows, indent=1))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
