"""Orbit dimensions against ranks of generators, and moments at initialisation against quadrature and samples."""

from fractions import Fraction
from functools import partial
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import conserved
from symjax.actions import general_linear, hidden_coordinates, skew
from symjax.activations import get
from symjax.channels import Layer, mlp_channels, scalings
from symjax.symmetry import Symmetry

SHAPES = [(2, 3, 4), (2, 4, 2), (1, 4, 1)]  # generic, wider than both ends, wider than their sum


def flow(s: jax.Array, params: tuple[jax.Array, jax.Array], group: str) -> tuple[jax.Array, jax.Array]:
    """To first order in s, which is all that generators see."""
    h = params[0].shape[1]
    m = {"general_linear": lambda: s, "orthogonal": lambda: skew(s, h), "positive_diagonal": lambda: jnp.diag(s)}[
        group
    ]()
    return params[0] - params[0] @ m, params[1] + m @ params[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_orbit_dimension_is_the_rank_of_the_generators(shape: tuple[int, int, int]) -> None:
    m, h, n = shape
    rng = np.random.default_rng(0)
    params = jnp.asarray(rng.standard_normal((m, h))), jnp.asarray(rng.standard_normal((h, n)))
    coordinates = {"general_linear": (h, h), "orthogonal": (h * (h - 1) // 2,), "positive_diagonal": (h,)}

    @jax.jit
    def ranks(q: tuple[jax.Array, jax.Array]) -> dict[str, conserved.Rank]:
        flows = {group: partial(flow, group=group) for group in coordinates}
        return {
            group: conserved.generator_rank(Symmetry(flows[group], jnp.zeros(zero)), q)
            for group, zero in coordinates.items()
        }

    for group, rank in ranks(params).items():
        assert int(rank.rank) == conserved.orbit_dimension(group, m, h, n)
        assert float(rank.gap) > 1e6
    assert conserved.orbit_dimension("tanh", m, h, n) == conserved.orbit_dimension("sigmoid", m, h, n) == 0
    assert conserved.orbit_dimension("cube", m, h, n) == h
    assert conserved.orbit_dimension("linear", m, h, n) == conserved.orbit_dimension(get("linear"), m, h, n)


def test_orbit_dimension_is_the_rank_of_the_library_s_own_flows() -> None:
    """And for the homogeneous radial activation, whose scalings are beside its rotations, one more."""
    m, h, n = SHAPES[1]
    rng = np.random.default_rng(2)
    kernels = jnp.asarray(rng.standard_normal((n, h))), jnp.asarray(rng.standard_normal((h, m)))
    layers = Layer(kernels[0], jnp.zeros(h)), Layer(kernels[1], jnp.zeros(m))
    channels = mlp_channels(layers, get("cube").degree)

    def radial(s: tuple[jax.Array, jax.Array], q: tuple[Layer, ...]) -> tuple[Layer, ...]:
        first, second = general_linear(s[0], q, activation="radial")
        factor = jnp.exp(s[1])  # of degree -1: readers and writers grow together
        return first._replace(kernel=first.kernel * factor), second._replace(kernel=second.kernel * factor)

    flows = {
        "linear": Symmetry(partial(general_linear, activation="linear"), hidden_coordinates(layers)),
        "squash": Symmetry(partial(general_linear, activation="squash"), hidden_coordinates(layers, 0, "squash")),
        "cube": scalings(channels, "rescale"),
        "radial": Symmetry(radial, (hidden_coordinates(layers, 0, "radial"), jnp.zeros(()))),
    }

    @jax.jit
    def ranks(q: tuple[Layer, ...]) -> dict[str, conserved.Rank]:
        return {name: conserved.generator_rank(symmetry, q) for name, symmetry in flows.items()}

    for name, rank in ranks(layers).items():
        assert int(rank.rank) == conserved.orbit_dimension(name, m, h, n), name
        assert float(rank.gap) > 1e6
    assert conserved.orbit_dimension("radial", m, h, n) == h * (h - 1) // 2 + 1
    assert conserved.orbit_dimension("orthogonal", m, h, n) == h * (h - 1) // 2


def test_rank_of_what_is_not_a_number_is_no_rank() -> None:
    diagonal = Symmetry(partial(flow, group="positive_diagonal"), jnp.zeros(2))
    for bad in (jnp.nan, jnp.inf):
        params = jnp.array([[1.0, bad], [2.0, 0.0]]), jnp.array([[1.0], [0.0]])
        assert int(conserved.generator_rank(diagonal, params).rank) == -1


def test_a_degenerate_point_has_a_smaller_orbit() -> None:
    """A neuron without weights is not moved by its scaling; the matrix itself against the definition."""
    params = jnp.array([[1.0, 0.0], [2.0, 0.0]]), jnp.array([[1.0], [0.0]])
    diagonal = Symmetry(partial(flow, group="positive_diagonal"), jnp.zeros(2))
    assert int(conserved.generator_rank(diagonal, params).rank) == 1
    matrix = conserved.generator_matrix(diagonal, params)
    np.testing.assert_array_equal(matrix[:, 0], [-1, 0, -2, 0, 1, 0])
    np.testing.assert_array_equal(matrix[:, 1], 0)


def test_rank_in_float32_under_jit_and_vmap() -> None:
    rng = np.random.default_rng(1)
    params = tuple(jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((3, 2, 4), (3, 4, 2)))
    ranks = jax.jit(
        jax.vmap(
            lambda q: conserved.generator_rank(
                Symmetry(partial(flow, group="general_linear"), jnp.zeros((4, 4), "float32")), q
            )
        )
    )(params)
    assert ranks.rank.tolist() == [conserved.orbit_dimension("general_linear", 2, 4, 2)] * 3
    assert ranks.singular_values.dtype == jnp.float32


def exact_moments(name: str, m: int, h: int, n: int) -> tuple[float, float]:
    """Mean and variance of the total Q by Gauss-Hermite quadrature of the table, entry by entry."""
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / np.sqrt(2 * np.pi)
    x = node / np.sqrt(n)
    term = {
        "linear": lambda: x**2,
        "tanh": lambda: np.cosh(x) ** 2,
        "sigmoid": lambda: x + np.exp(x),
        # half of the Gaussian: even powers on one side
        "relu": lambda: None,
    }[name]()
    if name == "relu":
        mean, square = 0.5 / n, 1.5 / n**2
    else:
        mean, square = weight @ term, weight @ term**2
    factor = 0.5 if name == "sigmoid" else 1.0
    readers = factor * m, factor**2 * m * h * 2 / h**2
    return readers[0] - n * h * mean, readers[1] + n * h * (square - mean**2)


@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("shape", [(5, 50, 10), (100, 200, 100), (1, 2, 3)])
def test_moments_against_quadrature(name: str, shape: tuple[int, int, int]) -> None:
    expected = exact_moments(name, *shape)
    moments = conserved.xavier_moments(name, *shape)
    np.testing.assert_allclose(moments, expected, rtol=1e-9)
    half = conserved.xavier_moments(name, *shape, scale="half")
    factor = 1 if name == "sigmoid" else 2
    np.testing.assert_allclose(half, (moments.mean / factor, moments.variance / factor**2), rtol=1e-15)


def test_an_unknown_symmetry_is_refused() -> None:
    with pytest.raises(ValueError, match="symmetry is 'GL', but it must be one of general_linear, positive_diagonal, "):
        conserved.orbit_dimension("GL", 2, 3, 4)


def test_moments_of_figures_4_and_5() -> None:
    printed = {"linear": (0, 4), "relu": (50, 3.25), "tanh": (-10001.01, 4.08), "sigmoid": (-10000.13, 403.0)}
    for name, expected in printed.items():
        np.testing.assert_allclose(conserved.xavier_moments(name, 100, 100, 100), expected, rtol=1e-3, atol=0.005)
    assert conserved.xavier_moments("linear", 100, 200, 100) == (-100, 5)
    assert conserved.xavier_moments("linear", 200, 100, 100) == (100, 6)


@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "sigmoid"])
def test_moments_against_samples(name: str) -> None:
    m, h, n, draws = 20, 30, 25, 1000
    rng = np.random.default_rng(4)
    u = jnp.asarray(rng.standard_normal((draws, m, h)) / np.sqrt(h))
    v = jnp.asarray(rng.standard_normal((draws, h, n)) / np.sqrt(n))
    totals = np.asarray(jnp.sum(jax.vmap(partial(conserved.pointwise, activation=name, scale="paper"))(u, v), axis=1))
    mean, variance = conserved.xavier_moments(name, m, h, n)
    assert abs(totals.mean() - mean) < 4 * np.sqrt(variance / draws)
    assert abs(totals.var(ddof=1) / variance - 1) < 0.15


def test_a_flow_without_coordinates_has_rank_zero() -> None:
    """Rotations of one dimension, and no channel at all."""
    layers = Layer(jnp.ones((2, 1)), jnp.zeros(1)), Layer(jnp.ones((1, 2)), jnp.zeros(2))
    act = partial(general_linear, activation="radial")
    for rank in (
        conserved.generator_rank(Symmetry(act, hidden_coordinates(layers, 0, "radial")), layers),
        jax.jit(lambda q: conserved.generator_rank(Symmetry(act, hidden_coordinates(layers, 0, "radial")), q))(layers),
        conserved.generator_rank(Symmetry(lambda s, q: q, {}), layers),
    ):
        assert int(rank.rank) == 0 == conserved.orbit_dimension("orthogonal", 2, 1, 2)
        assert rank.singular_values.shape == (0,) and float(rank.tolerance) == 0 and np.isposinf(rank.gap)
    assert conserved.generator_matrix(Symmetry(lambda s, q: q, {}), layers).shape == (7, 0)
    with pytest.raises(ValueError, match="params has no leaves"):
        conserved.generator_rank(Symmetry(lambda s, q: q, jnp.zeros(2)), {})


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_rank_over_scales_of_float32(scale: float) -> None:
    rng = np.random.default_rng(1)
    params = tuple(jnp.asarray(rng.standard_normal(s), jnp.float32) * jnp.float32(scale) for s in ((2, 4), (4, 2)))
    act = partial(flow, group="general_linear")
    rank = conserved.generator_rank(Symmetry(act, jnp.zeros((4, 4), "float32")), params)
    assert int(rank.rank) == 12 and 1e3 < float(rank.gap) < np.inf
    assert 0.1 < float(rank.singular_values[0]) / scale < 10


def test_rank_of_integers_and_half_precision() -> None:
    for leaf in ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]]), jnp.array([[1, 2], [3, 4]], jnp.bfloat16)):
        found = conserved.generator_rank(
            Symmetry(lambda s, q: jnp.exp(s).astype(q.dtype) * q, jnp.zeros(())), jnp.asarray(leaf)
        )
        assert int(found.rank) == 1
        np.testing.assert_allclose(found.singular_values, [np.sqrt(30)], rtol=1e-6)


def test_moments_keep_their_digits_where_the_layer_is_wide() -> None:
    """With n inputs of variance t = 1/n: var cosh^2 = (E cosh 4x - 2 E cosh 2x ...)/8, in exact rational arithmetic."""
    m, h, n = 3, 5, 10**6
    t = Fraction(1, n)
    term = sum(Fraction(4 * t) ** k / factorial(k) for k in range(1, 12))  # e^{4t} - 1
    exact = Fraction(2 * m, h) + Fraction(n * h, 8) * term**2
    np.testing.assert_allclose(conserved.xavier_moments("tanh", m, h, n).variance, float(exact), rtol=1e-15)
