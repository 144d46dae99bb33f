"""One rule for the arguments of every public function: what becomes an array, what is promoted, what is refused.

Arrays, lists and numbers become jax arrays. Integers are promoted to jax's default float, because a quantity of the
library is a real number and an update cast to integers is silently zero; booleans, complex numbers, text, functions and
objects are refused by a sentence that names the argument. Floating dtypes are kept, low precision included; sums over
them are made in :func:`accumulation_dtype`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["accumulation_dtype", "floating_array", "floating_tree", "inner_product"]


def floating_array(name: str, value: Any, shape: tuple[int, ...] | None = None) -> jax.Array:
    """Turn an argument into a floating array: lists, numbers and integers too.

    Source: this library's bookkeeping.

    Args:
      name: of the argument, for the sentence.
      value: an array, a number, or nested lists of numbers.
      shape: what it must have; None leaves it free.

    Returns:
      An array of a floating dtype; a floating array keeps its own, integers get jax's default float.

    Raises:
      ValueError: what holds no real numbers, or has another shape.

    Example:
      >>> print(floating_array("target", [1, 2]))
      [1. 2.]
    """
    try:
        dtype = jnp.result_type(value) if hasattr(value, "dtype") else np.asarray(value).dtype
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {_kind(value)}, but must be an array of real numbers") from None
    if jnp.issubdtype(dtype, jnp.integer):
        found = jnp.asarray(value, jnp.result_type(float))
    elif jnp.issubdtype(dtype, jnp.floating):
        # a Python number takes jax's default float, an array keeps its own
        found = jnp.asarray(value)
    else:
        what = f"an array of dtype {dtype}" if np.ndim(value) and dtype.kind != "O" else _kind(value)
        raise ValueError(f"{name} is {what}, but must be an array of real numbers")
    if shape is not None and found.shape != tuple(shape):
        raise ValueError(f"{name} has shape {found.shape}, but must have shape {tuple(shape)}")
    return found


def floating_tree(name: str, tree: Any) -> Any:
    """Turn every leaf of a pytree of parameters into a floating array, by the rule of :func:`floating_array`.

    Source: this library's bookkeeping.

    Args:
      name: of the argument, for the sentence.
      tree: any pytree; its leaves are arrays or numbers.

    Returns:
      The same structure, every leaf a floating array.

    Raises:
      ValueError: a leaf that holds no real numbers, named by its path, or no leaf at all.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    if not leaves:
        raise ValueError(f"{name} has no leaves, but needs floating arrays")
    return jax.tree.unflatten(
        structure, [floating_array(f"{name}{jax.tree_util.keystr(path)}", leaf) for path, leaf in leaves]
    )


def accumulation_dtype(dtype: Any) -> Any:
    """The dtype in which numbers of ``dtype`` are summed: at least float32.

    Source: this library's bookkeeping.

    Example:
      >>> import jax.numpy as jnp
      >>> accumulation_dtype(jnp.bfloat16)
      dtype('float32')
    """
    return jnp.promote_types(dtype, jnp.float32)


def inner_product(left: Any, right: Any) -> jax.Array:
    """Inner product of two pytrees of one structure, summed in at least float32.

    Source: this library's bookkeeping.

    Args:
      left: pytree of floating arrays.
      right: pytree of the same structure and shapes; dtypes may differ.

    Returns:
      A scalar.
    """
    products = [
        jnp.sum(a.astype(dtype) * b.astype(dtype))
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
        for dtype in [accumulation_dtype(jnp.promote_types(a.dtype, b.dtype))]
    ]
    total = jnp.result_type(*products)
    return sum((product.astype(total) for product in products), jnp.zeros((), total))


def _kind(value: Any) -> str:
    return f"{value!r}" if isinstance(value, str | bool | complex) or value is None else f"a {type(value).__name__}"
