"""Checkpoints that notice damage: orbax underneath, a sealed manifest beside each step.

Orbax writes a step atomically and restores a flipped bit, a changed dtype and an empty folder without a word. So every
step has a manifest of its leaves (path, shape, dtype, SHA-256 of the bytes), sealed with the step and the run's id;
restoring compares first and walks back to the newest step that verifies. What belongs to a step without being part of
its tree, as a history does, lies beside it under the same manifest. Damaged steps are renamed, never deleted, before
orbax's manager looks at the directory.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from papers.common.errors import UserError
from papers.common.integrity import Damaged, file_digest, read_arrays, read_bytes, write_arrays
from papers.common.manifest import (
    Leaf,
    Manifest,
    decode,
    digest,
    dtype_of,
    encode,
    leaves_of,
    name,
    put_together,
    signature,
    take_apart,
)
from papers.common.records import write_atomically


class Skipped(NamedTuple):
    """A step that did not verify."""

    step: int
    reason: str


class Restored(NamedTuple):
    """The newest step that verified, what lay beside it, and the newer ones that did not."""

    step: int
    tree: Any
    beside: dict[str, np.ndarray]
    skipped: list[Skipped]


class NothingWhole(UserError):
    """Say that no checkpoint can be used, and why.

    Attributes:
        skipped: the steps that did not verify, newest first.
    """

    def __init__(self, directory: Path, skipped: list[Skipped]):
        found = "; ".join(f"step {step}: {reason}" for step, reason in skipped)
        super().__init__(
            f"no checkpoint in {directory} can be used ({found or 'there is none'}): "
            "start the run again in a new directory"
        )
        self.skipped = skipped


class Checkpoints:
    """The checkpoints of one run, for one process.

    Any pytree of arrays and numbers, with NamedTuples and optimiser states, is kept to the bit: every dtype, arrays
    without axes or without elements, typed random keys.

    Args:
        directory: made at the first save.
        run: the id of the run; a step of another is not used.
        keep: how many of the newest steps stay on the disk.

    Raises:
        ValueError: for ``keep`` below 1.
    """

    def __init__(self, directory: str | Path, run: str = "", keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep is {keep}, but must be at least 1")
        self.directory = Path(directory).absolute()
        self.run = run
        self.keep = keep
        self._manager: Any = None

    def steps(self) -> list[int]:
        """List the steps on the disk, oldest first, without a look inside."""
        if not self.directory.is_dir():
            return []
        return sorted(int(item.name) for item in self.directory.iterdir() if _is_step(item))

    def save(self, step: int, tree: Any, beside: Mapping[str, np.ndarray] | None = None) -> None:
        """Write one step; it is complete when the call returns.

        A step that is there already with the same content is kept.

        Args:
            step: larger than every step before.
            tree: pytree of arrays and numbers.
            beside: arrays that belong to the step, given back by :meth:`restore`.

        Raises:
            TypeError: for a leaf that is neither.
            RuntimeError: where the step exists with other content, or orbax did not write.
            OSError: where the disk is full; the steps before are whole.
        """
        arrays, leaves = take_apart(tree)
        if (self.directory / str(step)).exists():
            # Opening again sets a folder aside that is no checkpoint; orbax would take it for one and write nothing.
            self.close()
        manager = self._open()
        if (self.directory / str(step)).exists():
            if self._read_manifest(step).leaves == leaves:
                return
            raise RuntimeError(f"step {step} exists already in {self.directory} with other content")
        try:
            # The manifest comes first: after a kill in between it stands alone, which is harmless; a step alone would
            # be lost.
            written = self._write_beside(step, beside)
            write_atomically(self._manifest(step), encode(step, self.run, Manifest(leaves, written)))
            self._write_step(manager, step, arrays)
        except BaseException:
            self._manifest(step).unlink(missing_ok=True)
            self._beside(step).unlink(missing_ok=True)
            raise
        self._drop_lone_files()

    def restore(self, like: Any) -> Restored:
        """Read the newest step that verifies; the damaged ones on the way are renamed to ``bad-<step>``.

        Args:
            like: pytree of the structure, shapes and dtypes that were saved: arrays, numbers or
                ``jax.ShapeDtypeStruct``. A leaf comes back as what it is here: jax array (with its sharding), NumPy
                array, or number.

        Returns:
            The step, the tree, the arrays beside it, and what was skipped with the reasons, newest first.

        Raises:
            NothingWhole: where no step verifies.
            UserError: a good one holds other leaves than ``like``; that one stays where it is.
        """
        self.close()
        skipped: list[Skipped] = []
        for step in reversed(self.steps()):
            try:
                manifest = self._read_manifest(step)
                self._refuse_other_leaves(step, manifest.leaves, like)
                beside = self._read_beside(step, manifest)
                arrays = self._read_arrays(step, manifest.leaves)
            except Damaged as damage:
                self._set_aside(step)
                skipped.append(Skipped(step, str(damage)))
            else:
                return Restored(step, put_together(arrays, like), beside, skipped)
        raise NothingWhole(self.directory, skipped)

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

    def _write_step(self, manager: Any, step: int, arrays: dict[str, np.ndarray]) -> None:
        import orbax.checkpoint as ocp

        try:
            written = manager.save(step, args=ocp.args.StandardSave(arrays))
        except Exception as error:
            if (full := no_room(error)) is not None:
                raise OSError(full, "No space left on device", str(self.directory / str(step))) from error
            raise
        if not written or not (self.directory / str(step)).is_dir():
            raise RuntimeError(f"step {step} was not written to {self.directory}; its steps are {self.steps()}")

    def _manifest(self, step: int) -> Path:
        return self.directory / f"manifest-{step}.json"

    def _beside(self, step: int) -> Path:
        return self.directory / f"beside-{step}.npz"

    def _write_beside(self, step: int, arrays: Mapping[str, np.ndarray] | None) -> str | None:
        if not arrays:
            return None
        return file_digest(write_arrays(self._beside(step), arrays, run=self.run, step=step).read_bytes())

    def _read_beside(self, step: int, manifest: Manifest) -> dict[str, np.ndarray]:
        if manifest.beside is None:
            return {}
        file = self._beside(step)
        try:
            if file_digest(read_bytes(file)) != manifest.beside:
                raise Damaged("its SHA-256 is not that of the manifest")
            return read_arrays(file, run=self.run, step=step)
        except Damaged as damage:
            raise Damaged(f"{file.name}: {damage}") from None

    def _read_manifest(self, step: int) -> Manifest:
        if not any((self.directory / str(step)).iterdir()):
            raise Damaged("its folder is empty")
        if not self._manifest(step).exists():
            raise Damaged("its manifest is missing")
        return decode(step, self.run, read_bytes(self._manifest(step)))

    def _refuse_other_leaves(self, step: int, leaves: Sequence[Leaf], like: Any) -> None:
        saved = {leaf.path: f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves}
        wanted = {path: "{1}{0}".format(*signature(value)) for path, value in leaves_of(like)}
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

        names = [name(index) for index, leaf in enumerate(leaves) if 0 not in leaf.shape]
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
            array = found.get(name(index)) if 0 not in leaf.shape else np.empty(leaf.shape, dtype_of(leaf))
            if array is None:
                raise Damaged(f"{leaf.path} is missing")
            if array.shape != leaf.shape or array.dtype != dtype_of(leaf):
                was = f"{array.dtype.name}{list(array.shape)} instead of {leaf.dtype}{list(leaf.shape)}"
                raise Damaged(f"{leaf.path} is {was}")
            if digest(array) != leaf.sha256:
                raise Damaged(f"the SHA-256 of {leaf.path} is not that of its manifest")
            arrays.append(array)
        return arrays

    def _set_aside(self, step: int) -> None:
        names = itertools.chain([f"bad-{step}"], (f"bad-{step}-{count}" for count in itertools.count(1)))
        target = next(path for path in map(self.directory.joinpath, names) if not path.exists())
        (self.directory / str(step)).rename(target)
        for file in (self._manifest(step), self._beside(step)):
            if file.exists():
                file.replace(self.directory / f"{target.name}-{file.name}")

    def _drop_lone_files(self) -> None:
        steps = self.steps()
        alive = {file for step in steps for file in (self._manifest(step), self._beside(step))}
        for file in (*self.directory.glob("manifest-*.json"), *self.directory.glob("beside-*.npz")):
            if file not in alive:
                file.unlink(missing_ok=True)


def tell_skipped(skipped: Sequence[Skipped]) -> None:
    """Print which checkpoints were set aside, and why."""
    for step, reason in skipped:
        print(f"checkpoint of step {step} is damaged and was set aside ({reason})", flush=True)


def no_room(error: BaseException) -> int | None:
    """The code of a full disk, quota or limit of a file's size where that is what an error comes from; None elsewhere.

    Storage libraries wrap it in errors of their own, down to a mere text.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return seen.errno
        if any(words in str(seen) for words in ("No space left on device", "quota exceeded", "File too large")):
            return errno.ENOSPC
        seen = seen.__cause__ or seen.__context__
    return None


def _is_step(item: Path) -> bool:
    return item.is_dir() and item.name.isascii() and item.name.isdigit() and str(int(item.name)) == item.name
