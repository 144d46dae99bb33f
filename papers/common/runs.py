"""Run directories: one folder a run, holding everything that it was and everything that came of it.

``config.json`` (resolved configuration, command, versions, commit, device, XLA flags), ``metrics.jsonl`` (one record a
line), arrays as ``.npz``, figures as ``.png`` beside the arrays they were drawn from, ``claims.json``. Nothing is ever
overwritten by another run: a directory with anything in it is refused, and one in use is locked.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from papers.common.claims import Claim
from papers.common.environment import environment
from papers.common.errors import InUse, UserError
from papers.common.paths import user_path
from papers.common.plots import png
from papers.common.records import differences, dump, to_json, write_atomically

LOCK = "lock"
MAY_DIFFER_ON_RESUME = ("resume", "out", "data_dir", "cache_dir", "checkpoint_epochs")


class RunConfig(Protocol):
    """What a run's configuration says of its directory."""

    out: Path
    resume: bool


class RunDirectory:
    """The directory of one run, locked while it is open; a context manager.

    Attributes:
        path: the directory.
        environment: as recorded now; for a resumed run, that of this process.
        changes: for a resumed run, what differs from the process that began it (versions, device, commit), as ``old ->
            new``, and is printed; the continuation is bit-identical only where this is empty.
    """

    def __init__(self, path: Path, lock: IO[str]):
        self.path = path
        self.environment: dict[str, Any] = {}
        self.changes: list[str] = []
        self._lock = lock
        self._metrics: IO[str] | None = None

    @classmethod
    def open(cls, config: RunConfig, command: str) -> RunDirectory:
        """Begin the run of a configuration in its ``out``, or continue it there where its ``resume`` is set.

        Args:
            config: the resolved configuration.
            command: the command that repeats the run.

        Raises:
            UserError: as :meth:`create` or :meth:`resume`.
        """
        if config.resume:
            return cls.resume(config.out, config, MAY_DIFFER_ON_RESUME)
        return cls.create(config.out, config, command)

    @staticmethod
    def refuse(config: RunConfig) -> None:
        """Raise what :meth:`open` would of a directory's contents, touching nothing and importing nothing heavy."""
        path = user_path(config.out)
        _refuse_in_use(path)
        if config.resume:
            _resumable(path, config, MAY_DIFFER_ON_RESUME)
        elif path.is_dir():
            _refuse_contents(path)
        elif path.exists():
            raise _no_directory(path)

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any], command: str) -> RunDirectory:
        """Begin a run in a new or empty directory.

        Args:
            path: the directory; it and its parents are made.
            config: the resolved configuration; anything :func:`to_json` accepts.
            command: the command that repeats the run.

        Raises:
            UserError: where the directory is a file, cannot be written, is in use, or holds anything.
        """
        path = user_path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not (path / LOCK).exists():  # a directory in use is said to be in use, whatever it holds
                _refuse_contents(path)
            run = cls(path, _acquire(path))
        except (NotADirectoryError, FileExistsError):
            raise _no_directory(path) from None
        except OSError as error:
            raise UserError(f"the run directory {path} cannot be written ({error.strerror}): name another") from None
        try:
            _refuse_contents(path)
            run.environment = environment()
            record = {"config": to_json(config), "command": command, **run.environment}
            write_atomically(path / "config.json", dump(record).encode())
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def resume(cls, path: str | Path, config: Mapping[str, Any], ignore: Sequence[str] = ()) -> RunDirectory:
        """Continue a run in its own directory, with its own configuration.

        Args:
            path: the directory.
            config: the resolved configuration of now.
            ignore: fields that may differ, such as ``resume``; dots for nested ones.

        Raises:
            UserError: where there is no run, it is in use, or the configuration differs; the fields are shown.
        """
        path = user_path(path)
        _require_run(path)  # before a lock is put where there is none
        run = cls(path, _acquire(path))
        try:
            record = _resumable(path, config, ignore)
            run.environment = environment()
            run.changes = differences(record, run.environment, ("config", "command", "started", "resumed"))
            if run.changes:
                shown = ", ".join(run.changes)
                print(f"the run goes on elsewhere ({shown}): correct, but not to the same bits", flush=True)
            record.setdefault("resumed", []).append(run.environment)
            write_atomically(path / "config.json", dump(record).encode())
        except BaseException:
            run.close()
            raise
        return run

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record to ``metrics.jsonl``; numbers that are not finite become null."""
        if self._metrics is None:
            self._metrics = (self.path / "metrics.jsonl").open("a", encoding="utf-8")
        self._metrics.write(json.dumps(to_json(record), allow_nan=False) + "\n")
        self._metrics.flush()

    def truncate_metrics(self, step: int) -> None:
        """Drop the records after a step, and a line cut short by a kill, before a run goes on from that step."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        kept = [record for record in read_metrics(self.path) if record.get("step", step) <= step]
        text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in kept)
        write_atomically(self.path / "metrics.jsonl", text.encode())

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

    def write_claims(self, claims: Sequence[Claim]) -> Path:
        """Write ``claims.json``: the list of the run's claims."""
        return write_atomically(self.path / "claims.json", dump(list(claims)).encode())

    def close(self) -> None:
        """Close the metrics and give the lock back; closing twice does nothing."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if not self._lock.closed:
            (self.path / LOCK).unlink(missing_ok=True)
            self._lock.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read the records of a run's ``metrics.jsonl``, up to the first damaged line; none where there is no file."""
    file = Path(path) / "metrics.jsonl"
    records: list[dict[str, Any]] = []
    if not file.is_file():
        return records
    for line in file.read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line)
        except ValueError:
            break
        # A number cut short by a kill is still a number, so the end of the line is asked for as well.
        if not isinstance(record, dict) or not line.endswith(b"\n"):
            break
        records.append(record)
    return records


def _refuse_contents(path: Path) -> None:
    names = sorted(item.name for item in path.iterdir() if item.name != LOCK)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise UserError(
            f"the run directory {path} is not empty ({shown}): name a new one, or continue its run with --resume where "
            "the command has it"
        )


def _no_directory(path: Path) -> UserError:
    return UserError(f"{path} is a file or lies in one, but a run needs a directory: name another")


def _require_run(path: Path) -> Path:
    file = path / "config.json"
    if not file.is_file():
        raise UserError(
            f"{path} holds no run to resume (no config.json): name the directory of one, or start a new run"
        )
    return file


def _resumable(path: Path, config: Any, ignore: Sequence[str]) -> dict[str, Any]:
    """What a run wrote down of itself, refused where it has another configuration."""
    file = _require_run(path)
    try:
        record = json.loads(file.read_text())
        old = record["config"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is damaged and the run cannot be resumed: start a new one elsewhere") from None
    different = differences(old, to_json(config), ignore)
    if different:
        raise UserError(
            f"the run in {path} has another configuration ({', '.join(different)}): "
            "resume it with its own, or start a new run elsewhere"
        )
    return record


def _refuse_in_use(path: Path) -> None:
    try:
        lock = (path / LOCK).open(encoding="utf-8")
    except OSError:
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(path, lock) from None


def _in_use(path: Path, lock: IO[str]) -> InUse:
    lock.seek(0)
    owner = lock.read().strip() or "another process"
    return InUse(f"the run directory {path} is in use by {owner}: wait for it, or name another")


def _acquire(path: Path) -> IO[str]:
    """Lock a directory for this process; the kernel gives the lock of a dead process back, so none is ever stale."""
    file = path / LOCK
    while True:
        try:
            lock = file.open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"the run directory {path} cannot be written ({error.strerror}): name another") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with lock:
                raise _in_use(path, lock) from None
        # The owner before may have removed the file between the two calls above: such a lock guards nothing.
        if _same_file(lock, file):
            break
        lock.close()
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
    return lock


def _same_file(lock: IO[str], file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), file.stat())
    except FileNotFoundError:
        return False
