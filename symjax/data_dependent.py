"""The data-dependent action of the general linear group: any activation, one sample, the output unchanged.

A vector z is the first column of a scaled rotation R_z (:mod:`symjax.scaled_rotation`), and ``pi(g, z) =
R_{sigma(g z)} R_{sigma(z)}^-1`` takes ``sigma(z)`` to ``sigma(g z)``: who reads the layer is multiplied by its inverse.

One sample: ``bind(x, activation)`` with x (n,). A batch (k, n), a network for each sample:
``jax.vmap(lambda x: bind(x, activation).act(g, layers))(batch)``. One network for a whole batch is no action but a fit:
:mod:`symjax.transport`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symjax import activations
from symjax.actions import admissible
from symjax.activations import Activation
from symjax.arguments import accumulation_dtype, accurate_array, accurate_arrays, floating_tree
from symjax.channels import Layer, require_layers
from symjax.groups import require_element
from symjax.magnitude import norm
from symjax.scaled_rotation import carry, require_vector, rotates

__all__ = ["Action", "bind", "cocycle", "infinitesimal", "lipschitz_bound"]

_product = partial(jnp.matmul, precision="highest")


class Action(NamedTuple):
    """The action bound to one sample.

    Attributes:
      act: ``act(g, layers) -> layers``, with one matrix for each hidden layer.
      valid: ``valid(g, layers) -> bool``: every g_i is invertible, with a condition number of at most 0.01/eps, and no
        hidden layer's activations vanish or overflow, before or after.
    """

    act: Callable[[Sequence[jax.Array], tuple[Layer, ...]], tuple[Layer, ...]]
    valid: Callable[[Sequence[jax.Array], tuple[Layer, ...]], jax.Array]


def cocycle(g: jax.Array, z: jax.Array, activation: str | Activation) -> jax.Array:
    """Form ``pi(g, z) = R_{sigma(g z)} R_{sigma(z)}^-1``, which takes ``sigma(z)`` to ``sigma(g z)``.

    ``pi(g2 g1, z) = pi(g2, g1 z) pi(g1, z)``.

    Source: Zhao et al. 2023, section 3 (nonlinear group actions).

    Args:
      g: array (h, h).
      z: pre-activations (h,).
      activation: an activation or its name.

    Returns:
      An array (h, h); under a transformation of jax NaN where the activations vanish, as :func:`carry` says.

    Raises:
      ValueError: shapes that do not compose, or concrete activations that vanish.
    """
    g, z = accurate_arrays(g=g, z=z)
    require_vector("z", z)
    _square("g", g, z.shape[0])
    sigma = _on_vectors(activation)
    return carry(jnp.eye(jnp.shape(z)[0], dtype=z.dtype), sigma(_product(g, z)), sigma(z))


def bind(x: jax.Array, activation: str | Activation) -> Action:
    """Bind the action of GL(h_1) x ... x GL(h_{L-1}) on a network to one sample.

    ``W_i -> g_i W_i R_{sigma(z_{i-1})} R_{sigma(g_{i-1} z_{i-1})}^-1`` and ``b_i -> g_i b_i``, without a right factor
    in the first layer and with ``g_L = 1``: every hidden layer's pre-activation becomes ``g_i z_i``, the output stays.
    All factors come from the pre-activations before, so that the layers move side by side. It is an action: the
    identity does nothing, ``act(g2, act(g1, p)) == act(g2 g1, p)``.

    Source: Zhao et al. 2023, section 3 (nonlinear group actions), and the survey arXiv 2506.13018, section 2.3.

    Args:
      x: one input (n,).
      activation: an activation or its name, between all layers.

    Returns:
      The action. ``act`` raises ValueError for shapes that do not compose, for a g_i with a condition number above
      0.01/eps, and where an activation vector is zero (ReLU with no positive pre-activation); under a transformation
      of jax it cannot raise, the readers become NaN there and ``valid`` is False.

    Example:
      >>> import jax.numpy as jnp
      >>> layers = (Layer(jnp.eye(2), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
      >>> g = (jnp.array([[2.0, 0.0], [1.0, 1.0]]),)
      >>> moved = bind(jnp.array([1.0, 1.0]), "relu").act(g, layers)
      >>> print(jnp.maximum(jnp.ones(2) @ moved[0].kernel, 0) @ moved[1].kernel)
      [2.]
      >>> batch = jnp.array([[1.0, 1.0], [1.0, 3.0]])  # a network for each sample
      >>> each = jax.vmap(lambda x: bind(x, "relu").act(g, layers))(batch)
      >>> print(jax.vmap(lambda x, p: jnp.maximum(x @ p[0].kernel, 0) @ p[1].kernel)(batch, each).T)
      [[2. 4.]]
    """
    x = _one_sample(x)
    chosen = activations.get(activation)

    def act(g: Sequence[jax.Array], layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        g, layers = _prepared(g, layers, x)
        good = valid(g, layers)
        _well_conditioned(g)
        if not isinstance(good, jax.core.Tracer) and not good:
            raise ValueError(
                f"activation {chosen.name!r} gives a zero vector in a hidden layer of this sample, or values that are "
                "not finite, before or after g: the data-dependent action needs activations that are not all zero"
            )
        moved = _act(g, *_wide(layers, x), activation=chosen)
        return jax.tree.map(lambda leaf, given: leaf.astype(given.dtype), moved, layers)

    def valid(g: Sequence[jax.Array], layers: tuple[Layer, ...]) -> jax.Array:
        g, layers = _prepared(g, layers, x)
        return _valid(g, *_wide(layers, x), activation=chosen)

    return Action(act, valid)


def infinitesimal(
    directions: Sequence[jax.Array], layers: tuple[Layer, ...], x: jax.Array, activation: str | Activation
) -> tuple[Layer, ...]:
    """Tangent vector of the action at the identity: ``d/dt act(expm(t T_i), layers)`` at t = 0, by forward mode.

    It is tangent to the level set of the loss of this one sample. It is in general no gradient field, so no conserved
    quantity follows from it. ``R_a`` has no derivative where the last two or more entries of a are zero and move (the
    dead units of a ReLU do not move): the readers are NaN there, as they are where all activations vanish.

    Source: Zhao et al. 2023, section 3: ``dU = U d/dt [R_{sigma(z)} R_{sigma(expm(t T) z)}^-1]``.

    Args:
      directions: one matrix T_i (h_i, h_i) for each hidden layer.
      layers: tuple of ``Layer(kernel, bias)``.
      x: one input (n,).
      activation: an activation or its name.

    Returns:
      A tangent like ``layers``; under a transformation of jax with NaN for the readers of a layer where there is none.

    Raises:
      ValueError: shapes that do not compose, or concrete input without a tangent.
    """
    x = _one_sample(x)
    directions, layers = _prepared(directions, layers, x, "directions")
    wide, x = _wide(layers, x)
    directions = tuple(direction.astype(x.dtype) for direction in directions)
    tangent = _infinitesimal(directions, wide, x, activation=activations.get(activation))
    for place, (kernel, _) in enumerate(tangent):
        if not isinstance(kernel, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(kernel))):
            raise ValueError(
                f"layers[{place}] has no tangent: the activations it reads are all zero, or the last of them are zero "
                "and move, or a value is not finite"
            )
    return jax.tree.map(lambda leaf, given: leaf.astype(given.dtype), tangent, layers)


def lipschitz_bound(g: jax.Array, layers: tuple[Layer, ...], x: jax.Array, activation: str | Activation) -> jax.Array:
    """Bound how far the action, bound to x, moves the output of another sample: per unit of their distance.

    ``|F'(y) - F(y)| <= eta |U| (|V| + |sigma(V x)| / |sigma(g V x)| |g V|) |y - x|`` for two layers, in operator norms,
    eta the Lipschitz constant of the activation.

    Source: Zhao et al. 2023, section 3 (Lipschitz bound for new samples; its form derived here).

    Args:
      g: array (h, h).
      layers: two ``Layer(kernel, bias)``.
      x: the sample (n,) that the action was bound to.
      activation: an activation or its name.

    Returns:
      The factor before ``|y - x|``, a scalar; infinite without a Lipschitz constant or where activations vanish.

    Raises:
      ValueError: not two layers, or shapes that do not compose.
    """
    x = _one_sample(x)
    if len(layers) != 2:
        raise ValueError(f"layers has {len(layers)} of them, but the bound is for two")
    (g,), layers = _prepared((g,), layers, x)
    return _lipschitz_bound(g, *_wide(layers, x), activation=activations.get(activation))


def _on_vectors(activation: str | Activation) -> Callable[[jax.Array], jax.Array]:
    chosen = activations.get(activation)
    # a column is what the radial ones take the norm of
    return lambda z: chosen.function(z[:, None])[:, 0]


def _hidden(layers: tuple[Layer, ...], x: jax.Array, activation: Activation) -> list[jax.Array]:
    """Pre-activations of the hidden layers."""
    sigma, found = _on_vectors(activation), []
    for kernel, bias in layers[:-1]:
        z = _product(x, kernel) + bias
        found.append(z)
        x = sigma(z)
    return found


@activations.compiled
def _act(
    g: tuple[jax.Array, ...], layers: tuple[Layer, ...], x: jax.Array, activation: Activation
) -> tuple[Layer, ...]:
    sigma, moved = _on_vectors(activation), list(layers)
    for place, (element, z) in enumerate(zip(g, _hidden(layers, x, activation), strict=True)):
        kernel, bias = moved[place]
        good, element = admissible(element, "linear"), element.astype(kernel.dtype)
        moved[place] = Layer(_product(kernel, element.T), _product(element, bias))
        reader = moved[place + 1]
        carried = carry(reader.kernel.T, sigma(z), sigma(_product(element, z))).T
        moved[place + 1] = reader._replace(kernel=jnp.where(good, carried, jnp.nan).astype(reader.kernel.dtype))
    return tuple(moved)


@activations.compiled
def _infinitesimal(
    directions: tuple[jax.Array, ...], layers: tuple[Layer, ...], x: jax.Array, activation: Activation
) -> tuple[Layer, ...]:
    identity = tuple(jnp.eye(len(t), dtype=t.dtype) for t in directions)
    tangent = list(jax.jvp(lambda g: _act(g, layers, x, activation=activation), (identity,), (directions,))[1])
    sigma = _on_vectors(activation)
    for place, (direction, z) in enumerate(zip(directions, _hidden(layers, x, activation), strict=True)):
        a, velocity = jax.jvp(sigma, (z,), (_product(direction, z),))
        tail = jnp.cumsum(jnp.abs(a)[::-1])[::-1] == 0
        exists = jnp.any(a != 0) & ~(jnp.all(tail[-2:]) & jnp.any(tail & (velocity != 0)))
        reader = tangent[place + 1]
        tangent[place + 1] = reader._replace(kernel=jnp.where(exists, reader.kernel, jnp.nan))
    return tuple(tangent)


@activations.compiled
def _valid(g: tuple[jax.Array, ...], layers: tuple[Layer, ...], x: jax.Array, activation: Activation) -> jax.Array:
    sigma, good = _on_vectors(activation), jnp.asarray(True)
    for element, z in zip(g, _hidden(layers, x, activation), strict=True):
        good &= admissible(element, "linear")
        for a in (sigma(z), sigma(_product(element.astype(z.dtype), z))):
            good &= rotates(a)
    return good


@activations.compiled
def _lipschitz_bound(g: jax.Array, layers: tuple[Layer, ...], x: jax.Array, activation: Activation) -> jax.Array:
    if activation.lipschitz == float("inf"):
        return jnp.asarray(jnp.inf, x.dtype)
    sigma, (first, last) = _on_vectors(activation), layers
    (z,) = _hidden(layers, x, activation)
    before, after = (norm(sigma(place)) for place in (z, _product(g.astype(z.dtype), z)))
    largest = partial(jnp.linalg.norm, ord=2)
    share = before / jnp.where(after > 0, after, 1)
    moved = _product(first.kernel, g.astype(z.dtype).T)
    bound = activation.lipschitz * largest(last.kernel) * (largest(first.kernel) + share * largest(moved))
    return jnp.where((before > 0) & (after > 0), bound, jnp.inf)


def _square(name: str, value: jax.Array, size: int) -> None:
    if jnp.shape(value) != (size, size):
        raise ValueError(f"{name} has shape {jnp.shape(value)}, but must be ({size}, {size})")


def _one_sample(x: jax.Array) -> jax.Array:
    x = accurate_array("x", x)
    if x.ndim == 2:
        raise ValueError(
            f"x has shape {x.shape}, but the action is bound to one sample (n,): jax.vmap binds each of a batch, "
            "symjax.transport fits one network to all"
        )
    require_vector("x", x)
    return x


def _prepared(
    g: Sequence[jax.Array], layers: tuple[Layer, ...], x: jax.Array, name: str = "g"
) -> tuple[tuple[jax.Array, ...], tuple[Layer, ...]]:
    layers = floating_tree("layers", tuple(layers))
    require_layers(layers, jnp.shape(x)[0])
    needed = f"needs one matrix for each of {len(layers) - 1} hidden layers"
    if not hasattr(g, "__len__") or isinstance(g, str | dict):
        raise ValueError(f"{name} is a {type(g).__name__}, but {needed}")
    if len(g) != len(layers) - 1:
        raise ValueError(f"{name} has {len(g)} entries, but {needed}")
    g = tuple(accurate_array(f"{name}[{place}]", element) for place, element in enumerate(g))
    for place, element in enumerate(g):
        _square(f"{name}[{place}]", element, jnp.shape(layers[place].kernel)[1])
    return g, layers


def _wide(layers: tuple[Layer, ...], x: jax.Array) -> tuple[tuple[Layer, ...], jax.Array]:
    """Layers and sample in one dtype of at least float32."""
    dtype = accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves((layers, x))))
    return jax.tree.map(lambda leaf: leaf.astype(dtype), (layers, x))


def _well_conditioned(g: Sequence[jax.Array]) -> None:
    for place, element in enumerate(g):
        if not isinstance(element, jax.core.Tracer):
            require_element(f"g[{place}]", element, "general_linear")
