"""The charge of any symmetry: its form found from the generators, its value by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.channels import Layer, mlp_channels, scalings
from symjax.conserved import charge, forms
from symjax.symmetry import Symmetry, compose

ZERO = jnp.zeros((), jnp.float32)
ROTATION = Symmetry(lambda s, q: q + s * jnp.array([-q[1], q[0]]), ZERO)
CURVED = Symmetry(lambda s, q: q + s * q**2, ZERO)
AFFINE = Symmetry(lambda s, q: q + s * (q + 1), ZERO)
SPIRAL = Symmetry(lambda s, q: q + s * jnp.array([q[0] - q[1], q[0] + q[1]]), ZERO)


@pytest.mark.parametrize("symmetry", [ROTATION, CURVED, AFFINE, SPIRAL])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_nothing_is_conserved(symmetry, dtype):
    symmetry = symmetry._replace(zero=symmetry.zero.astype(dtype))
    found = charge(symmetry, jnp.array([3.0, 4.0], dtype))
    assert found.form == "none" and found.value is None


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_low_precision_is_summed_in_float32(dtype):
    q = jax.random.normal(jax.random.key(0), (4000,), jnp.float32).astype(dtype)
    with jax.numpy_dtype_promotion("standard"):
        found = charge(Symmetry(lambda s, q: jnp.exp(s) * q, ZERO), q)
    exact = np.square(np.asarray(q, np.float64)).sum() / 2
    assert found.form == "quadratic" and found.value == pytest.approx(exact, rel=1e-5)


def test_a_network_and_its_translation():
    keys = jax.random.split(jax.random.key(0), 4)
    sizes = ((3, 5), (5, 2))
    layers = tuple(
        Layer(jax.random.normal(k, s, jnp.float64), jax.random.normal(b, s[1:], jnp.float64))
        for k, b, s in zip(keys[:2], keys[2:], sizes, strict=True)
    )
    shift = Symmetry(lambda s, q: (q[0], Layer(q[1].kernel, q[1].bias + s[None])), jnp.zeros((), jnp.float64))
    both = compose(units=scalings(mlp_channels(layers), "rescale", jnp.float64), shift=shift)
    found = charge(both, layers)
    assert found.form == {"units": {"hidden0": "quadratic"}, "shift": "linear"}
    (w, b), (u, c) = jax.tree.map(np.asarray, layers)
    np.testing.assert_allclose(found.value["units"]["hidden0"], ((w**2).sum(0) + b**2 - (u**2).sum(1)) / 2, rtol=1e-13)
    np.testing.assert_allclose(found.value["shift"], c.sum(), rtol=1e-13)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-13),
        jax.jit(lambda q: charge(both, q).value)(layers),
        found.value,
    )


def test_forms_reads_shapes_alone():
    scale = Symmetry(lambda s, q: jnp.exp(s) * q, ZERO)
    assert forms(scale, jnp.full(3, jnp.nan, jnp.float32)) == forms(scale, jnp.zeros(3, jnp.float32)) == "quadratic"
