"""The five perturbations against NumPy, SciPy and their own definitions, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from papers.gradient_flow.networks.cifar.config import KINDS
from papers.gradient_flow.networks.cifar.perturbations import draw

H, MEMBERS = 6, 4
GROUP, MIXED, INVERSE, RANDOM, SHUFFLE = map(
    KINDS.index, ("group", "interpolated_permutation", "inverse", "random", "shuffle")
)


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def batches():
    return jnp.asarray(np.random.default_rng(0).normal(size=(MEMBERS, H, H)))


@pytest.fixture(scope="module")
def maps(batches):
    """epsilon -> the maps, one compilation."""
    return lambda epsilon, activation="leaky_square", rows=batches: draw(jax.random.key(1), epsilon, rows, activation)


def sigma(z, activation="leaky_square"):
    bent = np.where(z > 0, z, 0.1 * z)
    return bent**2 + 0.01 * z if activation == "leaky_square" else bent


@pytest.mark.parametrize("activation", ["leaky_square", "leaky_relu"])
def test_group_keeps_the_function_on_its_batch(maps, batches, activation):
    """The batch itself, not the noisy one that was fitted, is kept to the size of the noise."""
    found = maps(0.5, activation)
    before, after = sigma(batches, activation), sigma(batches @ found.lower[GROUP], activation) @ found.upper[GROUP]
    moved = np.abs(sigma(batches @ found.lower[GROUP], activation) - before).max()
    assert found.residual[GROUP].max() < 1e-9
    assert np.abs(after - before).max() < 0.05 < 0.5 < moved
    assert (found.rank[GROUP] == H).all()
    inverted = sigma(batches @ found.lower[GROUP], activation)
    np.testing.assert_allclose(found.condition[GROUP], np.linalg.cond(inverted), rtol=0.5)
    # the controls do not
    for kind in (RANDOM, INVERSE, SHUFFLE):
        assert found.residual[kind].min() > 0.05


def test_group_elements_are_a_one_parameter_group(maps):
    half, one = maps(0.5).lower[GROUP], maps(1.0).lower[GROUP]
    np.testing.assert_allclose(half @ half, one, rtol=1e-10, atol=1e-12)
    for kind in (INVERSE, RANDOM, SHUFFLE):
        np.testing.assert_array_equal(maps(1.0).lower[kind], one)
    direction = [scipy.linalg.logm(g) / 0.5 for g in half]
    np.testing.assert_allclose([scipy.linalg.expm(t) for t in direction], one, rtol=1e-8, atol=1e-10)


def test_directions_are_normal_over_the_root_of_the_width(batches):
    """3,600 entries: the standard error of the deviation is 1.2 %, of the kurtosis 0.08."""
    found = [draw(jax.random.key(seed), 1e-7, batches, "leaky_relu").lower[GROUP] for seed in range(25)]
    directions = (np.array(found) - np.eye(H)) / 1e-7
    assert abs(directions.mean()) < 0.03
    assert abs(directions.std() * np.sqrt(H) - 1) < 0.05
    assert 2.6 < (directions**4).mean() / (directions**2).mean() ** 2 < 3.4


def test_upper_maps_of_the_controls(maps):
    epsilon = 0.7
    found = maps(epsilon)
    np.testing.assert_allclose(found.upper[INVERSE], np.linalg.inv(found.lower[INVERSE]), rtol=1e-9, atol=1e-11)
    identity = np.eye(H)[None]
    uniform = (found.upper[RANDOM] - identity) / epsilon
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.1
    permutation = (found.lower[MIXED] * (1 + epsilon) - identity) * 2 / epsilon - identity
    np.testing.assert_allclose(permutation, np.round(permutation), atol=1e-12)
    assert (np.round(permutation).sum(1) == 1).all() and (np.round(permutation).sum(2) == 1).all()
    np.testing.assert_allclose(
        found.lower[MIXED] @ found.upper[MIXED], np.broadcast_to(np.eye(H), (MEMBERS, H, H)), atol=1e-12
    )


def test_shuffle_only_moves_members_and_rows(maps):
    found = maps(0.7)
    shuffled, fitted = np.asarray(found.upper[SHUFFLE]), np.asarray(found.upper[GROUP])
    sources = []
    for upper in shuffled:
        (member,) = [i for i in range(MEMBERS) if np.isin(upper, fitted[i]).all()]
        rows = [int(np.flatnonzero((fitted[member] == row).all(axis=1))[0]) for row in upper]
        sources.append((member, tuple(rows)))
    assert sorted(member for member, _ in sources) == list(range(MEMBERS))
    assert len({rows for _, rows in sources}) == 1 and sorted(sources[0][1]) == list(range(H))


def test_zero_strength_changes_nothing(maps):
    found, identity = maps(0.0), np.broadcast_to(np.eye(H), (MEMBERS, H, H))
    for kind in (GROUP, MIXED, INVERSE, RANDOM):
        np.testing.assert_allclose(found.lower[kind], identity, atol=1e-14)
        np.testing.assert_allclose(found.upper[kind], identity, atol=1e-8)


@pytest.mark.slow
def test_few_images_give_a_projector(maps, batches):
    few = maps(0.0, rows=batches[:, :3])
    np.testing.assert_allclose(few.upper[GROUP] @ few.upper[GROUP], few.upper[GROUP], atol=1e-9)
    assert (few.rank[GROUP] == 3).all() and few.residual[GROUP].max() < 1e-10


@pytest.mark.slow
def test_more_images_than_the_width_are_not_fitted(maps, batches):
    many = maps(0.7, rows=jnp.concatenate([batches, 2 - batches], axis=1))
    assert many.residual[GROUP].min() > 0.02


@pytest.mark.slow
def test_members_do_not_depend_on_how_many_there_are(maps, batches):
    whole, part = maps(0.7), maps(0.7, rows=batches[:2])
    for kind in (GROUP, MIXED, INVERSE, RANDOM):
        np.testing.assert_allclose(part.lower[kind], whole.lower[kind][:2], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(part.upper[kind], whole.upper[kind][:2], rtol=1e-6, atol=1e-8)


def test_rank_loss_is_reported(maps):
    """Where least squares that assume full rank give NaN, the rank, the condition and the residual say it."""
    found = maps(40.0)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in (found.lower, found.upper, found.residual))
    lost = np.asarray(found.rank[GROUP]) < H
    assert lost.any() and (found.condition[GROUP][lost] > 1e13).all() and (found.residual[GROUP][lost] > 1e-4).all()
    assert (found.condition[MIXED] < 1e4).all()


@pytest.mark.slow
def test_under_jit_and_vmap(maps, batches):
    strengths = jnp.array([0.1, 0.7])
    together = jax.jit(jax.vmap(partial(draw, activation="leaky_square"), in_axes=(None, 0, None)))
    found = together(jax.random.key(1), strengths, batches)
    for place, epsilon in enumerate((0.1, 0.7)):
        alone = maps(epsilon)
        np.testing.assert_allclose(found.upper[place], alone.upper, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_float32_stays_finite(batches):
    found = draw(jax.random.key(1), 10.0, batches.astype(jnp.float32), "leaky_relu")
    assert found.upper.dtype == jnp.float32 and bool(jnp.isfinite(found.upper).all())
    exact = draw(jax.random.key(1), 0.1, batches.astype(jnp.float32), "leaky_relu")
    assert exact.residual[GROUP].max() < 2e-4


def test_refuses():
    with pytest.raises(ValueError, match=r"batches have the shape \(2, 2\), but must be \(members, images, h\)"):
        draw(jax.random.key(0), 0.1, jnp.ones((2, 2)), "leaky_relu")
    with pytest.raises(ValueError, match="activation is 'tanh', but must be one of"):
        draw(jax.random.key(0), 0.1, jnp.ones((1, 2, 2)), "tanh")
