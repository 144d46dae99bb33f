"""Linear group actions: translations and rotations of an array, the hidden symmetry group of an activation."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from symjax import activations
from symjax.activations import Activation
from symjax.channels import Layer

__all__ = [
    "admissible",
    "general_linear",
    "hidden_coordinates",
    "move_hidden",
    "rotate",
    "skew",
    "transform",
    "translate",
]

_product = partial(jnp.matmul, precision="highest")


def translate(s: jax.Array, kernel: jax.Array, axis: int = -1) -> jax.Array:
    """Flow of a translation: add ``s`` along one axis, the same amount to every entry of it.

    ``kernel + s`` with ``s`` broadcast over ``axis``. The softmax does not see a constant added to all logits, so
    translating a classifier's kernel (in, classes) by one ``s`` for each input feature, and its bias (classes,) by a
    scalar, leaves the loss unchanged. The generators are constant: ``<grad, 1> = 0`` over classes, ``H 1 = 0``.

    Source: Tanaka & Kunin 2021, section 3 (translation); Kunin et al. 2021, section 3.

    Args:
      s: array of the kernel's shape without ``axis``.
      kernel: array.
      axis: the axis over which nothing changes, the classes.

    Returns:
      An array like ``kernel``, of its dtype.

    Raises:
      ValueError: no such axis, or the shape of ``s`` is not the kernel's without ``axis``.

    Example:
      >>> import jax.numpy as jnp
      >>> print(translate(jnp.array([1.0]), jnp.zeros((1, 3))))
      [[1. 1. 1.]]
    """
    shape = list(jnp.shape(kernel))
    del shape[_known(axis, kernel)]
    if jnp.shape(s) != tuple(shape):
        raise ValueError(f"s has shape {jnp.shape(s)}, but the kernel without axis {axis} has {tuple(shape)}")
    return _translate(s, kernel, axis)


def skew(s: jax.Array, n: int) -> jax.Array:
    """Fill an antisymmetric matrix: ``s`` below the diagonal, row by row, ``-s`` above it.

    Source: the standard basis of so(n); rotation in Tanaka & Kunin 2021, section 3.

    Args:
      s: array (n (n - 1) / 2,), coordinates of the Lie algebra so(n) in the order (1, 0), (2, 0), (2, 1), ...
      n: the dimension.

    Returns:
      An array (n, n) of the dtype of ``s``.

    Raises:
      ValueError: the wrong number of coordinates.

    Example:
      >>> import jax.numpy as jnp
      >>> print(skew(jnp.array([2.0]), 2))
      [[ 0. -2.]
       [ 2.  0.]]
    """
    _right_count(s, n)
    return _skew(s, n)


def rotate(s: jax.Array, q: jax.Array, axis: int = 0) -> jax.Array:
    """Flow of a rotation: ``expm(skew(s)) q`` along one axis.

    In two dimensions ``s`` is the angle, counter-clockwise. The generator is antisymmetric, the charge the angular
    momentum, and the Euclidean kinetic energy is kept.

    Source: Tanaka & Kunin 2021, section 3 (rotation); Zhao et al. 2023, section 4 (radial rescaling activations).

    Args:
      s: array (n (n - 1) / 2,), n the length of the axis.
      q: array.
      axis: the axis to rotate.

    Returns:
      An array like ``q``, of its dtype.

    Raises:
      ValueError: no such axis, or the wrong number of coordinates.

    Example:
      >>> import jax.numpy as jnp
      >>> rotated = rotate(jnp.array([jnp.pi / 2]), jnp.array([2.0, 0.0]))
      >>> print(bool(jnp.allclose(rotated, jnp.array([0.0, 2.0]), atol=1e-6)))
      True
    """
    n = jnp.shape(q)[_known(axis, q)]
    _right_count(s, n)
    moved = _rotate(s, q, axis)
    _finite("s", s, (moved,), (q,))
    return moved


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
    chosen = activations.get(activation)
    wanted = hidden_coordinates(layers, hidden, chosen).shape
    if jnp.shape(s) != wanted:
        raise ValueError(f"s has shape {jnp.shape(s)}, but {chosen.name!r} at hidden layer {hidden} needs {wanted}")
    moved = _flow(s, tuple(layers), hidden, chosen)
    _finite("s", s, (*moved[hidden], moved[hidden + 1].kernel), (*layers[hidden], layers[hidden + 1].kernel))
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
    """
    if not 0 <= hidden < len(layers) - 1:
        raise ValueError(f"hidden is {hidden}, but the network has hidden layers 0 to {len(layers) - 2}")
    h = jnp.shape(layers[hidden].kernel)[1]
    if jnp.shape(layers[hidden + 1].kernel)[0] != h or jnp.shape(layers[hidden].bias) != (h,):
        raise ValueError(
            f"layers[{hidden}] has {h} units, but its bias has shape {jnp.shape(layers[hidden].bias)} and the next "
            f"kernel {jnp.shape(layers[hidden + 1].kernel)}"
        )
    shapes = {"general_linear": (h, h), "positive_diagonal": (h,), "orthogonal": (h * (h - 1) // 2,)}
    return jnp.zeros(shapes[_continuous(activations.get(activation))], layers[hidden].kernel.dtype)


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
    chosen = activations.get(activation)
    h = hidden_coordinates(layers, hidden, "relu").shape[0]
    group = _continuous(chosen)
    wanted = (h,) if group == "positive_diagonal" else (h, h)
    if jnp.shape(g) != wanted:
        raise ValueError(f"g has shape {jnp.shape(g)}, but {chosen.name!r} at hidden layer {hidden} needs {wanted}")
    require_floating("g", g)
    if not isinstance(g, jax.core.Tracer):
        _in_group(np.asarray(g), group)
    return _transform(g, tuple(layers), hidden, chosen)


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
    group = _continuous(activations.get(activation))
    shape = jnp.shape(g)
    if len(shape) != (1 if group == "positive_diagonal" else 2) or len(set(shape)) != 1:
        raise ValueError(f"g has shape {shape}, but the group {group!r} needs a vector or a square matrix in turn")
    require_floating("g", g)
    return _admissible(g, group)


def require_floating(name: str, value: jax.Array) -> None:
    """Refuse an element that is not of a floating dtype, by a ValueError that names the argument."""
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise ValueError(f"{name} has dtype {jnp.result_type(value)}, but it must be floating")


def require_invertible(name: str, g: jax.Array) -> None:
    """Refuse a concrete matrix with a condition number above 0.01/eps, by a ValueError that names the argument."""
    value, most = np.asarray(g), _most_condition(g.dtype)
    condition = np.linalg.cond(value) if np.isfinite(value).all() else np.inf
    if not condition <= most:
        raise ValueError(f"{name} has the condition number {condition:.3g}, but at most {most:.3g} is allowed")


def _most_condition(dtype: jnp.dtype) -> float:
    return 0.01 / float(jnp.finfo(dtype).eps)


def _finite(name: str, s: jax.Array, after: tuple[jax.Array, ...], before: tuple[jax.Array, ...]) -> None:
    """Refuse concrete coordinates so large that the flow left the finite numbers."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (s, *after, *before)):
        return
    lost = [not bool(jnp.all(jnp.isfinite(leaf))) for leaf in after]
    if any(lost) and all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in before):
        largest = float(jnp.max(jnp.abs(s)))
        raise ValueError(f"{name} has the largest entry {largest:.3g}, but its exponential must stay finite")


def _known(axis: int, array: jax.Array) -> int:
    if not -jnp.ndim(array) <= axis < jnp.ndim(array):
        raise ValueError(f"axis {axis} does not exist in an array of shape {jnp.shape(array)}")
    return axis


def _right_count(s: jax.Array, n: int) -> None:
    count = n * (n - 1) // 2
    if jnp.shape(s) != (count,):
        raise ValueError(f"s has shape {jnp.shape(s)}, but rotations of {n} dimensions have {count} coordinates")


@partial(jax.jit, static_argnums=2)
def _translate(s: jax.Array, kernel: jax.Array, axis: int) -> jax.Array:
    return kernel + jnp.expand_dims(s.astype(kernel.dtype), axis)


@partial(jax.jit, static_argnums=1)
def _skew(s: jax.Array, n: int) -> jax.Array:
    lower = jnp.zeros((n, n), s.dtype).at[jnp.tril_indices(n, -1)].set(s)
    return lower - lower.T


@partial(jax.jit, static_argnums=2)
def _rotate(s: jax.Array, q: jax.Array, axis: int) -> jax.Array:
    rotation = jax.scipy.linalg.expm(_skew(s, q.shape[axis])).astype(q.dtype)
    return jnp.moveaxis(jnp.tensordot(rotation, q, axes=((1,), (axis,)), precision="highest"), 0, axis)


_Continuous = Literal["general_linear", "positive_diagonal", "orthogonal"]


def _continuous(activation: Activation) -> _Continuous:
    if activation.group not in ("general_linear", "positive_diagonal", "orthogonal"):
        raise ValueError(
            f"activation is {activation.name!r}, whose linear symmetries are discrete ({activation.group}): it must be "
            "linear, homogeneous or radial"
        )
    if activation.group == "positive_diagonal" and activation.degree is None:
        raise ValueError(f"activation is {activation.name!r} with positive scalings, but its degree is not given")
    return activation.group


def _in_group(g: np.ndarray, group: _Continuous) -> None:
    eps = float(jnp.finfo(g.dtype).eps)
    if group == "positive_diagonal":
        if not (np.isfinite(g) & (g > 0)).all():
            raise ValueError(f"g has the smallest entry {g.min():.3g}, but all must be positive and finite")
    elif group == "orthogonal":
        error = np.abs(g.T @ g - np.eye(len(g), dtype=g.dtype)).max()
        if not error <= 1000 * eps:
            raise ValueError(
                f"g is not orthogonal: |g^T g - 1| is {error:.3g}, and at most {1000 * eps:.3g} is allowed"
            )
    else:
        require_invertible("g", g)


@partial(jax.jit, static_argnums=1)
def _admissible(g: jax.Array, group: _Continuous) -> jax.Array:
    finite = jnp.all(jnp.isfinite(g))
    if group == "positive_diagonal":
        return finite & jnp.all(g > 0)
    if group == "orthogonal":
        error = jnp.abs(_product(g.T, g) - jnp.eye(len(g), dtype=g.dtype))
        return finite & jnp.all(error <= 1000 * float(jnp.finfo(g.dtype).eps))
    values = jnp.linalg.svd(jnp.where(finite, g, jnp.zeros_like(g)), compute_uv=False)
    return finite & (values[0] <= _most_condition(g.dtype) * values[-1]) & (values[0] > 0)


def move_hidden(layers: tuple[Layer, ...], hidden: int, g: jax.Array, inverse: jax.Array) -> tuple[Layer, ...]:
    """Multiply a layer by g and its readers by ``pi(g)^-1``, dtypes kept; diagonal elements are vectors.

    Source: Zhao et al. 2023, section 3 (the action on two layers).
    """
    (kernel, bias), reader, moved = layers[hidden], layers[hidden + 1], list(layers)
    g, inverse = g.astype(kernel.dtype), inverse.astype(reader.kernel.dtype)
    if g.ndim == 1:
        moved[hidden] = Layer(kernel * g[None], bias * g)
        moved[hidden + 1] = reader._replace(kernel=inverse[:, None] * reader.kernel)
    else:
        moved[hidden] = Layer(_product(kernel, g.T), _product(g, bias))
        moved[hidden + 1] = reader._replace(kernel=_product(inverse.T, reader.kernel))
    return tuple(moved)


@partial(jax.jit, static_argnums=(2, 3))
def _flow(s: jax.Array, layers: tuple[Layer, ...], hidden: int, activation: Activation) -> tuple[Layer, ...]:
    if activation.group == "positive_diagonal":
        return move_hidden(layers, hidden, jnp.exp(s), jnp.exp(-s * activation.degree))
    s = s if activation.group == "general_linear" else _skew(s, layers[hidden].kernel.shape[1])
    expm = jax.scipy.linalg.expm
    return move_hidden(layers, hidden, expm(s), expm(-s))


@partial(jax.jit, static_argnums=(2, 3))
def _transform(g: jax.Array, layers: tuple[Layer, ...], hidden: int, activation: Activation) -> tuple[Layer, ...]:
    if activation.group == "positive_diagonal":
        return move_hidden(layers, hidden, g, g**-activation.degree)
    inverse = jnp.linalg.inv(g) if activation.group == "general_linear" else g.T
    return move_hidden(layers, hidden, g, inverse)
