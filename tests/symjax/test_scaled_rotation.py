"""The scaled rotation of a vector against its definition by spherical angles, and products that never form it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.scaled_rotation import carry, r_matrix, rotate_by, rotates

H = 5
SPECIAL = {
    "generic": [0.3, -1.2, 0.7, 2.0, -0.4],
    "last negative": [1.0, 2.0, 3.0, 4.0, -5.0],
    "all negative": [-1.0, -2.0, -3.0, -4.0, -5.0],
    "first axis": [1.0, 0.0, 0.0, 0.0, 0.0],
    "minus first axis": [-1.0, 0.0, 0.0, 0.0, 0.0],
    "last axis": [0.0, 0.0, 0.0, 0.0, 1.0],
    "minus last axis": [0.0, 0.0, 0.0, 0.0, -1.0],
    "trailing zeros": [-3.0, -4.0, 0.0, 0.0, 0.0],
    "inner zeros": [0.0, 2.0, 0.0, -1.0, 0.0],
    "tiny tail": [1.0, 1e-160, -1e-170, 1e-300, 1e-9],
}


def by_angles(z: np.ndarray) -> np.ndarray:
    """R_z entry by entry from spherical angles (Zhao et al. 2023), the last angle with its sign."""
    h, r = len(z), np.linalg.norm(z)
    alpha = np.zeros(h + 1)
    for j in range(1, h - 1):
        alpha[j] = np.arctan2(np.linalg.norm(z[j:]), z[j - 1])
    alpha[h - 1] = np.arctan2(z[h - 1], z[h - 2])
    result = np.zeros((h, h))
    for i in range(1, h + 1):
        for j in range(1, h + 1):
            if i >= j:
                result[i - 1, j - 1] = r * np.cos(alpha[j - 1]) * np.prod(np.sin(alpha[j:i])) * np.cos(alpha[i])
            elif i == j - 1:
                result[i - 1, j - 1] = -r * np.sin(alpha[j - 1])
    return result


@pytest.mark.parametrize("name", SPECIAL)
def test_matrix_is_its_definition(name: str) -> None:
    z = np.array(SPECIAL[name])
    found = np.asarray(r_matrix(jnp.asarray(z)))
    np.testing.assert_allclose(found[:, 0], z, rtol=0, atol=1e-15 * np.abs(z).max() * H)
    np.testing.assert_allclose(found @ found.T, np.eye(H) * (z @ z), rtol=0, atol=1e-14 * H * (z @ z))
    np.testing.assert_allclose(found.T @ found, np.eye(H) * (z @ z), rtol=0, atol=1e-14 * H * (z @ z))
    assert np.linalg.det(found) == pytest.approx(np.linalg.norm(z) ** H, rel=1e-12)
    np.testing.assert_allclose(found, by_angles(z), rtol=0, atol=1e-14 * np.linalg.norm(z) * H)


@given(seed=st.integers(0, 2**32 - 1), power=st.integers(-150, 150))
def test_law_at_every_scale(seed: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    z, x = rng.standard_normal(H) * 10.0 ** rng.integers(-8, 8, H), rng.standard_normal(H)
    unit = z / np.linalg.norm(z)
    found = np.asarray(r_matrix(jnp.asarray(z / np.abs(z).max() * 10.0**power)))
    size = np.linalg.norm(found[:, 0] / 10.0**power) * 10.0**power
    np.testing.assert_allclose(found[:, 0] / size, unit, rtol=0, atol=1e-14)
    np.testing.assert_allclose((found / size).T @ (found / size), np.eye(H), rtol=0, atol=1e-14 * H)
    moved = rotate_by(jnp.asarray(z), jnp.asarray(x))
    np.testing.assert_allclose(moved, by_angles(z) @ x, rtol=0, atol=1e-13 * np.linalg.norm(z) * np.linalg.norm(x))
    np.testing.assert_allclose(rotate_by(jnp.asarray(z), moved, "inverse"), x, rtol=0, atol=1e-13)


def test_float32_at_its_extremes() -> None:
    for power in (-18, 0, 18):
        z = (np.array(SPECIAL["last negative"]) * 10.0**power).astype(np.float32)
        found = np.asarray(r_matrix(jnp.asarray(z))) / np.linalg.norm(z.astype(np.float64))
        assert found.dtype == np.float64 and r_matrix(jnp.asarray(z)).dtype == jnp.float32
        np.testing.assert_allclose(found[:, 0], z / np.linalg.norm(z.astype(np.float64)), rtol=0, atol=2e-6)
        np.testing.assert_allclose(found.T @ found, np.eye(H), rtol=0, atol=1e-5)


def test_one_entry_keeps_its_sign_and_zero_gives_zero() -> None:
    np.testing.assert_array_equal(r_matrix(jnp.array([-2.5])), [[-2.5]])
    np.testing.assert_array_equal(carry(jnp.array([[3.0]]), jnp.array([-2.0]), jnp.array([4.0])), [[-1.5]])
    np.testing.assert_array_equal(r_matrix(jnp.zeros(H)), np.zeros((H, H)))


@given(seed=st.integers(0, 2**32 - 1))
def test_carry_is_the_product_of_the_formed_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, a, b = rng.standard_normal((3, H)), rng.standard_normal(H), rng.standard_normal(H)
    found = carry(*map(jnp.asarray, (u, a, b)))
    np.testing.assert_allclose(found, u @ by_angles(a) @ np.linalg.inv(by_angles(b)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found @ b, u @ a, rtol=0, atol=1e-13 * np.linalg.norm(u))
    np.testing.assert_allclose(carry(jnp.asarray(u), jnp.asarray(a), jnp.asarray(a)), u, rtol=0, atol=1e-14)


def test_zero_is_marked_and_does_not_spread() -> None:
    u, z = jnp.ones((2, H)), jnp.asarray(SPECIAL["generic"])
    for before, after in ((jnp.zeros(H), z), (z, jnp.zeros(H)), (z, z * jnp.inf)):
        with pytest.raises(ValueError, match="is zero or not finite, but only other vectors have"):
            carry(u, before, after)
        assert jnp.isnan(jax.jit(carry)(u, before, after)).all()
    both = jax.vmap(carry, in_axes=(None, 0, None))(u, jnp.stack([z, jnp.zeros(H)]), 2 * z)
    np.testing.assert_allclose(both[0], u / 2, rtol=1e-14)
    assert jnp.isnan(both[1]).all()


@pytest.mark.parametrize("name", ["generic", "last negative", "trailing zeros", "first axis"])
def test_derivative_is_finite_and_right(name: str) -> None:
    z, x = jnp.asarray(SPECIAL[name]), jnp.asarray(SPECIAL["generic"])
    jacobian = jax.jacfwd(rotate_by)(z, x)
    assert jnp.isfinite(jacobian).all() and jnp.isfinite(jax.jacrev(rotate_by)(z, x)).all()
    # along the ray of z every entry is homogeneous of degree one, also where the tail vanishes
    np.testing.assert_allclose(jacobian @ z, rotate_by(z, x), rtol=0, atol=1e-13)
    if name in ("generic", "last negative"):
        step = 1e-6
        differences = [(by_angles(z + d) - by_angles(z - d)) @ np.asarray(x) / (2 * step) for d in step * np.eye(H)]
        np.testing.assert_allclose(jacobian, np.stack(differences, 1), rtol=0, atol=1e-8)


def test_transpose_and_the_inverse_of_zero() -> None:
    z, x = np.array(SPECIAL["generic"]), np.array(SPECIAL["all negative"])
    turned = rotate_by(jnp.asarray(z), jnp.asarray(x), "transpose")
    np.testing.assert_allclose(turned, by_angles(z).T @ x, rtol=0, atol=1e-13)
    inverse = jax.vmap(lambda z: rotate_by(z, jnp.asarray(x), "inverse"))(jnp.stack([jnp.asarray(z), jnp.zeros(H)]))
    np.testing.assert_allclose(inverse[0], np.linalg.solve(by_angles(z), x), rtol=0, atol=1e-13)
    assert jnp.isnan(inverse[1]).all()


def test_a_norm_that_overflows_does_no_harm() -> None:
    signs = np.where(np.random.default_rng(8).uniform(size=40) < 0.5, -1.0, 1.0)
    z, unit = jnp.asarray(4e307 * signs), jnp.asarray(signs)
    np.testing.assert_allclose(r_matrix(z)[:, 0], z, rtol=1e-13)
    u = jnp.asarray(np.random.default_rng(8).standard_normal((2, 40)))
    np.testing.assert_allclose(carry(u, z, z[::-1]), carry(u, unit, unit[::-1]), rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="before is zero or not finite"):
        carry(u, 4 * z, z)


def test_batched_like_a_loop() -> None:
    rng = np.random.default_rng(3)
    z, x = jnp.asarray(rng.standard_normal((4, H))), jnp.asarray(rng.standard_normal((4, H)))
    found = jax.jit(jax.vmap(rotate_by))(z, x)
    np.testing.assert_allclose(
        found, [by_angles(np.asarray(a)) @ np.asarray(b) for a, b in zip(z, x, strict=True)], atol=1e-13
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: r_matrix(jnp.zeros((2, 2))), r"z has shape \(2, 2\), but must be a vector"),
        (lambda: r_matrix("a"), "z is 'a', but must be an array of real numbers"),
        (lambda: r_matrix(jnp.ones(2, bool)), "z is an array of dtype bool, but must be"),
        (lambda: rotate_by(jnp.ones(3), None), "x is None, but must be"),
        (lambda: carry(1j, jnp.ones(3), jnp.ones(3)), "u is 1j, but must be"),
        (lambda: rotates({}), "z is a dict, but must be"),
        (lambda: rotate_by(jnp.ones(3), jnp.ones(2)), r"x has shape \(2,\), but its first axis must have the length"),
        (lambda: rotate_by(jnp.ones(3), jnp.ones(3), "inverted"), "product is 'inverted', but it must be one of"),
        (lambda: rotate_by(jnp.zeros(3), jnp.ones(3), "inverse"), "z is zero, but only a vector that is not"),
        (lambda: carry(jnp.ones((2, 3)), jnp.ones(3), jnp.ones(2)), r"u \(2, 3\), before \(3,\) and after \(2,\)"),
    ],
)
def test_shapes_that_do_not_compose(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_every_scale_of_float32_has_the_same_rotation(scale: float) -> None:
    z = np.array(SPECIAL["generic"], np.float32)
    given, x = jnp.asarray(z * np.float32(scale)), jnp.asarray(np.linspace(-1, 1, H), jnp.float32)
    np.testing.assert_allclose(r_matrix(given) / np.float32(scale), by_angles(z.astype(float)), rtol=0, atol=1e-5)
    assert bool(rotates(given))
    one, two = rotate_by(jnp.asarray(z), x, "inverse"), rotate_by(given, x, "inverse")
    np.testing.assert_allclose(two * np.float32(scale), one, rtol=0, atol=1e-6)
    u = jnp.ones((1, H), jnp.float32)
    np.testing.assert_allclose(carry(u, given, given[::-1]), carry(u, jnp.asarray(z), jnp.asarray(z[::-1])), atol=1e-5)


def test_numbers_of_every_type() -> None:
    whole = r_matrix([3, -4])
    assert whole.dtype == jnp.float64
    np.testing.assert_allclose(whole, [[3, 4], [-4, 3]], rtol=1e-14)
    half = rotate_by(jnp.array([3, -4], jnp.bfloat16), jnp.array([1, 1], jnp.float16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, [7, -1], rtol=1e-6)
    np.testing.assert_allclose(carry([[1, 2]], [1, 1], np.array([0, -2])) @ jnp.array([0.0, -2.0]), [3.0], rtol=1e-14)
    assert bool(rotates([0, 1])) and not bool(rotates([0, 0]))
