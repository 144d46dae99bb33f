"""A user's function as a linear operator on flat vectors: traced anew at every call, brought to order one.

No program is kept for a user's function, because it may read what has changed since: :func:`run` compiles for one call
and forgets. Who calls often compiles the caller.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, floating_array, floating_tree

Params = Any  # a pytree of floating arrays
Kind = Literal["hessian", "product"]
Product = Callable[[jax.Array], jax.Array]


class Layout(NamedTuple):
    """How a pytree lies in a flat vector, and the dtype of that vector: at least float32, so that LAPACK takes it."""

    structure: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]
    size: int
    dtype: Any

    def ravel(self, tree: Params) -> jax.Array:
        """Join the leaves to one vector of ``dtype``."""
        return jnp.concatenate([leaf.ravel().astype(self.dtype) for leaf in jax.tree.leaves(tree)])

    def unravel(self, flat: jax.Array) -> Params:
        """Cut a vector into leaves of the parameters' shapes and dtypes."""
        dtypes = self.structure.unflatten([leaf.dtype for leaf in self.leaves])
        return jax.tree.map(lambda part, dtype: part.astype(dtype), self.unravel_wide(flat), dtypes)

    def unravel_wide(self, flat: jax.Array) -> Params:
        """Cut a vector into leaves of the parameters' shapes, in ``dtype``."""
        ends = np.cumsum([leaf.size for leaf in self.leaves])[:-1]
        parts = zip(jnp.split(flat, ends), self.leaves, strict=True)
        return self.structure.unflatten([part.reshape(leaf.shape) for part, leaf in parts])


def layout(params: Params) -> Layout:
    """Return the layout of a pytree of floating arrays."""
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    return Layout(
        structure, shapes, sum(leaf.size for leaf in leaves), accumulation_dtype(*(leaf.dtype for leaf in leaves))
    )


def parameters(params: Params) -> tuple[Params, Layout]:
    """Take the parameters at the door: integers and numbers promoted, what is no number refused, none refused.

    Raises:
      ValueError: a leaf that holds no real numbers, or no parameters at all.
    """
    params = floating_tree("params", params)
    form = layout(params)
    if not form.size:
        raise ValueError("params has no entries, but needs at least one parameter")
    return params, form


def whole(name: str, value: Any, least: int, parameters: int | None = None, note: str = "") -> int:
    """Take a count at the door, of which there may be no more than parameters.

    Raises:
      ValueError: no whole number, or outside of its range.
    """
    allowed = f"of at least {least}" if parameters is None else f"from {least} to the {parameters} parameters"
    wanted = f"{name} is {value!r}, but must be a whole number {allowed}{note}"
    if isinstance(value, bool | np.bool_ | str):
        raise ValueError(wanted)
    try:
        found = int(value)
        exact = found == value
    except (TypeError, ValueError, OverflowError, jax.errors.JAXTypeError):
        raise ValueError(wanted) from None
    if not exact or found < least or (parameters is not None and found > parameters):
        raise ValueError(wanted)
    return found


def loss_at(loss: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[Params], jax.Array]:
    """Bind what else a loss takes, and ask it for a scalar.

    Raises:
      ValueError: on evaluation, a loss that does not give a real scalar.
    """

    def evaluate(params: Params) -> jax.Array:
        value = floating_array("the value of the loss", loss(params, *args))
        if value.shape != ():
            raise ValueError(f"the loss gives an array of shape {value.shape}, but must give a scalar")
        return value

    return evaluate


def flat_product(function: Callable[..., Any], params: Params, args: tuple[Any, ...], operator: Kind) -> Product:
    """Return the product on flat vectors, with the Hessian of ``function`` or by ``function(vector, *args)``.

    Raises:
      ValueError: a loss that is not a scalar, or a product that is no vector like ``params``.
    """
    form = layout(params)
    if operator == "hessian":
        loss = loss_at(function, args)
        # linearised once: a product does not repeat the network's own passes
        return jax.linearize(jax.grad(lambda flat: loss(form.unravel(flat))), form.ravel(params))[1]

    def product(vector: jax.Array) -> jax.Array:
        return form.ravel(like("the product", function(form.unravel(vector), *args), form))

    return product


def like(name: str, tree: Params, form: Layout) -> Params:
    """Take a vector at the door: it must have the structure and shapes of the parameters.

    Raises:
      ValueError: it has not.
    """
    tree = floating_tree(name, tree)
    leaves, structure = jax.tree.flatten(tree)
    if structure != form.structure:
        raise ValueError(f"{name} has the structure {structure}, but must be like the parameters, {form.structure}")
    shapes, wanted = [leaf.shape for leaf in leaves], [leaf.shape for leaf in form.leaves]
    if shapes != wanted:
        raise ValueError(f"{name} has leaves of shapes {shapes}, but must be like the parameters, {wanted}")
    return tree


def operator_kind(operator: Any) -> None:
    """Refuse an operator that nobody has.

    Raises:
      ValueError: it is neither "hessian" nor "product".
    """
    if operator not in ("hessian", "product"):
        raise ValueError(f'operator is {operator!r}, but must be "hessian" or "product"')


def order_one(product: Product, key: jax.Array, form: Layout) -> tuple[Product, jax.Array]:
    """Divide an operator by a power of two, so that it takes a random unit vector to entries of order one.

    Squares of what is 1e-25 or 1e25 leave float32, and thresholds compare with one; a power of two rounds nothing.

    Returns:
      The product with the operator divided, and the scale to multiply results by. Takes one product.
    """
    probe = jax.random.normal(key, (form.size,), form.dtype)
    image = product(probe / jnp.linalg.norm(probe))
    largest = jnp.max(jnp.abs(image))
    bound = jnp.finfo(form.dtype).maxexp - 8  # neither the scale nor its inverse leaves the normal range
    exponent = jnp.clip(jnp.frexp(largest)[1], -bound, bound)
    usable = (largest > 0) & jnp.isfinite(largest)
    scale = jnp.where(usable, jnp.ldexp(jnp.ones((), form.dtype), exponent), jnp.ones((), form.dtype))
    return lambda vector: product(vector) / scale, scale


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Compile a function for this one call: ``function(*args)``, arrays among ``args`` traced and the rest as it is.

    Flags, numbers, names and objects reach the user's function unchanged.
    """
    leaves, structure = jax.tree.flatten(args)
    traced = [isinstance(leaf, jax.Array) or _numeric(leaf) for leaf in leaves]

    def call(arrays: list[Any]) -> Any:
        given = iter(arrays)
        merged = [next(given) if is_array else leaf for is_array, leaf in zip(traced, leaves, strict=True)]
        return function(*structure.unflatten(merged))

    return jax.jit(call)([leaf for is_array, leaf in zip(traced, leaves, strict=True) if is_array])


def _numeric(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray) and (leaf.dtype.kind in "biufc" or leaf.dtype.name == "bfloat16")
