"""The linear symmetry group of an activation, acting on a hidden layer of a perceptron.

A case of :mod:`symjax.channels`: linear and radial activations mix the units of a channel, homogeneous ones rescale
them.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from symjax import activations
from symjax.actions.arrays import require_finite_move
from symjax.activations import Activation
from symjax.arguments import floating_array, floating_tree
from symjax.channels import Channel, Layer, Mixing, Scaling, mix, mixings, rescale, scalings
from symjax.channels import hidden as hidden_channel
from symjax.channels.linear import act
from symjax.groups import algebra_shape, is_element, require_element

__all__ = ["admissible", "general_linear", "hidden_coordinates", "move_hidden", "require_floating", "transform"]


def general_linear(
    s: jax.Array, layers: tuple[Layer, ...], hidden: int = 0, activation: str | Activation = "linear"
) -> tuple[Layer, ...]:
    """Flow of an activation's linear symmetry group on a hidden layer: GL(h), or the part of it that commutes.

    ``W -> g W``, ``b -> g b``, ``U -> U pi(g)^-1`` with ``sigma(g z) = pi(g) sigma(z)``; by the activation's group

    - linear: ``s`` (h, h), ``g = expm(s)``, ``pi(g) = g``;
    - homogeneous of degree alpha, neuron by neuron: ``s`` (h,), ``g = diag(exp(s))``, ``pi(g) = g^alpha``;
    - radial, a function of the norm times the vector: ``s`` (h (h - 1)/2,), ``g = expm(skew(s))``, ``pi(g) = g``.

    ``hidden_coordinates`` gives the zero of ``s``. The generator is ``(M W, M b, -U d pi(M))``.

    Source: Zhao et al. 2023, section 3 and Table 1.

    Args:
      s: coordinates of the Lie algebra, as above.
      layers: tuple of ``Layer(kernel, bias)``; kernels are the transposes of W and U.
      hidden: which hidden layer, from 0.
      activation: an activation or its name.

    Returns:
      The layers moved, of their dtypes.

    Raises:
      ValueError: no such hidden layer, an activation with discrete symmetries only, or ``s`` of another shape.

    Example:
      >>> import jax.numpy as jnp
      >>> layers = (Layer(jnp.ones((1, 2)), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
      >>> moved = general_linear(jnp.array([[0.0, 1.0], [0.0, 0.0]]), layers)
      >>> print(moved[0].kernel, (moved[0].kernel @ moved[1].kernel).item())
      [[2. 1.]] 2.0
    """
    chosen, s = activations.get(activation), floating_array("s", s)
    wanted = hidden_coordinates(layers, hidden, chosen).shape
    if s.shape != wanted:
        raise ValueError(f"s has shape {s.shape}, but {chosen.name!r} at hidden layer {hidden} needs {wanted}")
    layers = floating_tree("layers", tuple(layers))
    channels, name = _channels(layers, hidden, chosen), f"hidden{hidden}"
    family = scalings if chosen.group == "positive_diagonal" else mixings
    moved = family(channels, "hidden").flow({name: s}, layers)
    require_finite_move("s", s, (moved[hidden], moved[hidden + 1].kernel), (layers[hidden], layers[hidden + 1].kernel))
    return moved


def hidden_coordinates(
    layers: tuple[Layer, ...], hidden: int = 0, activation: str | Activation = "linear"
) -> jax.Array:
    """Make the zero coordinates of :func:`general_linear` for one hidden layer.

    Source: Zhao et al. 2023, Table 1: h^2, h and h (h - 1)/2 of them.

    Args:
      layers: tuple of ``Layer(kernel, bias)``.
      hidden: which hidden layer, from 0.
      activation: an activation or its name.

    Returns:
      Zeros of the kernel's dtype.

    Raises:
      ValueError: no such hidden layer, or an activation with discrete symmetries only.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.symmetry import Symmetry
      >>> layers = (Layer(jnp.ones((1, 2)), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
      >>> symmetry = Symmetry(general_linear, hidden_coordinates(layers))
      >>> print(symmetry.zero.shape, symmetry.flow(symmetry.zero, layers)[0].kernel)
      (2, 2) [[1. 1.]]
    """
    if not 0 <= hidden < len(layers) - 1:
        raise ValueError(f"hidden is {hidden}, but the network has hidden layers 0 to {len(layers) - 2}")
    h = jnp.shape(layers[hidden].kernel)[1]
    if jnp.shape(layers[hidden + 1].kernel)[0] != h or jnp.shape(layers[hidden].bias) != (h,):
        raise ValueError(
            f"layers[{hidden}] has {h} units, but its bias has shape {jnp.shape(layers[hidden].bias)} and the next "
            f"kernel {jnp.shape(layers[hidden + 1].kernel)}"
        )
    group = _continuous(activations.get(activation))
    shape = (h,) if group == "positive_diagonal" else algebra_shape(group, h)
    return jnp.zeros(shape, floating_array("kernel", layers[hidden].kernel).dtype)


def transform(
    g: jax.Array, layers: tuple[Layer, ...], hidden: int = 0, activation: str | Activation = "linear"
) -> tuple[Layer, ...]:
    """Act with a finite element of an activation's linear symmetry group on a hidden layer.

    ``W -> g W``, ``b -> g b``, ``U -> U pi(g)^-1``, as :func:`general_linear`.

    Source: Zhao et al. 2023, section 3 and Table 1.

    Args:
      g: linear: invertible (h, h); homogeneous: the positive diagonal (h,); radial: orthogonal (h, h).
      layers: tuple of ``Layer(kernel, bias)``.
      hidden: which hidden layer, from 0.
      activation: an activation or its name.

    Returns:
      The layers moved.

    Raises:
      ValueError: another shape, and for a concrete ``g`` what is not in the group: a condition number above 0.01/eps,
        a diagonal entry that is not positive and finite, ``|g^T g - 1|`` above 1000 eps. Under a transformation of jax
        nothing can be raised: the status is :func:`admissible`.

    Example:
      >>> import jax.numpy as jnp
      >>> layers = (Layer(jnp.ones((1, 2)), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
      >>> moved = transform(jnp.array([2.0, 1.0]), layers, activation="relu")
      >>> print(moved[0].kernel, moved[1].kernel.T)
      [[2. 1.]] [[0.5 1. ]]
    """
    chosen, g = activations.get(activation), floating_array("g", g)
    h = hidden_coordinates(layers, hidden, "relu").shape[0]
    diagonal = _continuous(chosen) == "positive_diagonal"
    wanted = (h,) if diagonal else (h, h)
    if g.shape != wanted:
        raise ValueError(f"g has shape {g.shape}, but {chosen.name!r} at hidden layer {hidden} needs {wanted}")
    layers = floating_tree("layers", tuple(layers))
    channels, name = _channels(layers, hidden, chosen), f"hidden{hidden}"
    if not diagonal:
        require_element("g", g, _continuous(chosen))
        return mix({name: {"hidden": g}}, layers, channels)
    if not isinstance(g, jax.core.Tracer) and not (np.isfinite(g) & (g > 0)).all():
        raise ValueError(f"g has the smallest entry {g.min():.3g}, but all must be positive and finite")
    return rescale({name: {"hidden": jnp.log(g)}}, layers, channels)


def admissible(g: jax.Array, activation: str | Activation = "linear") -> jax.Array:
    """Say whether an element belongs to an activation's group, with the limits of :func:`transform`.

    It is the explicit status for compiled code, where :func:`transform` cannot raise.

    Source: Zhao et al. 2023, Table 1; the limits are this library's.

    Args:
      g: linear: (h, h); homogeneous: the diagonal (h,); radial: (h, h).
      activation: an activation or its name.

    Returns:
      A boolean scalar.

    Raises:
      ValueError: an activation with discrete symmetries only, or another shape.

    Example:
      >>> import jax.numpy as jnp
      >>> print(admissible(jnp.array([2.0, -1.0]), "relu"), admissible(jnp.eye(2), "radial"))
      False True
    """
    group, g = _continuous(activations.get(activation)), floating_array("g", g)
    shape = g.shape
    if len(shape) != (1 if group == "positive_diagonal" else 2) or len(set(shape)) != 1:
        raise ValueError(f"g has shape {shape}, but the group {group!r} needs a vector or a square matrix in turn")
    return jnp.all(jnp.isfinite(g)) & jnp.all(g > 0) if group == "positive_diagonal" else is_element(g, group)


def move_hidden(layers: tuple[Layer, ...], hidden: int, g: jax.Array, inverse: jax.Array) -> tuple[Layer, ...]:
    """Multiply a layer by g and its readers by ``pi(g)^-1``, dtypes kept.

    Source: Zhao et al. 2023, section 3 (the action on two layers).

    Args:
      layers: tuple of ``Layer(kernel, bias)``.
      hidden: which hidden layer, from 0.
      g: array (h, h).
      inverse: array (h, h), ``pi(g)^-1`` or what stands in its place.

    Returns:
      The layers moved.
    """
    channels = tuple(_channels(layers, hidden, activations.get("linear")).items())
    values = ({f"hidden{hidden}": {"hidden": matrix}} for matrix in (g, jnp.swapaxes(inverse, -1, -2)))
    return act(*values, layers, channels)


def require_floating(name: str, value: jax.Array) -> None:
    """Refuse an element that is not of a floating dtype, by a ValueError that names the argument."""
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise ValueError(f"{name} has dtype {jnp.result_type(value)}, but it must be floating")


def _continuous(activation: Activation) -> Literal["general_linear", "positive_diagonal", "orthogonal"]:
    if activation.group not in ("general_linear", "positive_diagonal", "orthogonal"):
        raise ValueError(
            f"activation is {activation.name!r}, whose linear symmetries are discrete ({activation.group}): it must be "
            "linear, homogeneous or radial"
        )
    if activation.group == "positive_diagonal" and activation.degree is None:
        raise ValueError(f"activation is {activation.name!r} with positive scalings, but its degree is not given")
    return activation.group


def _channels(layers: tuple[Layer, ...], place: int, activation: Activation) -> dict[str, Channel]:
    """The hidden layer as a channel: its scaling, or its linear group, is named ``"hidden"``."""
    group, channel = _continuous(activation), hidden_channel(layers, (place,), (place + 1,), activation.degree or 1.0)
    (terms,) = (scaling.terms for scaling in channel.scalings)
    if group == "positive_diagonal":
        return {f"hidden{place}": channel._replace(scalings=(Scaling("hidden", terms),))}
    signed = tuple((site, 1 if degree > 0 else -1) for site, degree in terms)
    return {f"hidden{place}": channel._replace(scalings=(), mixings=(Mixing("hidden", group, signed),))}
