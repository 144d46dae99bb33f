"""Checkpoints that notice damage: orbax underneath, a SHA-256 manifest beside each step.

Orbax writes a step atomically and restores a flipped bit, a changed dtype and an empty folder without a word. So every
step has a manifest of its leaves (path, shape, dtype, SHA-256 of the bytes), itself checksummed; restoring compares
first and walks back to the newest step that verifies. Damaged steps are renamed, never deleted, before orbax's manager
looks at the directory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from papers.common.errors import UserError
from papers.common.records import write_atomically


class Skipped(NamedTuple):
    """A step that did not verify."""

    step: int
    reason: str


class Restored(NamedTuple):
    """The newest step that verified, and the newer ones that did not."""

    step: int
    tree: Any
    skipped: list[Skipped]


class Leaf(NamedTuple):
    """What the manifest says about one leaf."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str


class Damaged(Exception):
    """A step cannot be used; the message says why."""


class Checkpoints:
    """The checkpoints of one run, for one process.

    Any pytree of arrays and numbers, with NamedTuples and optimiser states, is kept to the bit: every dtype, arrays
    without axes or without elements, typed random keys.

    Args:
        directory: made at the first save.
        keep: how many of the newest steps stay on the disk.

    Raises:
        ValueError: for ``keep`` below 1.
    """

    def __init__(self, directory: str | Path, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep is {keep}, but must be at least 1")
        self.directory = Path(directory).absolute()
        self.keep = keep
        self._manager: Any = None

    def steps(self) -> list[int]:
        """List the steps on the disk, oldest first, without a look inside."""
        if not self.directory.is_dir():
            return []
        return sorted(int(item.name) for item in self.directory.iterdir() if _is_step(item))

    def save(self, step: int, tree: Any) -> None:
        """Write one step; it is complete when the call returns.

        A step that is there already with the same content is kept.

        Args:
            step: larger than every step before.
            tree: pytree of arrays and numbers.

        Raises:
            TypeError: for a leaf that is neither.
            RuntimeError: where the step exists with other content, or orbax did not write.
        """
        arrays, leaves = _take_apart(tree)
        if (self.directory / str(step)).exists():
            # Opening again sets a folder aside that is no checkpoint; orbax would take it for one and write nothing.
            self.close()
        manager = self._open()
        manifest = self._manifest(step)
        if (self.directory / str(step)).exists():
            if self._read_manifest(step) == leaves:
                return
            raise RuntimeError(f"step {step} exists already in {self.directory} with other content")
        # The manifest comes first: after a kill in between it stands alone, which is harmless; a step alone would be
        # lost.
        write_atomically(manifest, _encode(step, leaves))
        import orbax.checkpoint as ocp

        try:
            written = manager.save(step, args=ocp.args.StandardSave(arrays))
        except BaseException:
            manifest.unlink(missing_ok=True)
            raise
        if not written or not (self.directory / str(step)).is_dir():
            manifest.unlink(missing_ok=True)
            raise RuntimeError(f"step {step} was not written to {self.directory}; its steps are {self.steps()}")
        self._drop_lone_manifests()

    def restore(self, like: Any) -> Restored:
        """Read the newest step that verifies; the damaged ones on the way are renamed to ``bad-<step>``.

        Args:
            like: pytree of the structure, shapes and dtypes that were saved: arrays, numbers or
                ``jax.ShapeDtypeStruct``. A leaf comes back as what it is here: jax array (with its sharding), NumPy
                array, or number.

        Returns:
            The step, the tree, and what was skipped with the reasons, newest first.

        Raises:
            UserError: where no step verifies, or a good one holds other leaves than ``like``; that one stays where it
                is.
        """
        self.close()
        skipped: list[Skipped] = []
        for step in reversed(self.steps()):
            try:
                leaves = self._read_manifest(step)
                self._refuse_other_leaves(step, leaves, like)
                arrays = self._read_arrays(step, leaves)
            except Damaged as damage:
                self._set_aside(step)
                skipped.append(Skipped(step, str(damage)))
            else:
                return Restored(step, _put_together(arrays, like), skipped)
        found = "; ".join(f"step {step}: {reason}" for step, reason in skipped)
        raise UserError(
            f"no checkpoint in {self.directory} can be used ({found or 'there is none'}): "
            "start the run again in a new directory"
        )

    def close(self) -> None:
        """Let go of the directory; saving opens it again."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> Any:
        if self._manager is None:
            import orbax.checkpoint as ocp

            for step in self.steps():
                try:
                    self._read_manifest(step)
                except Damaged:
                    self._set_aside(step)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self.keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
            )
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager

    def _manifest(self, step: int) -> Path:
        return self.directory / f"manifest-{step}.json"

    def _read_manifest(self, step: int) -> list[Leaf]:
        if not any((self.directory / str(step)).iterdir()):
            raise Damaged("its folder is empty")
        try:
            return _decode(step, self._manifest(step).read_bytes())
        except FileNotFoundError:
            raise Damaged("its manifest is missing") from None
        except (ValueError, KeyError, TypeError):
            raise Damaged("its manifest is damaged") from None

    def _refuse_other_leaves(self, step: int, leaves: Sequence[Leaf], like: Any) -> None:
        saved = {leaf.path: f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves}
        wanted = {path: "{1}{0}".format(*_signature(value)) for path, value in _leaves(like)}
        different = [
            f"{path} {saved.get(path, 'absent')} -> {wanted.get(path, 'absent')}"
            for path in dict.fromkeys((*saved, *wanted))
            if saved.get(path) != wanted.get(path)
        ]
        if different:
            shown = ", ".join(different[:3]) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
            raise UserError(
                f"step {step} in {self.directory} holds another model or optimiser than this run ({shown}): "
                "resume it with its own configuration"
            )

    def _read_arrays(self, step: int, leaves: Sequence[Leaf]) -> list[np.ndarray]:
        import orbax.checkpoint as ocp

        names = [_name(index) for index, leaf in enumerate(leaves) if 0 not in leaf.shape]
        arguments = ocp.args.PyTreeRestore(
            restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
        )
        try:
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
                found = reader.restore(self.directory / str(step) / "default", args=arguments)
        except MemoryError:
            raise
        except Exception as error:
            # Orbax and tensorstore report damage by a dozen types of error; the first line names the kind.
            raise Damaged(f"it cannot be read ({type(error).__name__})") from error
        arrays = []
        for index, leaf in enumerate(leaves):
            array = found.get(_name(index)) if 0 not in leaf.shape else np.empty(leaf.shape, _dtype(leaf.dtype))
            if array is None:
                raise Damaged(f"{leaf.path} is missing")
            if array.shape != leaf.shape or array.dtype != _dtype(leaf.dtype):
                was = f"{array.dtype.name}{list(array.shape)} instead of {leaf.dtype}{list(leaf.shape)}"
                raise Damaged(f"{leaf.path} is {was}")
            if _digest(array) != leaf.sha256:
                raise Damaged(f"the SHA-256 of {leaf.path} is not that of its manifest")
            arrays.append(array)
        return arrays

    def _set_aside(self, step: int) -> None:
        count, target = 0, self.directory / f"bad-{step}"
        while target.exists():
            count += 1
            target = self.directory / f"bad-{step}-{count}"
        (self.directory / str(step)).rename(target)
        if self._manifest(step).exists():
            self._manifest(step).replace(self.directory / f"{target.name}-manifest.json")

    def _drop_lone_manifests(self) -> None:
        alive = {self._manifest(step) for step in self.steps()}
        for file in self.directory.glob("manifest-*.json"):
            if file not in alive:
                file.unlink(missing_ok=True)


def _is_step(item: Path) -> bool:
    return item.is_dir() and item.name.isascii() and item.name.isdigit() and str(int(item.name)) == item.name


def _name(index: int) -> str:
    return f"leaf_{index:05d}"


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    import jax

    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _is_key(leaf: Any) -> bool:
    import jax

    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _signature(leaf: Any) -> tuple[list[int], str]:
    """The shape and the dtype that the manifest shows for a leaf; a random key's dtype names its generator."""
    if _is_key(leaf):
        import jax

        data = jax.eval_shape(jax.random.key_data, leaf)
        return list(data.shape), f"{leaf.dtype}:{data.dtype.name}"
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return list(leaf.shape), np.dtype(leaf.dtype).name
    array = np.asarray(leaf)
    return list(array.shape), array.dtype.name


def _dtype(name: str) -> np.dtype:
    import jax.numpy as jnp

    return jnp.dtype(name.rpartition(":")[2])


def _take_apart(tree: Any) -> tuple[dict[str, np.ndarray], list[Leaf]]:
    """Flatten a tree to the arrays orbax is given, by number, and the manifest's leaves; orbax refuses empty arrays."""
    import jax

    arrays, leaves = {}, []
    for index, (path, leaf) in enumerate(_leaves(tree)):
        shape, dtype = _signature(leaf)
        array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if not (jax.dtypes.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
            raise TypeError(
                f"{path} is {type(leaf).__name__} ({array.dtype}), but must be an array of numbers or a number"
            )
        leaves.append(Leaf(path, tuple(shape), dtype, _digest(array)))
        if array.size:
            arrays[_name(index)] = array
    return arrays, leaves


def _put_together(arrays: Sequence[np.ndarray], like: Any) -> Any:
    import jax

    leaves, structure = jax.tree_util.tree_flatten(like)
    return structure.unflatten([_as(leaf, array) for leaf, array in zip(leaves, arrays, strict=True)])


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


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _encode(step: int, leaves: Sequence[Leaf]) -> bytes:
    body = {"step": step, "leaves": [leaf._asdict() for leaf in leaves]}
    return (json.dumps({**body, "sha256": _checksum(body)}, indent=1) + "\n").encode()


def _decode(step: int, content: bytes) -> list[Leaf]:
    body = json.loads(content)
    checksum = body.pop("sha256")
    if checksum != _checksum(body) or body["step"] != step:
        raise ValueError("checksum")
    return [Leaf(leaf["path"], tuple(leaf["shape"]), leaf["dtype"], leaf["sha256"]) for leaf in body["leaves"]]


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
