"""Constants folded with NumPy while tracing: positions, masks, rotary tables and predicates, without compiling."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["any_degree", "fold", "varies"]


def fold(primitive: Any, arrays: Sequence[np.ndarray], params: dict[str, Any]) -> list[Any]:
    """Values of a primitive applied to known arrays: by NumPy where it is listed, by jax otherwise."""
    if (function := _NUMPY.get(primitive.name)) is not None:
        wanted = params.get("out_dtype")
        params = {name: value for name, value in params.items() if name != "out_dtype"}
        with np.errstate(all="ignore"):
            found = function(*arrays, **params)
        dtype = wanted or params.get("new_dtype", arrays[0].dtype if arrays else None)
        if primitive.name in _PREDICATES:
            dtype = np.bool_
        elif primitive.name == "iota":
            dtype = params["dtype"]
        elif primitive.name == "select_n":
            dtype = arrays[1].dtype
        return [found if found.dtype == dtype else found.astype(dtype)]
    with jax.ensure_compile_time_eval():
        results = primitive.bind(*map(jnp.asarray, arrays), **params)
    results = results if primitive.multiple_results else [results]
    return [out if jnp.issubdtype(out.dtype, jax.dtypes.extended) else np.asarray(out) for out in results]


def varies(array: np.ndarray, axis: int) -> bool:
    """Whether entries differ along an axis."""
    if array.shape[axis] < 2 or array.strides[axis] == 0:
        return False
    first = np.take(array, [0], axis)
    return not bool(np.all((array == first) | ((array != array) & (first != first))))


def any_degree(array: np.ndarray) -> str:
    """Why a constant may be taken to have any degree: "zero" or "infinite" exactly, "mask" up to masking, else ""."""
    if array.dtype == np.bool_ or not jnp.issubdtype(array.dtype, np.number):
        return ""
    smallest = np.min(np.abs(array)) if array.size else 0
    if not array.size or not np.any(array):
        return "zero"
    zero_or_infinite = (array == 0) | np.isinf(array)
    if np.all(zero_or_infinite):
        return "infinite"
    if np.all(zero_or_infinite | (np.abs(array) >= 1e9)) and smallest != 1:
        return "mask"
    return ""


def _iota(*_: Any, dtype: Any, shape: tuple[int, ...], dimension: int, **__: Any) -> np.ndarray:
    ones = [1] * len(shape)
    ones[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension], dtype=dtype).reshape(ones), shape)


def _broadcast_in_dim(
    array: np.ndarray, *, shape: tuple[int, ...], broadcast_dimensions: tuple[int, ...], **_: Any
) -> np.ndarray:
    ones = [1] * len(shape)
    for size, axis in zip(array.shape, broadcast_dimensions, strict=True):
        ones[axis] = size
    return np.broadcast_to(array.reshape(ones), shape)


def _select_n(which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    return np.where(which, cases[1], cases[0]) if len(cases) == 2 else np.choose(which, cases)


def _slice(array: np.ndarray, *, start_indices: Any, limit_indices: Any, strides: Any) -> np.ndarray:
    strides = strides or (1,) * array.ndim
    return array[tuple(map(slice, start_indices, limit_indices, strides))]


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # lax.div of integers truncates towards zero, NumPy's // floors
    if not jnp.issubdtype(a.dtype, jnp.integer):
        return np.divide(a, b)
    return np.where(b == 0, -1, np.trunc(np.divide(a, np.where(b == 0, 1, b)))).astype(a.dtype)


_PREDICATES: dict[str, Callable[..., np.ndarray]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}

_NUMPY: dict[str, Callable[..., Any]] = {
    **_PREDICATES,
    "iota": _iota,
    "broadcast_in_dim": _broadcast_in_dim,
    "reshape": lambda a, *, new_sizes, **_: a.reshape(new_sizes),
    "squeeze": lambda a, *, dimensions: np.squeeze(a, dimensions),
    "expand_dims": lambda a, *, dimensions: np.expand_dims(a, dimensions),
    "transpose": lambda a, *, permutation: np.transpose(a, permutation),
    "slice": _slice,
    "concatenate": lambda *a, dimension: np.concatenate(a, dimension),
    "select_n": _select_n,
    "convert_element_type": lambda a, **_: a,
    "stop_gradient": lambda a: a,
    "copy": lambda a, **_: a,
    "neg": np.negative,
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divide,
    "max": np.maximum,
    "min": np.minimum,
    "sin": lambda a, **_: np.sin(a),
    "cos": lambda a, **_: np.cos(a),
    "exp": lambda a, **_: np.exp(a),
    "log": lambda a, **_: np.log(a),
    "sqrt": lambda a, **_: np.sqrt(a),
    "integer_pow": lambda a, *, y: np.asarray(a) ** y if y >= 0 else 1 / np.asarray(a) ** -y,
    "square": np.square,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "not": np.bitwise_not,
}
