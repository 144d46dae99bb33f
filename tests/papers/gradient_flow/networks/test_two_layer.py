"""The two-layer networks: a NumPy loop with gradients by hand, the library's charges, the authors' numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.gradient_flow.networks.two_layer import model as two_layer
from papers.gradient_flow.networks.two_layer.descent import Job, train
from papers.gradient_flow.networks.two_layer.model import paper_charge
from papers.gradient_flow.networks.two_layer.starts import Start, draw_elementwise, draw_radial, stack
from symjax import conserved

ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "row_radial", "radial")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def numpy_hidden(name, v):
    """Hidden layer and the pullback of a cotangent, on V (runs, n, h)."""
    if name in ("row_radial", "radial"):
        axis = 1 if name == "row_radial" else 2
        square = np.sum(v * v, axis=axis, keepdims=True)
        return v / square, lambda g: g / square - 2 * v * np.sum(v * g, axis=axis, keepdims=True) / square**2
    if name == "sigmoid":
        value = 1 / (1 + np.exp(-v))
        return value, lambda g: g * value * (1 - value)
    if name == "tanh":
        return np.tanh(v), lambda g: g / np.cosh(v) ** 2
    if name == "relu":
        return np.maximum(v, 0), lambda g: g * (v > 0)
    return v, lambda g: g


def numpy_gradient(name, target, u, v):
    """Loss and its gradient by hand; everything with a leading axis of runs."""
    hidden, pullback = numpy_hidden(name, v)
    error = u @ hidden.swapaxes(1, 2) - target
    scaled = 2 * error / error[0].size
    return np.mean(error**2, axis=(1, 2)), scaled @ hidden, pullback(scaled.swapaxes(1, 2) @ u)


def numpy_primitive(name, u, v):
    """Each neuron's Q from the table of the specification."""
    first = np.sum(u * u, axis=1) / 2
    if name in ("row_radial", "radial"):
        return -first - np.sum(v * v, axis=1) / 2
    parts = {
        "linear": lambda x: x**2 / 2,
        "relu": lambda x: np.maximum(x, 0) ** 2 / 2,
        "tanh": lambda x: np.cosh(x) ** 2 / 2,
        "sigmoid": lambda x: x + np.exp(x),
    }
    return first - np.sum(parts[name](v), axis=1)


def numpy_train(name, start, rates, steps):
    u, v = start.output.copy(), start.input.copy()
    losses, charges = [], []
    for step in range(steps[-1] + 1):
        loss, du, dv = numpy_gradient(name, start.target, u, v)
        if step in steps:
            losses.append(loss)
            charges.append(numpy_primitive(name, u, v))
        u, v = u - rates[:, None, None] * du, v - rates[:, None, None] * dv
    return np.stack(losses, axis=1), np.stack(charges, axis=1)


def starts(name):
    """Five runs: two seeds, several scales."""
    if name in ("row_radial", "radial"):
        return stack(
            [draw_radial(seed, scale, "authors") for seed, scale in ((0, 0.1), (0, 1), (1, 1), (2, 1), (3, 3))]
        )
    pairs = ((0, 0.01), (0, 0.1), (1, 0.1), (2, 0.5), (3, 1))
    return stack([draw_elementwise(seed, scale, "authors") for seed, scale in pairs])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_training_is_the_numpy_loop(name):
    """Five runs in blocks of four lanes, so that one block is filled up; records unevenly spaced."""
    rates = np.array([0.1, 0.05, 0.01, 0.02, 0.03]) * (1e-4 if "radial" in name else 1)
    steps = np.array([0, 1, 2, 10, 300, 1000])
    curves = train(Job(name, starts(name), rates, steps))
    losses, charges = numpy_train(name, starts(name), rates, steps)
    # of the distance, because a loss of 1e-18 holds eight digits
    np.testing.assert_allclose(np.sqrt(curves.loss), np.sqrt(losses), rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(curves.charge, charges, rtol=1e-9)
    assert curves.finite.all()
    assert curves.output.shape == (5, *starts(name).output.shape[1:])
    np.testing.assert_allclose(
        numpy_primitive(name, curves.output, curves.input), curves.charge[:, -1], rtol=1e-12, atol=1e-14
    )


def test_one_run_recorded_at_every_step():
    start = Start(*(leaf[1:2] for leaf in starts("tanh")))
    curves = train(Job("tanh", start, np.array([0.1]), np.arange(201)))
    losses, charges = numpy_train("tanh", start, np.array([0.1]), np.arange(201))
    np.testing.assert_allclose(curves.loss, losses, rtol=1e-9)
    np.testing.assert_allclose(curves.charge, charges, rtol=1e-10)


def test_float32():
    start = Start(*(leaf.astype(np.float32) for leaf in starts("tanh")))
    rates, steps = np.full(5, 0.01), np.array([0, 100])
    curves = train(Job("tanh", start, rates, steps))
    losses, charges = numpy_train("tanh", starts("tanh"), rates, steps)
    assert curves.loss.dtype == np.float32
    np.testing.assert_allclose(curves.loss, losses, rtol=2e-5)
    np.testing.assert_allclose(curves.charge, charges, rtol=2e-5, atol=1e-5)


def test_a_diverging_run_is_marked_and_leaves_the_others_as_they_are():
    steps = np.array([0, 1, 2, 10, 300, 1000])
    tame = np.full(5, 0.01)
    wild = np.array([0.01, 1e6, 0.01, 0.01, 0.01])
    alone, together = (train(Job("linear", starts("linear"), rates, steps)) for rates in (tame, wild))
    others = [0, 2, 3, 4]
    assert not together.finite[1, -1] and together.finite[1, 0]
    assert together.finite[others].all() and alone.finite.all()
    for field in ("loss", "charge", "output", "input"):
        np.testing.assert_array_equal(getattr(together, field)[others], getattr(alone, field)[others])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradient_and_charge_are_the_librarys(name):
    """The fused gradient is jax's of a plain product and the one by hand; the fused Q is symjax.conserved's."""
    start = Start(*(leaf[3] for leaf in starts(name)))
    params = jnp.asarray(start.output), jnp.asarray(start.input)
    found = jax.jit(two_layer.scaled_gradient(jnp.asarray(start.target), jnp.asarray(0.5), name))(params)

    def plain(params):
        hidden = two_layer.activations.get(name).function(params[1].T)
        return 0.5 * jnp.mean((params[0] @ hidden - start.target) ** 2)

    expected = jax.jit(jax.grad(plain))(params)
    _, du, dv = numpy_gradient(name, *(leaf[None] for leaf in start))
    for one, two, three in zip(found, expected, (du[0] / 2, dv[0] / 2), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(one, three, rtol=1e-12, atol=1e-14)

    charge = two_layer.charge(params, name)
    if "radial" in name:
        np.testing.assert_allclose(charge, conserved.homogeneous(params[0], params[1].T, -1.0), rtol=1e-14)
    else:
        np.testing.assert_allclose(charge, conserved.pointwise(params[0], params[1].T, name), rtol=1e-13)
        paper = conserved.pointwise(params[0], params[1].T, name, scale="paper").sum()
        np.testing.assert_allclose(paper_charge(np.asarray(charge), name), paper, rtol=1e-13)


def initial(name, start):
    return float(paper_charge(numpy_primitive(name, *(leaf[None] for leaf in start[1:]))[0], name))


def test_the_authors_draws_have_the_authors_numbers():
    start = draw_elementwise(0, 0.1, "authors")
    assert np.linalg.norm(start.target) == pytest.approx(7.2865, abs=5e-5)
    singular = [4.944, 3.441, 3.065, 2.319, 1.429]
    np.testing.assert_allclose(np.linalg.svd(start.target, compute_uv=False), singular, atol=6e-4)
    expected = {
        "linear": (-0.0193, -1.93, -193),
        "relu": (0.00309, 0.309, 30.9),
        "tanh": (-500, -502, -1364),
        "sigmoid": (-500.1, -501.7, -663),
    }
    for name, values in expected.items():
        found = [initial(name, draw_elementwise(0, scale, "authors")) for scale in (0.01, 0.1, 1)]
        np.testing.assert_allclose(found, values, rtol=4e-3)
    distances = [
        np.sqrt(50 * numpy_gradient(n, *(a[None] for a in draw_elementwise(0, 1, "authors")))[0][0]) for n in expected
    ]
    np.testing.assert_allclose(distances, [45.08, 33.6, 32.2, 22.9], rtol=2e-3)


def test_the_authors_draws_of_figures_7_and_9():
    for scale, value in ((0.01, 0.00206), (0.1, 0.206), (1.0, 20.6), (10.0, 2056)):
        start = draw_radial(0, scale, "authors")
        assert initial("row_radial", start) == pytest.approx(value, rel=3e-3)
        loss = numpy_gradient("row_radial", *(leaf[None] for leaf in start))[0][0]
        assert loss / np.linalg.norm(start.target) == pytest.approx(0.1349, abs=5e-5)
    tall = [initial("linear", draw_elementwise(0, scale, "authors", "tall")) for scale in (0.001, 0.3, 0.6, 0.9)]
    np.testing.assert_allclose(tall, [1.93e-4, 17.3, 69.3, 156], rtol=4e-3)


def test_other_seeds_are_independent_and_share_directions_over_scales():
    one, two = draw_elementwise(1, 0.1, "authors"), draw_elementwise(2, 0.1, "authors")
    zero = draw_elementwise(0, 0.1, "independent")
    assert not np.allclose(zero.target, draw_elementwise(0, 0.1, "authors").target)
    assert not np.allclose(one.target, two.target)
    assert abs(np.corrcoef(one.output.ravel(), one.input.ravel()[:250])[0, 1]) < 0.3
    large = draw_elementwise(1, 1.0, "authors")
    np.testing.assert_allclose(large.output, 10 * one.output, rtol=1e-14)
    np.testing.assert_array_equal(large.target, one.target)
    assert 0.7 < large.input.std() < 1.3
    start = draw_radial(1, 2.0, "authors")
    diagonal = np.linalg.svd(start.target)[0].T @ start.output
    np.testing.assert_allclose(diagonal - np.diag(np.diag(diagonal)), 0, atol=1e-13)


def test_wrong_jobs_are_refused():
    start, rates, steps = starts("tanh"), np.full(5, 0.1), np.array([0, 1])
    with pytest.raises(ValueError, match="target .* are needed"):
        train(Job("tanh", start._replace(input=start.output), rates, steps))
    with pytest.raises(ValueError, match=r"learning_rates have shape \(3,\), but \(5,\)"):
        train(Job("tanh", start, rates[:3], steps))
    with pytest.raises(ValueError, match="activation is 'squash'"):
        train(Job("squash", start, rates, steps))
    with pytest.raises(ValueError, match="activation is 'sine'"):
        train(Job("sine", start, rates, steps))
    with pytest.raises(ValueError, match="steps have shape"):
        train(Job("tanh", start, rates, np.array([0, 1, 1])))
