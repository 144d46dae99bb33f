"""Attacks against closed forms and loops in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.gradient_flow.figure_11_adversarial.attacks import ascend, ensemble_loss, fgsm, pgd

RANGE = (-0.5, 0.5)
N, D = 5, 12


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def case():
    """Images within the range, labels, and the slope of a linear loss."""
    generator = np.random.default_rng(0)
    return generator.uniform(-0.5, 0.5, (N, D)), generator.integers(0, 3, N), generator.normal(size=(3, D))


def linear(slope):
    return lambda images, labels: (images * jnp.asarray(slope)[labels]).sum()


def bent(images, labels):
    """A loss whose gradient changes its sign along the way: -(x - y / 10)^2 for x below, at its top at y / 10."""
    return -jnp.square(images - labels[:, None] / 10).sum()


@pytest.mark.parametrize("epsilon", [0.0, 0.03, 0.7])
def test_fgsm_of_a_linear_loss(case, epsilon):
    images, labels, slope = case
    found = fgsm(linear(slope), jnp.asarray(images), jnp.asarray(labels), epsilon, RANGE)
    np.testing.assert_allclose(found, np.clip(images + epsilon * np.sign(slope[labels]), *RANGE), rtol=1e-14, atol=0)


def test_pgd_walks_to_the_edge_of_the_ball(case):
    images, labels, slope = case
    for iterations in (1, 2, 4):
        found = pgd(
            linear(slope),
            jnp.asarray(images),
            jnp.asarray(labels),
            jax.random.key(0),
            epsilon=0.03,
            step=0.01,
            iterations=iterations,
            clip=RANGE,
            start="centre",
        )
        expected = np.clip(images + min(0.01 * iterations, 0.03) * np.sign(slope[labels]), *RANGE)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_pgd_follows_a_gradient_that_turns(case):
    """Against the same walk in NumPy, with the random start read from zero iterations."""
    images, labels, _ = case
    arguments = (jnp.asarray(images), jnp.asarray(labels), jax.random.key(3))
    numbers = {"epsilon": 0.2, "step": 0.07, "clip": RANGE}
    x = np.array(pgd(bent, *arguments, iterations=0, **numbers))
    for iterations in (1, 2, 3):
        gradient = -2 * (x - labels[:, None] / 10)
        x = np.clip(np.clip(x + 0.07 * np.sign(gradient), images - 0.2, images + 0.2), *RANGE)
        np.testing.assert_allclose(pgd(bent, *arguments, iterations=iterations, **numbers), x, rtol=0, atol=1e-14)


def test_random_start_fills_the_ball_within_the_range(case):
    _, labels, slope = case
    images = jnp.asarray(np.linspace(-0.5, 0.5, N * D).reshape(N, D))
    starts = [
        np.asarray(
            pgd(
                linear(slope),
                images,
                jnp.asarray(labels),
                jax.random.key(seed),
                epsilon=0.2,
                step=0.1,
                iterations=0,
                clip=RANGE,
            )
        )
        for seed in range(40)
    ]
    moved = np.array(starts) - np.asarray(images)
    assert np.abs(moved).max() <= 0.2 + 1e-15 and np.array(starts).min() >= -0.5 and np.array(starts).max() <= 0.5
    inner = moved[:, np.abs(np.asarray(images)) < 0.3]
    assert abs(inner.mean()) < 0.01 and abs(inner.std() - 0.2 / np.sqrt(3)) < 0.01
    assert not np.array_equal(starts[0], starts[1])


def test_a_foreign_range_zeroes_the_darker_half(case):
    """The authors' range [0, 1] on images of [-0.5, 0.5]: what Figure 11 owes to clipping."""
    images, labels, slope = case
    found = fgsm(linear(slope), jnp.asarray(images), jnp.asarray(labels), 0.003, (0.0, 1.0))
    assert (found >= 0).all() and (np.asarray(found)[images < -0.003] == 0).all()


def test_ensemble_loss_is_that_of_the_mean(case):
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(size=(7, N, 3)) * 4, case[1]
    each = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(each.mean(0)[np.arange(N), labels]).sum()
    assert jax.jit(ensemble_loss)(jnp.asarray(logits), jnp.asarray(labels)) == pytest.approx(expected, rel=1e-13)
    together = jax.vmap(jax.jit(ensemble_loss), in_axes=(0, None))(jnp.asarray([logits, logits]), jnp.asarray(labels))
    np.testing.assert_allclose(together, expected, rtol=1e-13)
    single = -(np.log(each[0]))[np.arange(N), labels].sum()
    assert ensemble_loss(jnp.asarray(logits[:1]), jnp.asarray(labels)) == pytest.approx(single, rel=1e-13)


def test_ensemble_loss_keeps_its_gradient_where_probabilities_underflow(case):
    labels = jnp.asarray(case[1])
    logits = jnp.zeros((2, N, 3)).at[:, jnp.arange(N), labels].set(-2000.0).at[1].add(1.0)
    assert float(jax.jit(ensemble_loss)(logits, labels)) == pytest.approx(N * (2000 + np.log(2)), rel=1e-12)
    gradient = jax.jit(jax.grad(ensemble_loss))(logits, labels)
    np.testing.assert_allclose(gradient[:, np.arange(N), labels], -0.5, rtol=1e-12)


def test_adaptive_attack_hurts_the_ensemble_more_than_a_transferred_one(case):
    """Members that disagree with the network the attack was made on."""
    images, labels, _ = case
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    members = jnp.asarray(np.random.default_rng(2).normal(size=(6, D, 3)))

    @jax.jit
    def weighted(images, labels, weights):
        # a member of weight zero has equal logits: it pulls nowhere
        return ensemble_loss(jnp.einsum("nd,mdc,m->mnc", images, members, weights), labels)

    network, ensemble = partial(weighted, weights=jnp.eye(6)[0]), partial(weighted, weights=jnp.ones(6))
    transferred = fgsm(network, images, labels, 0.1, RANGE)
    adapted = fgsm(ensemble, images, labels, 0.1, RANGE)
    assert ensemble(adapted, labels) > ensemble(transferred, labels) > 0
    assert ensemble(adapted, labels) > ensemble(images, labels) + 0.5


def test_under_jit_and_vmap(case):
    images, labels, slope = case
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    strengths = jnp.array([0.01, 0.2])
    found = jax.jit(jax.vmap(lambda epsilon: fgsm(linear(slope), images, labels, epsilon, RANGE)))(strengths)
    walked = jax.jit(
        jax.vmap(
            lambda epsilon: pgd(
                linear(slope), images, labels, jax.random.key(0), epsilon=epsilon, step=1.0, iterations=1, clip=RANGE
            )
        )
    )(strengths)
    for place, epsilon in enumerate((0.01, 0.2)):
        expected = np.clip(np.asarray(images) + epsilon * np.sign(slope[np.asarray(labels)]), *RANGE)
        np.testing.assert_allclose(found[place], expected, rtol=1e-14)
        np.testing.assert_allclose(walked[place], expected, rtol=1e-14)


def test_float32_keeps_its_type(case):
    images, labels, slope = case
    small = jnp.asarray(images, jnp.float32)
    found = fgsm(linear(slope.astype(np.float32)), small, jnp.asarray(labels), 0.03, RANGE)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.clip(images + 0.03 * np.sign(slope[labels]), *RANGE), atol=1e-6)


def test_refuses(case):
    images, labels, slope = jnp.asarray(case[0]), jnp.asarray(case[1]), case[2]
    with pytest.raises(ValueError, match=r"clip is \(0.5, -0.5\), but its first number must be below the second"):
        fgsm(linear(slope), images, labels, 0.1, (0.5, -0.5))
    with pytest.raises(ValueError, match="epsilon is -0.1, but must be at least 0"):
        ascend(linear(slope), images, images, labels, 0.1, -0.1, RANGE)
    numbers = {"epsilon": 0.1, "step": 0.1, "clip": RANGE}
    with pytest.raises(ValueError, match="iterations is -1, but must be at least 0"):
        pgd(linear(slope), images, labels, jax.random.key(0), iterations=-1, **numbers)
    with pytest.raises(ValueError, match="start is 'warm', but must be 'random' or 'centre'"):
        pgd(linear(slope), images, labels, jax.random.key(0), iterations=1, start="warm", **numbers)
