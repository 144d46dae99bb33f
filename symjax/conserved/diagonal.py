"""Neuron by neuron: the scaling of two layers that gives each hidden neuron a prescribed Q.

``alpha |U_i|^2 e^(-2 alpha s) - |V_i|^2 e^(2 s) = 2 Q_i``, solved in logarithms, so that no square leaves the range of
the dtype. Compiled, raises nothing.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from symjax.magnitude import over_square, power_of_two

__all__ = ["scaled", "tolerance"]


def tolerance(dtype: Any) -> float:
    """A thousand eps, the largest relative residual that counts as converged."""
    return float(1e3 * jnp.finfo(dtype).eps)


@partial(jax.jit, static_argnums=3)
def scaled(u: jax.Array, v: jax.Array, target: jax.Array, degree: float) -> tuple[jax.Array, ...]:
    """Scale both layers to the prescribed Q.

    Source: derived from the group law on Q, Zhao et al. 2023, section 4.

    Args:
      u: array (m, h).
      v: array (h, n), of its dtype.
      target: array (h,), of its dtype.
      degree: alpha.

    Returns:
      ``(u, v, s, residual, function_error, converged)`` as :class:`symjax.conserved.Prescribed` says.
    """
    of_u, of_v = power_of_two(u, axis=0), power_of_two(v, axis=1)
    reader, writer = jnp.sum(jnp.square(u / of_u[None]), axis=0), jnp.sum(jnp.square(v / of_v[:, None]), axis=1)
    s = jax.vmap(partial(_root, degree))(reader, 2 * jnp.log(of_u), writer, 2 * jnp.log(of_v), target)
    # by halves: a factor beyond the range may still lead from one end of it to the other
    half_u, half_v = jnp.exp(-degree * s / 2)[None], jnp.exp(s / 2)[:, None]
    moved_u, moved_v = u * half_u * half_u, v * half_v * half_v
    peaks = [jnp.max(jnp.abs(moved_u), axis=0), jnp.max(jnp.abs(moved_v), axis=1), jnp.sqrt(jnp.abs(target))]
    scale = power_of_two(jnp.stack(peaks), axis=0)
    out = degree * jnp.sum(jnp.square(moved_u / scale[None]), axis=0)
    into, wanted = jnp.sum(jnp.square(moved_v / scale[:, None]), axis=1), over_square(target, scale)
    size = (jnp.abs(out) + into) / 2 + jnp.abs(wanted)
    residual = jnp.max(jnp.abs((out - into) / 2 - wanted) / jnp.where(size == 0, 1, size))
    info = jnp.finfo(u.dtype)
    least = float(info.tiny / info.eps)  # below, digits are lost
    kept = jnp.all((peaks[0] >= least) | (reader == 0)) & jnp.all((peaks[1] >= least) | (writer == 0))
    return moved_u, moved_v, s, residual, jnp.zeros((), u.dtype), (residual <= tolerance(u.dtype)) & kept


def _root(
    degree: float, reader: jax.Array, log_u: jax.Array, writer: jax.Array, log_v: jax.Array, target: jax.Array
) -> jax.Array:
    """Solve for s with ``|U|^2 = reader e^log_u``, ``|V|^2 = writer e^log_v``; 0 where there is no solution."""
    out, into = jnp.log(abs(degree) * reader) + log_u, jnp.log(writer) + log_v
    wanted = jnp.log(jnp.abs(target)) + jnp.log(jnp.asarray(2, target.dtype))
    x = jax.lax.stop_gradient(_logarithmic_root(degree, out, into, wanted, jnp.sign(target)))
    x = jnp.where(jnp.isfinite(x), x, 0)
    # One Newton step on the equation itself, over its largest term: it carries the derivatives in reader, writer and
    # target.
    largest = jnp.maximum(jnp.maximum(out - degree * x, into + x), wanted)
    size = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0))
    first, second = degree * reader * jnp.exp(log_u - degree * x - size), writer * jnp.exp(log_v + x - size)
    small = jnp.exp(-size / 2)
    slope = jax.lax.stop_gradient(-degree * first - second)
    possible = (slope < 0) & jnp.isfinite(slope)
    change = jnp.where(possible, (first - second - 2 * target * small * small) / jnp.where(possible, slope, 1), 0)
    return (x - jnp.clip(change, -1, 1)) / 2


def _logarithmic_root(degree: float, out: jax.Array, into: jax.Array, wanted: jax.Array, sign: jax.Array) -> jax.Array:
    """Newton on logarithms: with positive terms on both sides, left minus right is monotone in x = 2 s, convex or
    concave, and its slope stays between two bounds of one sign, so it converges from anywhere and nothing overflows."""

    def step(_: int, x: jax.Array) -> jax.Array:
        first, second = out - degree * x, into + x
        if degree < 0:  # |alpha| reader e^(|alpha| x) + writer e^x = -2 target
            share = jax.nn.sigmoid(first - second)
            return x - (jnp.logaddexp(first, second) - wanted) / (share * -degree + (1 - share))
        above = (jnp.logaddexp(second, wanted) - first) / (degree + jax.nn.sigmoid(second - wanted))
        below = (second - jnp.logaddexp(first, wanted)) / (1 + degree * jax.nn.sigmoid(first - wanted))
        return x - jnp.where(sign >= 0, above, below)

    if degree == 1:  # the closed form, which the steps only polish
        ratio = wanted - jnp.log(jnp.asarray(2, out.dtype)) - (out + into) / 2
        far = ratio > 20  # where arcsinh(e^x) is x + log 2
        start = (out - into) / 2 - sign * jnp.where(
            far, ratio + jnp.log(jnp.asarray(2, out.dtype)), jnp.arcsinh(jnp.exp(jnp.where(far, 0, ratio)))
        )
        start = jnp.where(jnp.isfinite(start), start, 0)
        return jax.lax.fori_loop(0, 4, step, start)
    return jax.lax.fori_loop(0, 40, step, jnp.zeros_like(out))
