"""Top-20 eigenvalues and spectral density of an MLP's Hessian, beside PyHessian, curvlinops and plain matfree.

    pip install -e ".[benchmarks]"
    python tests/benchmarks/bench_curvature.py [eigenvalues|density|all] [--size large|small|all] [--rounds 5]

The library compiles for one call and forgets, so each of its sides is a compiled caller, as a user's would be.
"large" is 784-128-10 (101,770 parameters) on 512 digits enlarged to 28x28, "small" 64-27-10 (2,035) on 512 digits;
tanh, cross-entropy, float32, after 100 steps of gradient descent. The sides run in one process on one core,
single-threaded (set before jax is imported), alternating; compilation is not timed. Ratios are medians over the rounds
of the pairwise ratios of CPU seconds, wall seconds beside them. Errors are the largest relative ones of the 20 against
SciPy's eigsh with float64 products (tolerance 1e-10).
"""

from alternating import alternate, one_core

if __name__ == "__main__":
    one_core()

import argparse
import importlib
import itertools
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
import torch
from curvlinops import HessianLinearOperator
from pyhessian import hessian as PyHessian
from sklearn.datasets import load_digits

from symjax import curvature

K, STEPS, PROBES = 20, 80, 4
WIDTHS = {"large": (784, 128, 10), "small": (64, 27, 10)}
Side = Callable[[], Any]


def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of a tanh network with one hidden layer."""
    (first, one), (second, two) = params
    logits = jnp.tanh(images @ first + one) @ second + two
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))


def problem(size: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """Parameters after some training, images and labels, in float32."""
    widths, side = WIDTHS[size], int(WIDTHS[size][0] ** 0.5)
    digits = load_digits()
    index = np.arange(side) * 8 // side
    images = digits.images[:512][:, index][:, :, index].reshape(512, -1).astype(np.float32) / 16 - 0.3
    labels = digits.target[:512].astype(np.int32)
    draws = np.random.default_rng(0)
    params = [
        ((draws.normal(size=(a, b)) / a**0.5).astype(np.float32), np.zeros(b, np.float32))
        for a, b in itertools.pairwise(widths)
    ]
    step = jax.jit(lambda q: jax.tree.map(lambda x, g: x - 0.1 * g, q, jax.grad(loss)(q, images, labels)))
    for _ in range(100):
        params = step(params)
    return params, images, labels


def in_torch(params: Any, images: np.ndarray, labels: np.ndarray) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The same network and batch."""
    (first, one), (second, two) = params
    layers = [torch.nn.Linear(*first.shape), torch.nn.Linear(*second.shape)]
    with torch.no_grad():
        for layer, kernel, bias in zip(layers, (first, second), (one, two), strict=True):
            layer.weight.copy_(torch.tensor(np.array(kernel).T))
            layer.bias.copy_(torch.tensor(np.array(bias)))
    model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    return model, torch.tensor(images), torch.tensor(labels).long()


def reference(params: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The K largest eigenvalues from float64 products, by ARPACK."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), params)
        flat, unravel = jax.flatten_util.ravel_pytree(wide)
        batch = jnp.asarray(images, jnp.float64)
        product = jax.jit(curvature.hvp(lambda q: loss(unravel(q), batch, labels), flat))
        operator = scipy.sparse.linalg.LinearOperator(
            (flat.size,) * 2, lambda v: np.asarray(product(v.ravel())), dtype=float
        )
        return np.sort(scipy.sparse.linalg.eigsh(operator, K, which="LA", tol=1e-10)[0])[::-1]


def legacy_eig(matrix: torch.Tensor, eigenvectors: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What PyHessian's density expects of `torch.eig`, which PyTorch no longer has: real parts in column 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack((values, torch.zeros_like(values)), 1), vectors


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.function(*args)


def eigenvalue_sides(size: str) -> tuple[dict[str, Side], dict[str, int]]:
    """Functions that return the K largest eigenvalues, and how many products each took."""
    module = importlib.import_module("pyhessian.hessian")  # the package's attribute of that name is the class
    params, images, labels = problem(size)
    model, inputs, targets = in_torch(params, images, labels)
    criterion, products = torch.nn.CrossEntropyLoss(), {}

    solve = jax.jit(partial(curvature.eigenvalues, loss, k=K))

    def ours() -> np.ndarray:
        found = solve(params, images, labels)
        products["symjax"] = int(found.products)
        assert bool(found.converged)
        return np.asarray(found.values)

    def pyhessian() -> np.ndarray:
        torch.manual_seed(0)
        counted = Counted(original)
        module.hessian_vector_product = counted
        values = PyHessian(model, criterion, data=(inputs, targets), cuda=False).eigenvalues(top_n=K)[0]
        products["PyHessian"] = counted.calls
        return np.sort(values)[::-1]

    original = module.hessian_vector_product

    def curvlinops() -> np.ndarray:
        operator = HessianLinearOperator(
            model, criterion, list(model.parameters()), [(inputs, targets)], check_deterministic=False
        ).to_scipy()
        counted = Counted(operator.matvec)
        wrapped = scipy.sparse.linalg.LinearOperator(operator.shape, counted, dtype=np.float32)
        values = scipy.sparse.linalg.eigsh(wrapped, K, which="LA", return_eigenvectors=True)[0]
        products["curvlinops"] = counted.calls
        return np.sort(values)[::-1]

    sides = {"symjax": ours, "PyHessian": pyhessian, "curvlinops": curvlinops}
    if size == "large":
        sides["matfree, 80 steps"] = plain_eigenvalues(params, images, labels, products)
    return sides, products


def plain_eigenvalues(params: Any, images: np.ndarray, labels: np.ndarray, products: dict[str, int]) -> Side:
    """matfree's own partial eigendecomposition with a guessed number of steps."""
    from matfree import decomp, eig

    solve = eig.eigh_partial(decomp.tridiag_sym(80, custom_vjp=False))

    @jax.jit
    def run(params: Any, images: jax.Array, labels: jax.Array) -> Any:
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        product = curvature.hvp(lambda q: loss(unravel(q), images, labels), flat)
        values, vectors = solve(product, jax.random.normal(jax.random.key(0), flat.shape))
        return values[::-1][:K], vectors[::-1][:K]

    def side() -> np.ndarray:
        products["matfree, 80 steps"] = 80
        return np.asarray(run(params, images, labels)[0])

    return side


def density_sides(size: str) -> dict[str, Side]:
    """Functions that return nodes and weights of PROBES Lanczos runs of STEPS steps."""
    from matfree import decomp, funm, stochtrace

    params, images, labels = problem(size)
    model, inputs, targets = in_torch(params, images, labels)
    torch.eig = legacy_eig

    estimate = jax.jit(partial(curvature.density, loss, steps=STEPS, probes=PROBES))

    def ours() -> Any:
        return jax.block_until_ready(estimate(params, images, labels, key=jax.random.key(0)))

    def pyhessian() -> Any:
        operator = PyHessian(model, torch.nn.CrossEntropyLoss(), data=(inputs, targets), cuda=False)
        return operator.density(iter=STEPS, n_v=PROBES)

    @jax.jit
    def smoothed(params: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> jax.Array:
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        product = curvature.hvp(lambda q: loss(unravel(q), images, labels), flat)
        bump = funm.dense_funm_sym_eigh(lambda x: jnp.exp(-((x - 1.0) ** 2)))
        integrand = funm.monte_carlo_funm_sym(bump, decomp.tridiag_sym(STEPS))
        sampler = stochtrace.sampler_signs(flat, num=PROBES)
        return stochtrace.estimator_monte_carlo(integrand, sampler)(product, key)

    def matfree() -> Any:
        return jax.block_until_ready(smoothed(params, images, labels, jax.random.key(0)))

    @jax.jit
    def powers(params: Any, images: jax.Array, labels: jax.Array, starts: jax.Array) -> jax.Array:
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        product = jax.vmap(curvature.hvp(lambda q: loss(unravel(q), images, labels), flat))
        return jax.lax.fori_loop(0, STEPS, lambda _, v: product(v / jnp.linalg.norm(v, axis=1, keepdims=True)), starts)

    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    starts = jax.random.rademacher(jax.random.key(0), (PROBES, count), jnp.float32)

    def products() -> Any:
        return jax.block_until_ready(powers(params, images, labels, starts))

    return {"symjax": ours, "PyHessian": pyhessian, "matfree": matfree, "the products alone": products}


def report(rows: dict[str, list[tuple[float, float]]], notes: dict[str, str]) -> None:
    """One line a side: median seconds, ratio of symjax to it with the range over rounds, and what it found."""
    for name, times in rows.items():
        cpu, wall = (statistics.median(row[i] for row in times) for i in (0, 1))
        ratios = [[a[i] / b[i] for a, b in zip(rows["symjax"], times, strict=True)] for i in (0, 1)]
        middle = statistics.median(ratios[0])
        print(
            f"  {name:18} {cpu:8.3f} CPU s {wall:8.3f} s  symjax/this {middle:.3f} ({min(ratios[0]):.3f} to "
            f"{max(ratios[0]):.3f}), wall {statistics.median(ratios[1]):.3f}{notes.get(name, '')}",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", default="all", choices=("eigenvalues", "density", "all"))
    parser.add_argument("--size", default="all", choices=("large", "small", "all"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"jax {jax.__version__}, torch {torch.__version__}, {jax.devices()[0].platform}, one thread")
    for size in ("large", "small") if given.size == "all" else (given.size,):
        if given.what != "density":
            exact = reference(*problem(size))
            sides, products = eigenvalue_sides(size)
            errors = {name: np.max(np.abs(side() - exact) / np.abs(exact)) for name, side in sides.items()}
            print(f"{size}: {K} largest eigenvalues, {exact[0]:.4g} to {exact[-1]:.4g}")
            report(
                alternate(sides, given.rounds),
                {name: f", {products[name]} products, error {errors[name]:.1e}" for name in sides},
            )
        if given.what != "eigenvalues":
            print(f"{size}: density, {STEPS} steps, {PROBES} probes")
            report(alternate(density_sides(size), given.rounds), {})


if __name__ == "__main__":
    main()
