"""What a checkpoint holds, leaf by leaf: taken apart into plain arrays, described, put together again to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from papers.common.integrity import Damaged, open_seal, seal


class Leaf(NamedTuple):
    """What the manifest says about one leaf."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str


class Manifest(NamedTuple):
    """Everything that one step consists of: its leaves, and the SHA-256 of the file of arrays beside it, if any."""

    leaves: list[Leaf]
    beside: str | None


def encode(step: int, run: str, manifest: Manifest) -> bytes:
    """Spell a step's manifest, sealed."""
    leaves = [leaf._asdict() for leaf in manifest.leaves]
    return seal({"run": run, "step": step, "leaves": leaves, "beside": manifest.beside})


def decode(step: int, run: str, content: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        Damaged: it is none, or another step's or run's.
    """
    try:
        body = open_seal(content, step=step, run=run)
        leaves = [Leaf(leaf["path"], tuple(leaf["shape"]), leaf["dtype"], leaf["sha256"]) for leaf in body["leaves"]]
        return Manifest(leaves, body["beside"])
    except Damaged as damage:
        raise Damaged(f"its manifest is damaged: {damage}") from None
    except (KeyError, TypeError):
        raise Damaged("its manifest is damaged: an entry is missing") from None


def leaves_of(tree: Any) -> list[tuple[str, Any]]:
    """List the leaves of a tree with their paths."""
    import jax

    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def name(index: int) -> str:
    """The name under which the array of a leaf is stored."""
    return f"leaf_{index:05d}"


def signature(leaf: Any) -> tuple[list[int], str]:
    """The shape and the dtype that the manifest shows for a leaf; a random key's dtype names its generator."""
    if _is_key(leaf):
        import jax

        data = jax.eval_shape(jax.random.key_data, leaf)
        return list(data.shape), f"{leaf.dtype}:{data.dtype.name}"
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return list(leaf.shape), np.dtype(leaf.dtype).name
    array = np.asarray(leaf)
    return list(array.shape), array.dtype.name


def dtype_of(leaf: Leaf) -> np.dtype:
    """The dtype of the array that stores a leaf."""
    import jax.numpy as jnp

    return jnp.dtype(leaf.dtype.rpartition(":")[2])


def take_apart(tree: Any) -> tuple[dict[str, np.ndarray], list[Leaf]]:
    """Flatten a tree to the arrays orbax is given, by number, and the manifest's leaves; orbax refuses empty arrays.

    Raises:
        TypeError: for a leaf that is neither an array of numbers nor a number.
    """
    import jax

    arrays, leaves = {}, []
    for index, (path, leaf) in enumerate(leaves_of(tree)):
        shape, dtype = signature(leaf)
        array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if not (jax.dtypes.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
            raise TypeError(
                f"{path} is {type(leaf).__name__} ({array.dtype}), but must be an array of numbers or a number"
            )
        leaves.append(Leaf(path, tuple(shape), dtype, digest(array)))
        if array.size:
            arrays[name(index)] = array
    return arrays, leaves


def put_together(arrays: Sequence[np.ndarray], like: Any) -> Any:
    """Build the tree that was taken apart; each leaf becomes what it is in ``like``."""
    import jax

    leaves, structure = jax.tree_util.tree_flatten(like)
    return structure.unflatten([_as(leaf, array) for leaf, array in zip(leaves, arrays, strict=True)])


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _is_key(leaf: Any) -> bool:
    import jax

    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as(leaf: Any, array: np.ndarray) -> Any:
    """Turn a restored array into what the leaf of ``like`` is."""
    import jax
    import jax.numpy as jnp

    if isinstance(leaf, (bool, int, float, complex)) and not isinstance(leaf, np.generic):
        return type(leaf)(array.item())
    if isinstance(leaf, np.generic):
        return array[()]
    if isinstance(leaf, np.ndarray):
        return array if array.flags.writeable else array.copy()
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.array(array), impl=jax.random.key_impl(leaf))
    sharding = getattr(leaf, "sharding", None)
    # An array on the default device stays uncommitted, as it was: a committed one would compile every program again.
    default = sharding is None or sharding.device_set == {jax.devices()[0]}
    placed = jnp.array(array) if default else jax.device_put(array, sharding)
    if placed.dtype != array.dtype:
        raise ValueError(f"a leaf is {array.dtype.name}, which needs jax_enable_x64 switched on")
    return placed
