"""Where a run goes that nobody named a directory for: ``runs/<paper>/<command>/<UTC time>``; the newest unfinished one.

``latest`` beside the directories of a command points to the newest; where links cannot be made there is none.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path

from papers.common.errors import InUse, UserError
from papers.common.lock import refuse_in_use
from papers.common.paths import used, user_path

ROOT = Path("runs")
LATEST = "latest"
FINISHED = "finished.json"
CONFIG = "config.json"

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)(?:-(\d+))?")


def named(out: Path | None, inside: str = "") -> Path | None:
    """The directory that the user named, or the folder ``inside`` it; None where none was named.

    Raises:
        UserError: a path that cannot be one.
    """
    return None if out is None else directory_path(out) / inside


def directory_path(path: str | Path) -> Path:
    """The path of a run directory as it is meant; checkpoints can be stored under names in UTF-8 only.

    Raises:
        UserError: a path that cannot be one.
    """
    found = user_path(path)
    try:
        str(found).encode()
    except UnicodeEncodeError:
        raise UserError(f"the run directory {str(found)!a} is not spelt in UTF-8: name another") from None
    return found


def allocate(place: str, inside: str = "") -> Path:
    """Make a new directory for a run of a command, no other process's, and point ``latest`` to it.

    Args:
        place: paper and command, such as ``noether/train``.
        inside: the folder in it that the run gets; itself by default. It is made later.

    Raises:
        UserError: where it cannot be made.
    """
    folder = ROOT / place
    with used(f"the folder of runs {folder}", "name a run directory by --out"):
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        path, count = folder / now, 1
        while True:
            try:
                path.mkdir()
                break
            except FileExistsError:
                count += 1
                path = folder / f"{now}-{count}"
    point_latest(path)
    return path / inside


def newest_unfinished(place: str, inside: str = "") -> Path:
    """Find the newest run of a command that did not come to its end and is not on its way in another process.

    Raises:
        UserError: there is none.
    """
    busy = None
    for folder in _newest_first(ROOT / place):
        path = folder / inside
        if not (path / CONFIG).is_file() or (path / FINISHED).exists():
            continue
        try:
            refuse_in_use(path)
        except InUse as error:
            busy = busy or error
            continue
        return path
    if busy is not None:
        raise busy
    raise UserError(
        f"{ROOT / place} holds no unfinished run to resume: name the directory of one by --out, or leave --resume out"
    )


def point_latest(path: Path) -> None:
    """Point ``latest`` beside a directory to it, where links can be made; what is no link stays."""
    link, temporary = path.parent / LATEST, path.parent / f".{LATEST}-{os.getpid()}"
    if os.path.lexists(link) and not link.is_symlink():
        return
    with contextlib.suppress(OSError, NotImplementedError):
        temporary.symlink_to(path.name, target_is_directory=True)
        try:
            os.replace(temporary, link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def withdraw(path: Path) -> None:
    """Remove the empty directory of a run that came to nothing, and let ``latest`` point to the one before it."""
    with contextlib.suppress(OSError):
        path.rmdir()
        link = path.parent / LATEST
        if link.is_symlink() and os.readlink(link) == path.name:
            link.unlink()
            if before := next(_newest_first(path.parent), None):
                point_latest(before)


def _newest_first(folder: Path) -> Iterator[Path]:
    try:
        names = [(match, item) for item in folder.iterdir() if (match := _NAME.fullmatch(item.name))]
    except OSError:
        return
    for _, item in sorted(names, key=lambda pair: (pair[0][1], int(pair[0][2] or 1)), reverse=True):
        if item.is_dir():
            yield item
