"""Run directories: one folder a run, holding everything that it was and everything that came of it.

``config.json`` (resolved configuration, the run's id, command, versions, commit, device, settings), ``metrics.jsonl``
(one record a line), arrays as ``.npz``, figures as ``.png`` beside the arrays they were drawn from, ``claims.json``,
and at the end ``finished.json`` with the SHA-256 of all of them. Nothing is ever overwritten by another run: a
directory with anything in it is refused, one in use is locked. A run that ends before anything was saved takes away
what it made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from papers.common.admission import again, no_directory, refuse_contents, refuse_place, resumable, take_back
from papers.common.allocation import CONFIG, FINISHED, allocate, directory_path, named, newest_unfinished, withdraw
from papers.common.checkpoint import Checkpoints
from papers.common.claims import Claim
from papers.common.environment import environment
from papers.common.errors import Divergence, UserError
from papers.common.finished import is_finished, read_config, write_finished
from papers.common.integrity import Damaged, read_arrays, seal, write_arrays
from papers.common.lock import NAME as LOCK
from papers.common.lock import Lock, refuse_in_use
from papers.common.metrics import NAME as METRICS
from papers.common.metrics import Metrics, read_metrics
from papers.common.network import NETWORK, Apply, describe, flatten, load
from papers.common.paths import used
from papers.common.plots import png
from papers.common.records import (
    differences,
    dump,
    from_arrays,
    known_to,
    to_arrays,
    to_json,
    write_atomically,
)

__all__ = ["MAY_DIFFER_ON_RESUME", "RunConfig", "RunDirectory", "load", "read_metrics"]

MAY_DIFFER_ON_RESUME = ("resume", "out", "data_dir", "cache_dir", "checkpoint_epochs")
OF_THE_PROCESS = ("config", "command", "started", "resumed", "run", "data")

Config = TypeVar("Config", bound="RunConfig")
Measured = TypeVar("Measured")


class RunConfig(Protocol):
    """What a run's configuration says of its directory.

    Attributes:
        place: paper and command, such as ``noether/train``: where directories go that nobody named.
        inside: the folder in ``out`` that the run gets; absent for ``out`` itself.
        out: the directory named, new or empty; None for a new one under ``runs``.
        resume: continue the run there, or the newest unfinished one of the command.
    """

    place: ClassVar[str]
    out: Path | None
    resume: bool


class RunDirectory:
    """The directory of one run, locked while it is open; a context manager.

    Attributes:
        path: the directory.
        run: the run's id, random; everything that is read back carries it.
        environment: as recorded now; for a resumed run, that of this process.
        changes: for a resumed run, what differs from the process that began it (versions, device, settings, commit), as
            ``old -> new``, and is printed; the continuation is bit-identical only where this is empty.
        resumed: whether the run was begun before.
        again: the command that continues it.
    """

    def __init__(self, path: Path, lock: Lock, run: str = ""):
        self.path = path
        self.run = run
        self.environment: dict[str, Any] = {}
        self.changes: list[str] = []
        self.resumed = False
        self.again = ""
        self._lock = lock
        self._metrics = Metrics(path)
        self._made: list[Path] = []
        self._began_here = False
        self._told = False

    @classmethod
    def open(cls, config: RunConfig, command: str, data: str | None = None) -> RunDirectory:
        """Begin the run of a configuration, or continue it where its ``resume`` is set, and say where.

        Args:
            config: the resolved configuration.
            command: the command that repeats the run.
            data: the fingerprint of what it is trained on, if anything.

        Raises:
            UserError: as :meth:`create` or :meth:`resume`.
        """
        inside = getattr(config, "inside", "")
        path = named(config.out, inside)
        if config.resume:
            path = path or newest_unfinished(config.place, inside)
            run = cls.resume(path, config, MAY_DIFFER_ON_RESUME, data)
        else:
            path = path or allocate(config.place, inside)
            try:
                run = cls.create(path, config, command, data)
            except BaseException:
                if config.out is None:
                    take_back(path, inside)
                raise
            if config.out is None:
                run._made = [folder for folder in (path, path.parent) if folder == path or inside]
        run.again = again(command, config, path, inside)
        print(f"run directory {path}", flush=True)
        return run

    @staticmethod
    def refuse(config: RunConfig) -> None:
        """Raise what :meth:`open` would of a directory's contents, touching nothing and importing nothing heavy."""
        inside = getattr(config, "inside", "")
        path = named(config.out, inside)
        if config.resume:
            path = path or newest_unfinished(config.place, inside)
            with used(f"the run directory {path}"):
                refuse_in_use(path)
                resumable(path, config, MAY_DIFFER_ON_RESUME)
        elif path is not None:
            with used(f"the run directory {path}"):
                refuse_in_use(path)
                refuse_place(path)

    @staticmethod
    def take_up(config: Config) -> Config:
        """Set a configuration to resume where its directory holds an unfinished run of the same command."""
        path = named(config.out, getattr(config, "inside", ""))
        with used(f"the run directory {path}"):
            begun = path is not None and (path / CONFIG).is_file() and not is_finished(path)
        return dataclasses.replace(config, resume=True) if begun else config

    @classmethod
    def create(cls, path: str | Path, config: Any, command: str, data: str | None = None) -> RunDirectory:
        """Begin a run in a new or empty directory.

        Args:
            path: the directory; it and its parents are made.
            config: the resolved configuration; anything :func:`to_json` accepts.
            command: the command that repeats the run.
            data: the fingerprint of what it is trained on, if anything.

        Raises:
            UserError: where the directory is a file, cannot be written, is in use, or holds anything.
        """
        path = directory_path(path)
        with used(f"the run directory {path}"):
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            try:
                path.mkdir(parents=True, exist_ok=True)
            except (NotADirectoryError, FileExistsError):
                raise no_directory(path) from None
            except FileNotFoundError as error:  # of a system's own folders, which take no others
                raise UserError(
                    f"the run directory {path} cannot be written ({error.strerror}): name another"
                ) from None
            if not (path / LOCK).exists():  # a directory in use is said to be in use, whatever it holds
                refuse_contents(path)
            run = cls(path, Lock(path), secrets.token_hex(8))
        try:
            refuse_contents(path)
            run._made, run._began_here = made, True
            run.environment = environment()
            run.again = f"{command} --resume"
            facts = {"config": to_json(config), "command": command, "run": run.run, "data": data}
            write_atomically(path / CONFIG, seal({**facts, **run.environment}))
        except BaseException as error:
            run.__exit__(type(error), error, None)
            raise
        return run

    @classmethod
    def resume(cls, path: str | Path, config: Any, ignore: Sequence[str] = (), data: str | None = None) -> RunDirectory:
        """Continue a run in its own directory, with its own configuration.

        Args:
            path: the directory.
            config: the resolved configuration of now; a field that the run had not yet had its default.
            ignore: fields that may differ, such as ``resume``; dots for nested ones.
            data: the fingerprint of what it is trained on, if anything.

        Raises:
            UserError: where there is no run, it is in use, or the configuration or the data differ; they are shown.
        """
        path = directory_path(path)
        with used(f"the run directory {path}"):
            read_config(path)  # before a lock is put where there is none
            run = cls(path, Lock(path))
        try:
            record = resumable(path, config, ignore)
            if data is not None and record.get("data") not in (None, data):
                raise UserError(
                    f"the run in {path} was begun on other data (fingerprint {record['data'][:12]}, now {data[:12]}): "
                    "name the data it had, or start a new run elsewhere"
                )
            run.run, run.resumed = record["run"], True
            run.again = record.get("command", "")
            run.environment = environment()
            run.changes = differences(
                known_to(record, run.environment), known_to(run.environment, record), OF_THE_PROCESS
            )
            if run.changes:
                shown = ", ".join(run.changes)
                print(f"the run goes on elsewhere ({shown}): correct, but not to the same bits", flush=True)
            record.setdefault("resumed", []).append(run.environment)
            (path / FINISHED).unlink(missing_ok=True)
            write_atomically(path / CONFIG, seal(record))
        except BaseException:
            run.close()
            raise
        return run

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record to ``metrics.jsonl``; numbers that are not finite become null."""
        self._metrics.append(record)

    def metrics(self) -> np.ndarray:
        """The bytes of ``metrics.jsonl`` so far, uint8, to be kept beside a checkpoint."""
        return np.frombuffer(self._metrics.content(), np.uint8)

    def restore_metrics(self, content: np.ndarray | None = None) -> None:
        """Go back to the metrics kept beside a checkpoint, or to none, before a run goes on from there."""
        self._metrics.put_back(b"" if content is None else content.tobytes())

    def checkpoints(self, keep: int = 2) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.path / "checkpoints", self.run, keep)

    def part(self, name: str, kind: type[Measured], compute: Callable[[], Measured]) -> Measured:
        """Give a part of a measurement, read where the run measured it already; a run of several parts goes on so.

        Args:
            name: of the part, a file's name.
            kind: the NamedTuple of arrays, or of such NamedTuples, that it is.
            compute: measures it.
        """
        file = self.path / "parts" / f"{name}.npz"
        identity = {"run": self.run, "part": name}
        if file.exists():
            try:
                return from_arrays(kind, read_arrays(file, **identity))
            except (Damaged, KeyError) as damage:
                print(f"{file} is damaged ({damage}): measured again", flush=True)
        measured = compute()
        file.parent.mkdir(exist_ok=True)
        write_arrays(file, to_arrays(measured), **identity)
        return measured

    def save_arrays(self, name: str, **arrays: Any) -> Path:
        """Write arrays as ``name.npz``, all of them or none; bfloat16 is widened to float32, objects are refused.

        Raises:
            ValueError: for an array of objects.
        """
        plain = {}
        for key, value in arrays.items():
            array = np.asarray(value)
            if array.dtype.name == "bfloat16":
                array = array.astype(np.float32)
            if array.dtype.hasobject:
                raise ValueError(f"{key} is an array of objects, but must be one of numbers or text")
            plain[key] = array
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **plain)
        return write_atomically(self.path / f"{name}.npz", buffer.getvalue())

    def save_figure(self, figure: Any, name: str, **arrays: Any) -> Path:
        """Write a matplotlib figure as ``name.png``, and the arrays it was drawn from as ``name.npz``."""
        self.save_arrays(name, **arrays)
        return write_atomically(self.path / f"{name}.png", png(figure))

    def write_json(self, name: str, value: Any) -> Path:
        """Write a value as ``name.json``."""
        return write_atomically(self.path / f"{name}.json", dump(value).encode())

    def save_network(
        self, build: Callable[..., Apply], variables: Mapping[str, Any], into: str = NETWORK, **options: Any
    ) -> None:
        """Leave the trained network, for :func:`load`.

        Args:
            build: ``build(**options) -> apply``, a function at the top of a module of the papers.
            variables: nested dicts of arrays that ``apply(variables, x)`` takes.
            into: the name under which it is opened; one of several begins with ``network``.
            **options: numbers and words.
        """
        self.save_arrays(into, **flatten(variables))
        self.write_json(into, describe(build, options))

    def write_claims(self, claims: Sequence[Claim]) -> Path:
        """Write ``claims.json``: the list of the run's claims."""
        return self.write_json("claims", list(claims))

    def finish(self) -> None:
        """Write down that the run came to its end, with the SHA-256 of everything it leaves."""
        write_finished(self.path, self.run)

    def tell_stopped(self, how: str = "stopped") -> None:
        """Say once that the run was stopped, and the command that continues it."""
        if not self._told:
            self._told = True
            print(f"{how}; continue with: {self.again}", flush=True)

    def close(self) -> None:
        """Close the metrics and give the lock back; closing twice does nothing."""
        self._metrics.close()
        self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Close; a run that began here, failed and saved nothing but what says so is taken away."""
        self._metrics.close()
        gone = error is not None and self._began_here and not isinstance(error, Divergence) and self._discard()
        if isinstance(error, KeyboardInterrupt) and not gone:
            self.tell_stopped()
        self.close()

    def _discard(self) -> bool:
        """Remove what the run made, if nothing in it was worth keeping; whether it is gone."""
        with contextlib.suppress(OSError):
            own = {CONFIG, METRICS, LOCK}
            empty = [item for item in self.path.iterdir() if item.is_dir() and not any(item.iterdir())]
            if any(item.name not in own and item not in empty for item in self.path.iterdir()):
                return False
            for folder in empty:
                folder.rmdir()
            for name in (METRICS, CONFIG):
                (self.path / name).unlink(missing_ok=True)
            self._lock.release()
            for folder in self._made:
                withdraw(folder)
            return True
        return False
