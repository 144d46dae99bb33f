"""What may be a run's directory, what may be resumed in it, and the words that continue it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from papers.common.allocation import FINISHED, withdraw
from papers.common.errors import UserError
from papers.common.finished import read_config
from papers.common.lock import NAME as LOCK
from papers.common.records import differences, to_json, with_defaults


def again(command: str, config: Any, path: Path, inside: str) -> str:
    """Spell the command that continues a run."""
    words = (
        command if config.out is not None else f"{command} --out {shlex.quote(str(path.parent if inside else path))}"
    )
    return words if re.search(r"(^| )--resume( |$)", words) else f"{words} --resume"


def take_back(path: Path, inside: str) -> None:
    """Remove the directory that a run was allocated, while there is nothing in it."""
    for folder in (path, path.parent)[: 2 if inside else 1]:
        withdraw(folder)


def refuse_contents(path: Path) -> None:
    """Refuse a directory with anything in it."""
    names = sorted(item.name for item in path.iterdir() if item.name != LOCK)
    if names:
        if FINISHED in names:
            raise UserError(f"the run directory {path} holds a finished run: name a new one")
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise UserError(
            f"the run directory {path} is not empty ({shown}): name a new one, or continue its run with --resume"
        )


def refuse_place(path: Path) -> None:
    """Refuse a directory with anything in it, and a path that leads through something else than directories."""
    if path.is_dir():
        refuse_contents(path)
        return
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise no_directory(path)


def no_directory(path: Path) -> UserError:
    """Say that a path is no directory."""
    return UserError(f"{path} is a file or lies in one, but a run needs a directory: name another")


def resumable(path: Path, config: Any, ignore: Sequence[str]) -> dict[str, Any]:
    """What a run wrote down of itself, refused where it has another configuration."""
    record = read_config(path)
    if "run" not in record:
        raise UserError(
            f"the run in {path} was begun by an earlier version, which kept no integrity record: "
            "start a new one elsewhere"
        )
    different = differences(with_defaults(record["config"], config), to_json(config), ignore)
    if different:
        raise UserError(
            f"the run in {path} has another configuration ({', '.join(different)}): "
            f"resume it with its own, that of `{record.get('command')}`, or start a new run elsewhere"
        )
    return record
