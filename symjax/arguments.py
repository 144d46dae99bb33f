"""One rule for the arguments of every public function: what becomes an array, what is promoted, what is refused.

Arrays, lists and numbers become jax arrays. Integers are promoted to jax's default float, because a quantity of the
library is a real number and an update cast to integers is silently zero; booleans, complex numbers, text, functions and
objects are refused by a sentence that names the argument. Floating dtypes are kept, low precision included; sums over
them are made in :func:`accumulation_dtype`.
"""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "accumulation_dtype",
    "accurate_array",
    "accurate_arrays",
    "accurate_tree",
    "finite_number",
    "floating_array",
    "floating_tree",
    "inner_product",
    "is_concrete",
    "real_numbers",
    "require_same_shapes",
    "scalar",
    "whole_number",
]


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
        if isinstance(value, list | tuple) and any(
            isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)
        ):
            value = jnp.asarray(value)
        dtype = jnp.result_type(value) if hasattr(value, "dtype") else np.asarray(value).dtype
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {_kind(value)}, but must be an array of real numbers") from None
    if jnp.issubdtype(dtype, jnp.integer):
        found = jnp.asarray(value, jnp.result_type(float))
    elif jnp.issubdtype(dtype, jnp.floating):
        # a Python number takes jax's default float, an array keeps its own
        found = jnp.asarray(value)
    else:
        what = f"an array of dtype {dtype}" if np.ndim(value) and str(dtype) != "object" else _kind(value)
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


def accurate_array(name: str, value: Any, shape: tuple[int, ...] | None = None) -> jax.Array:
    """Turn an argument into an array of at least float32, where it enters sums, factorisations or recursions.

    Source: this library's bookkeeping.

    Args:
      name: of the argument, for the sentence.
      value: as for :func:`floating_array`.
      shape: what it must have; None leaves it free.

    Returns:
      An array of float32 or float64.

    Raises:
      ValueError: as :func:`floating_array`.

    Example:
      >>> import jax.numpy as jnp
      >>> accurate_array("x", jnp.ones(2, jnp.bfloat16)).dtype
      dtype('float32')
    """
    found = floating_array(name, value, shape)
    return found.astype(accumulation_dtype(found.dtype))


def accurate_arrays(**values: Any) -> tuple[jax.Array, ...]:
    """Turn several arguments into arrays of one dtype, the widest of theirs and at least float32.

    Source: this library's bookkeeping.

    Args:
      **values: the arguments by their names.

    Returns:
      The arrays, in the order given.

    Raises:
      ValueError: as :func:`floating_array`.

    Example:
      >>> import jax.numpy as jnp
      >>> u, v = accurate_arrays(u=jnp.ones(2, jnp.float16), v=jnp.ones(2, jnp.float32))
      >>> u.dtype == v.dtype == jnp.float32
      True
    """
    found = [accurate_array(name, value) for name, value in values.items()]
    dtype = accumulation_dtype(*(array.dtype for array in found))
    return tuple(array.astype(dtype) for array in found)


def accurate_tree(name: str, tree: Any) -> Any:
    """Turn every leaf of a pytree into an array of at least float32, by the rule of :func:`accurate_array`.

    Source: this library's bookkeeping.

    Args:
      name: of the argument, for the sentence.
      tree: any pytree; its leaves are arrays or numbers.

    Returns:
      The same structure.

    Raises:
      ValueError: as :func:`floating_tree`.
    """
    return jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(leaf.dtype)), floating_tree(name, tree))


def real_numbers(dtype: Any, **values: Any) -> tuple[jax.Array, ...]:
    """Turn hyper-parameters (numbers or arrays) into arrays of the dtype of what they meet.

    Source: this library's bookkeeping.

    Args:
      dtype: of the result; a floating dtype.
      **values: the arguments by their names.

    Returns:
      The arrays, in the order given.

    Raises:
      ValueError: as :func:`floating_array`.

    Example:
      >>> import jax.numpy as jnp
      >>> [float(x) for x in real_numbers(jnp.float32, learning_rate=1, momentum=0.5)]
      [1.0, 0.5]
    """
    return tuple(floating_array(name, value).astype(dtype) for name, value in values.items())


def require_same_shapes(name: str, tree: Any, like: str, other: Any) -> None:
    """Refuse a pytree of another structure or with leaves of other shapes than a second one; names three differences.

    Source: this library's bookkeeping.

    Args:
      name: of the argument, for the sentence.
      tree: the pytree.
      like: what the other is called.
      other: the pytree whose structure and shapes are wanted.

    Raises:
      ValueError: they differ.
    """
    found, wanted = (jax.tree.map(jnp.shape, each) for each in (tree, other))
    if jax.tree.structure(tree) == jax.tree.structure(other) and found == wanted:
        return
    left, right = (
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(each)[0]}
        for each in (tree, other)
    )
    differing = [path for path in dict.fromkeys((*right, *left)) if left.get(path) != right.get(path)][:3]
    if differing:
        found, wanted = (
            ", ".join(f"{shapes.get(path, 'nothing')}{f' at {path}' if path else ''}" for path in differing)
            for shapes in (left, right)
        )
    raise ValueError(f"{name} has shapes {found}, but those of {like} are {wanted}")


def scalar(name: str, value: Any) -> float:
    """Read one real number that must be known: a Python or NumPy number, or an array of one entry.

    Source: this library's bookkeeping.

    Args:
      name: of the argument, for the sentence.
      value: the number; not traced.

    Returns:
      A Python float.

    Raises:
      ValueError: anything else.

    Example:
      >>> scalar("slope", 2)
      2.0
    """
    if isinstance(value, jax.core.Tracer):
        raise ValueError(f"{name} is traced, but must be one number that is known before anything is compiled")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)  # no array, and so no device: it is asked for when the library is imported
    with jax.ensure_compile_time_eval():
        if floating_array(name, value).size != 1:
            raise ValueError(f"{name} has shape {np.shape(value)}, but must be one number")
    return float(np.asarray(value).item())


def finite_number(name: str, value: Any) -> float:
    """Read one real number as :func:`scalar` does, and refuse what is not finite.

    Source: this library's bookkeeping.

    Raises:
      ValueError: anything else.

    Example:
      >>> finite_number("alpha", 0.5)
      0.5
    """
    number = scalar(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}, but must be finite")
    return number


def whole_number(name: str, value: Any, least: int) -> int:
    """Read a size or a count: an integer of at least ``least``; no boolean, no float, no text.

    Source: this library's bookkeeping.

    Args:
      name: of the argument, for the sentence.
      value: a Python, NumPy or concrete jax integer.
      least: the smallest allowed.

    Returns:
      A Python int.

    Raises:
      ValueError: anything else, or less than ``least``.

    Example:
      >>> whole_number("panels", 8, 1)
      8
    """
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ValueError(f"{name} is {value!r}, but must be an integer of at least {least}")
    if number < least:
        raise ValueError(f"{name} is {number}, but must be at least {least}")
    return number


def is_concrete(*trees: Any) -> bool:
    """Say whether all leaves are known numbers: nothing of them is traced by a transformation of jax.

    Source: this library's bookkeeping.
    """
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def accumulation_dtype(*dtypes: Any) -> Any:
    """The dtype in which numbers of these dtypes are summed: the widest of them, and at least float32.

    Source: this library's bookkeeping.

    Example:
      >>> import jax.numpy as jnp
      >>> accumulation_dtype(jnp.bfloat16)
      dtype('float32')
    """
    return jnp.dtype(jnp.float64 if any(jnp.finfo(dtype).bits > 32 for dtype in dtypes) else jnp.float32)


def inner_product(left: Any, right: Any) -> jax.Array:
    """Inner product of two pytrees of one structure, summed in at least float32.

    Source: this library's bookkeeping.

    Args:
      left: pytree of floating arrays.
      right: pytree of the same structure and shapes; dtypes may differ.

    Returns:
      A scalar.
    """
    pairs = list(zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))
    dtype = accumulation_dtype(*(leaf.dtype for pair in pairs for leaf in pair))
    return sum((jnp.sum(a.astype(dtype) * b.astype(dtype)) for a, b in pairs), jnp.zeros((), dtype))


def _kind(value: Any) -> str:
    return f"{value!r}" if isinstance(value, str | bool | complex) or value is None else f"a {type(value).__name__}"
