"""What curvature promises of itself: fresh programs, residuals that were measured, equivariance, types at the door."""

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import curvature

KEY = jax.random.key


@pytest.fixture(autouse=True)
def promotion_as_users_have_it() -> Iterator[None]:
    """The losses here mix types on purpose."""
    with jax.numpy_dtype_promotion("standard"):
        yield


CALLS: dict[str, Callable[[Any, Any], jax.Array]] = {
    "hvp": lambda loss, q: curvature.hvp(loss, q)(jnp.ones_like(q))[0],
    "hessian": lambda loss, q: curvature.hessian(loss, q)[0, 0],
    "hessian in chunks": lambda loss, q: curvature.hessian(loss, q, method="chunks")[0, 0],
    "eigenvalues": lambda loss, q: curvature.eigenvalues(loss, q, k=1).values[0],
    "trace": lambda loss, q: curvature.trace(loss, q, key=KEY(0)).value,
    "xtrace": lambda loss, q: curvature.trace(loss, q, key=KEY(0), probes=2, estimator="xtrace").value,
    "density": lambda loss, q: jnp.mean(curvature.density(loss, q, key=KEY(0), steps=1).nodes),
}

# Stale programs


@pytest.mark.parametrize("name", CALLS)
def test_a_loss_that_reads_what_has_changed_is_read_again(name: str) -> None:
    batch = [jnp.eye(2)]
    first = CALLS[name](lambda q: jnp.mean((batch[0] @ q) ** 2), jnp.ones(2))

    def loss(q: jax.Array) -> jax.Array:
        return jnp.mean((batch[0] @ q) ** 2)

    found = []
    for scale in (1.0, 3.0):
        batch[0] = scale * jnp.eye(2)
        found.append(float(CALLS[name](loss, jnp.ones(2))))
    np.testing.assert_allclose(found, [float(first), 9 * float(first)], rtol=1e-12)


@dataclasses.dataclass
class Penalty:
    """A loss that is an object, which cannot be hashed."""

    weight: float = 1.0

    def __call__(self, q: jax.Array) -> jax.Array:
        return self.weight * jnp.sum(q**2)


@pytest.mark.parametrize("name", CALLS)
def test_a_loss_may_be_an_object_whose_attribute_changes(name: str) -> None:
    loss = Penalty()
    first = float(CALLS[name](loss, jnp.ones(2)))
    loss.weight = 5.0
    np.testing.assert_allclose(float(CALLS[name](loss, jnp.ones(2))), 5 * first, rtol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_of_the_users_function_is_kept(name: str) -> None:
    class Loss:
        def __call__(self, q: jax.Array) -> jax.Array:
            return jnp.sum(q**2)

    loss = Loss()
    CALLS[name](loss, jnp.ones(2))
    kept = weakref.ref(loss)
    del loss
    gc.collect()
    assert kept() is None


def test_a_compiled_caller_compiles_once() -> None:
    traced = []

    @jax.jit
    def sharpest(q: jax.Array, x: jax.Array) -> jax.Array:
        def loss(q: jax.Array, x: jax.Array) -> jax.Array:
            traced.append(None)
            return jnp.sum((x * q) ** 2)

        return curvature.eigenvalues(loss, q, x, k=1).values[0]

    for scale in (1.0, 2.0, 3.0):
        assert float(sharpest(jnp.ones(3), scale * jnp.ones(3))) == pytest.approx(2 * scale**2, rel=1e-12)
    assert len(traced) == 1


# Residuals that were measured


def symmetric(n: int, seed: int = 0) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(n, n))
    return (a + a.T) / 2


def assert_honest(found: curvature.Eigenvalues, spectrum: np.ndarray, residuals: np.ndarray | None = None) -> None:
    """Within twice the residual of a true eigenvalue, whatever `converged` says."""
    near = np.array([np.abs(spectrum - value).min() for value in np.asarray(found.values, float)])
    assert np.all(near <= 2 * np.asarray(found.residuals) + 1e-5 * np.abs(spectrum).max())
    if residuals is not None:
        assert np.all(residuals <= 1.01 * np.asarray(found.residuals))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("n", [12, 100])  # formed, iterated
def test_leaves_of_low_precision(n: int, dtype: Any) -> None:
    a = jnp.asarray(symmetric(n), jnp.float32)

    def loss(q: dict[str, jax.Array]) -> jax.Array:
        v = jnp.concatenate([q["a"].astype(jnp.float32), q["b"]])
        return v @ a @ v / 2

    params = {"a": jnp.zeros(n // 2, dtype), "b": jnp.zeros(n - n // 2, jnp.float32)}
    found = curvature.eigenvalues(loss, params, k=3)
    assert found.values.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(found.vectors)} == {jnp.dtype(jnp.float32)}
    assert_honest(found, np.linalg.eigvalsh(np.asarray(a, float)))
    # a rounding of 2^-9 in every product is no residual below a thousandth, one of 2^-11 may be
    assert dtype == jnp.float16 or not bool(found.converged)
    loose = curvature.eigenvalues(loss, params, k=3, tolerance=0.1)
    assert bool(loose.converged)


def test_a_loss_computed_in_half_precision() -> None:
    keys = jax.random.split(KEY(1))
    x, w = (jax.random.normal(key, shape, jnp.float32) for key, shape in zip(keys, ((64, 100), (100,)), strict=True))

    def loss(q: jax.Array) -> jax.Array:
        return jnp.mean(jnp.tanh(x.astype(jnp.bfloat16) @ q.astype(jnp.bfloat16)).astype(jnp.float32) ** 2)

    dense = np.asarray(curvature.hessian(loss, 0.1 * w), float)
    found = curvature.eigenvalues(loss, 0.1 * w, k=3)
    assert_honest(found, np.linalg.eigvalsh((dense + dense.T) / 2))
    assert not bool(found.converged)


@pytest.mark.slow  # a large program
def test_a_saturated_softmax_in_float32() -> None:
    """Second derivatives of 1e-11 beside probabilities of one; the oracle is float64's Hessian."""
    keys = jax.random.split(KEY(1))
    points, weights = jax.random.normal(keys[0], (64, 20)), jax.random.normal(keys[1], (20, 3))
    order = jnp.sort(points @ weights, axis=1)
    points = points[order[:, 2] - order[:, 1] > 1]
    labels = jnp.argmax(points @ weights, axis=1)

    def loss(w: jax.Array, x: jax.Array) -> jax.Array:
        logits = x @ w
        chosen = jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)

    spectrum = np.linalg.eigvalsh(curvature.hessian(loss, 20 * weights, points))
    found = curvature.eigenvalues(loss, (20 * weights).astype(jnp.float32), points.astype(jnp.float32), k=3)
    assert not bool(found.converged)
    assert np.all(np.asarray(found.asymmetry) > 0.1 * np.asarray(found.values)), "no Hessian is"
    exact = curvature.eigenvalues(loss, 20 * weights, points, k=3)
    assert bool(exact.converged)
    # the third, 5e-15, comes from probabilities of one, which are known to 1e-16
    np.testing.assert_allclose(exact.values, spectrum[::-1][:3], rtol=1e-3, atol=1e-16)


@pytest.mark.parametrize("n", [8, 60])  # formed, iterated
def test_an_operator_that_is_not_symmetric_is_told(n: int) -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(size=(n, n))
    matrices = {
        "preconditioned": (h @ h.T / n) / np.geomspace(1, 100, n)[:, None],
        "skew": symmetric(n) + 3 * (h - h.T),
        "slightly": symmetric(n) + 0.02 * (h - h.T),
    }
    solve = jax.jit(lambda m: curvature.eigenvalues(lambda v, m: m @ v, jnp.zeros(n), m, k=2, operator="product"))
    for matrix in matrices.values():
        found = solve(jnp.asarray(matrix))
        assert not bool(found.converged)
        vectors, values = np.asarray(found.vectors), np.asarray(found.values)
        residuals = np.linalg.norm(vectors @ matrix.T - values[:, None] * vectors, axis=1)
        assert np.all(residuals <= 1.01 * np.asarray(found.residuals))
        defect = np.linalg.norm(vectors @ (matrix - matrix.T), axis=1)
        # a root mean square over four normal draws
        assert np.all(found.asymmetry > 0.1 * defect) and np.all(found.asymmetry < 3 * defect)


def test_a_product_that_is_not_linear_is_told() -> None:
    a = jnp.asarray(symmetric(60))
    found = curvature.eigenvalues(
        lambda v: a @ v + 0.1 * jnp.abs(a) @ jnp.abs(v), jnp.zeros(60), k=2, operator="product"
    )
    assert not bool(found.converged)


@pytest.mark.parametrize("n", [12, 100])
def test_residuals_bound_the_error_of_a_symmetric_operator(n: int) -> None:
    """Loose tolerances, where values still move: the bound holds for each, and the asymmetry is round-off."""
    a = symmetric(n, 1)
    solve = jax.jit(
        lambda tolerance: curvature.eigenvalues(
            lambda v: jnp.asarray(a) @ v, jnp.zeros(n), k=3, operator="product", tolerance=tolerance
        )
    )
    for tolerance in (0.3, 1e-2, 1e-6):
        found = solve(tolerance)
        vectors, values = np.asarray(found.vectors), np.asarray(found.values)
        true = np.linalg.norm(vectors @ a - values[:, None] * vectors, axis=1)
        assert bool(found.converged)
        assert np.all(true <= 1.01 * np.asarray(found.residuals))
        assert np.all(np.asarray(found.residuals) <= tolerance * np.abs(values))
        np.testing.assert_allclose(found.asymmetry, 0, atol=1e-13 * values[0])


def test_the_lanczos_relation_keeps_to_round_off() -> None:
    """A cluster at the far end pulls round-off along the kept vectors; the tight end must still converge."""
    spectrum = np.concatenate(([10, 9.99, 9.98, 9.97], np.linspace(0, 1, 116)))
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(120, 120)))
    a = jnp.asarray(basis @ np.diag(spectrum) @ basis.T)
    solve = jax.jit(
        lambda key: curvature.eigenvalues(
            lambda v: a @ v, jnp.zeros(120), k=5, which="smallest", operator="product", tolerance=1e-6, key=key
        )
    )
    for seed in range(5):
        found = solve(KEY(seed))
        assert bool(found.converged)
        np.testing.assert_allclose(found.values, np.sort(spectrum)[:5], atol=1e-12)


# Scale

SCALES = (1e-30, 1e-25, 1e-19, 1e-10, 1.0, 1e10, 1e19, 1e25, 1e30)


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("n", [12, 60])
def test_eigenvalues_are_equivariant_under_scale_in_float32(n: int, which: str) -> None:
    a = symmetric(n).astype(np.float32)
    spectrum = np.sort(np.linalg.eigvalsh(a.astype(float)))[:: -1 if which == "largest" else 1][:3]
    solve = jax.jit(
        lambda b: curvature.eigenvalues(
            lambda v, b: b @ v, jnp.zeros(n, jnp.float32), b, k=3, operator="product", which=which
        )
    )
    for scale in SCALES:
        found = solve(jnp.asarray(a * np.float32(scale)))
        assert bool(found.converged), scale
        np.testing.assert_allclose(np.asarray(found.values, float) / scale, spectrum, rtol=1e-4)
        assert np.all(np.asarray(found.residuals, float) <= 1e-3 * np.abs(np.asarray(found.values, float)))


def test_a_loss_of_any_size_in_float32() -> None:
    """All of the module on one loss; the oracle is the loss of size one in float64."""
    x = np.random.default_rng(3).normal(size=(9, 4))

    def loss(q: jax.Array, scale: jax.Array) -> jax.Array:
        return scale * jnp.sum(jnp.tanh(jnp.asarray(x, q.dtype) @ q) ** 2)

    q = 0.3 * np.ones(4)
    dense = np.asarray(curvature.hessian(loss, jnp.asarray(q), 1.0))
    spectrum = np.linalg.eigvalsh(dense)[::-1]

    @jax.jit
    def everything(q: jax.Array, scale: jax.Array) -> tuple[Any, ...]:
        spectral = curvature.density(loss, q, scale, key=KEY(0), steps=4, probes=2)
        return (
            curvature.hvp(loss, q, scale)(jnp.ones(4, q.dtype)),
            curvature.hessian(loss, q, scale),
            curvature.eigenvalues(loss, q, scale, k=2).values,
            curvature.trace(loss, q, scale, key=KEY(0), probes=64),
            curvature.trace(loss, q, scale, key=KEY(0), probes=4, estimator="xtrace"),
            spectral,
            spectral.at(scale * jnp.linspace(-1, 2, 7), 0.1 * scale),
        )

    one = everything(jnp.asarray(q, jnp.float32), jnp.float32(1))
    for scale in SCALES:
        found = everything(jnp.asarray(q, jnp.float32), jnp.float32(scale))
        product, matrix, values, hutchinson, xtrace, spectral, smooth = (
            jax.tree.map(lambda leaf: np.asarray(leaf, float), part) for part in found
        )
        size = np.abs(dense).max()
        np.testing.assert_allclose(product / scale, dense.sum(axis=1), atol=1e-5 * size)
        np.testing.assert_allclose(matrix / scale, dense, atol=1e-5 * size)
        np.testing.assert_allclose(values / scale, spectrum[:2], rtol=1e-4)
        assert abs(hutchinson.value / scale - np.trace(dense)) < 5 * hutchinson.error / scale
        np.testing.assert_allclose(hutchinson.error / scale, one[3].error, rtol=1e-4)
        np.testing.assert_allclose(xtrace.value / scale, np.trace(dense), rtol=1e-5)
        np.testing.assert_allclose(spectral.nodes / scale, one[5].nodes, atol=1e-4 * size)
        np.testing.assert_allclose(spectral.weights, one[5].weights, atol=1e-3)
        np.testing.assert_allclose(smooth * scale, one[6], atol=1e-2)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_xtrace_has_no_absolute_threshold(scale: float) -> None:
    """Rank 20 seen through 10 probes: with one, 1e-12 was taken for rank-deficient, at 57 % of the trace."""
    u = np.random.default_rng(0).normal(size=(200, 20))
    a = jnp.asarray(u @ u.T, jnp.float32) * jnp.float32(scale)
    found = curvature.trace(
        lambda v, a: a @ v,
        jnp.zeros(200, jnp.float32),
        a,
        key=KEY(1),
        probes=10,
        operator="product",
        estimator="xtrace",
    )
    value, error = float(found.value) / scale, float(found.error) / scale
    assert 0 < error < 0.2 * np.sum(u**2) and abs(value - np.sum(u**2)) < 4 * error


# Types at the door


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "params",
    [np.array([1, 1]), jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float16)],
    ids=["integers", "bfloat16", "float16"],
)
def test_types_of_parameters(name: str, params: Any) -> None:
    """``|q|^2`` has the Hessian 2 in every type, up to the rounding of a unit vector."""
    found = CALLS[name](lambda q: jnp.sum(q**2), params if name != "hvp" else jnp.asarray(params, float))
    assert float(found) == pytest.approx(4.0 if "trace" in name else 2.0, rel=1e-3)


def test_lists_and_numbers_as_parameters() -> None:
    def loss(q: list[jax.Array]) -> jax.Array:
        return q[0] ** 2 + 3 * q[1] ** 2

    np.testing.assert_allclose(curvature.hessian(loss, [1, 2.0]), np.diag([2.0, 6.0]))
    np.testing.assert_allclose(curvature.eigenvalues(loss, [1, 2], k=2).values, [6, 2], rtol=1e-12)
    assert curvature.hvp(loss, [1, 2.0])([1, 1])[1] == 6
    assert float(curvature.trace(loss, [1, 2], key=KEY(0)).value) == 8


def test_flags_names_and_objects_reach_the_loss_unchanged() -> None:
    def loss(q: jax.Array, train: bool, mode: str, power: int, x: np.ndarray, weigh: Penalty) -> jax.Array:
        assert train is True and mode == "sum" and type(power) is int and isinstance(x, jax.core.Tracer)
        return jnp.sum(x * q**power) + weigh(q)

    args = (True, "sum", 2, np.ones(3), Penalty(0.5))
    assert float(curvature.eigenvalues(loss, jnp.ones(3), *args, k=1).values[0]) == pytest.approx(3)
    assert float(curvature.trace(loss, jnp.ones(3), *args, key=KEY(0)).value) == pytest.approx(9)
    assert float(curvature.hessian(loss, jnp.ones(3), *args)[0, 0]) == pytest.approx(3)


def test_a_density_at_lists_and_numbers() -> None:
    found = curvature.density(lambda q: jnp.sum(q**2), jnp.ones(3), key=KEY(0), steps=1)
    peak = 1 / (0.1 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found.at([0, 2.0], 0.1), [0, peak], atol=1e-12)
    np.testing.assert_allclose(found.at(2, 0.1), peak, rtol=1e-12)
    with pytest.raises(ValueError, match="points is 'all', but must be an array of real numbers"):
        found.at("all", 0.1)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda q: q**2, "the loss gives an array of shape"),
        (lambda q: (jnp.sum(q), q), "the value of the loss is a tuple"),
        (lambda q: None, "the value of the loss is None"),
        (lambda q: jnp.sum(q) > 0, "the value of the loss is"),
    ],
)
def test_what_is_no_scalar_loss_is_refused(name: str, loss: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as told:
        CALLS[name](loss, jnp.ones(2))
    assert "\n" not in str(told.value)
