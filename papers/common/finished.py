"""Finished runs, read back: every file is compared with the record that the run wrote when it came to its end.

A run of a version before these records has no id in its ``config.json``; where it is finished (``summary.json`` is
there) it is read as it stands. Everything else that is wrong is one sentence.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from papers.common.allocation import CONFIG, FINISHED
from papers.common.errors import UserError
from papers.common.integrity import Damaged, file_digest, load_npz, open_seal, read_bytes, seal
from papers.common.records import write_atomically


def read_config(path: Path) -> dict[str, Any]:
    """Read what a run wrote down of itself when it began: ``config``, ``command``, ``run``, versions, device and so on.

    Raises:
        UserError: there is no run, or its ``config.json`` is damaged or was changed.
    """
    file = path / CONFIG
    if not file.is_file():
        raise UserError(
            f"{path} holds no run to resume (no config.json): name the directory of one, or start a new run"
        )
    try:
        content = read_bytes(file)
        record = json.loads(content)
        if not isinstance(record, dict) or not isinstance(record.get("config"), Mapping):
            raise Damaged("it holds no configuration")
        return open_seal(content) if "run" in record else record
    except (Damaged, ValueError, RecursionError) as damage:
        reason = str(damage) if isinstance(damage, Damaged) else "it is no JSON"
        raise UserError(f"{file} is damaged ({reason}) and the run cannot be used: start a new one elsewhere") from None


def is_finished(path: Path) -> bool:
    """Whether a directory holds a run that came to its end."""
    if (path / FINISHED).is_file():
        return True
    return (path / "summary.json").is_file() and (path / CONFIG).is_file() and "run" not in read_config(path)


def write_finished(path: Path, run: str) -> None:
    """Write the record of every file of a run that has come to its end."""
    files = {
        item.name: file_digest(item.read_bytes())
        for item in sorted(path.iterdir())
        if item.is_file() and not item.name.startswith(".") and item.name != FINISHED
    }
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_atomically(path / FINISHED, seal({"run": run, "finished": now, "files": files}))


def read_file(path: Path, name: str) -> bytes:
    """Read a file of a finished run.

    Raises:
        UserError: the run is not finished, or the file is damaged or another run's.
    """
    record = read_config(path)
    if not is_finished(path):
        raise UserError(f"the run in {path} is not finished: continue it with --resume")
    try:
        content = read_bytes(path / name)
        if "run" in record:
            try:
                files = open_seal(read_bytes(path / FINISHED), run=record["run"])["files"]
            except Damaged as damage:
                raise Damaged(f"{FINISHED}: {damage}") from None
            if not isinstance(files, dict) or files.get(name) != file_digest(content):
                raise Damaged("its SHA-256 is not that which the run wrote down at its end")
    except (Damaged, KeyError) as damage:
        raise _unusable(path / name, damage) from None
    return content


def load_arrays(path: Path, name: str = "history.npz") -> dict[str, np.ndarray]:
    """Read the arrays of a finished run.

    Raises:
        UserError: as :func:`read_file`.
    """
    try:
        return load_npz(read_file(path, name))
    except Damaged as damage:
        raise _unusable(path / name, damage) from None


def load_json(path: Path, name: str) -> Any:
    """Read a JSON file of a finished run.

    Raises:
        UserError: as :func:`read_file`.
    """
    try:
        return json.loads(read_file(path, name))
    except (ValueError, RecursionError):
        raise _unusable(path / name, "it is no JSON") from None


def _unusable(file: Path, reason: object) -> UserError:
    return UserError(f"{file} cannot be used ({reason}): run it again in another directory")
