"""Paths as users write them: one rule for the tilde, and one sentence for a place that cannot be used."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from papers.common.errors import UserError

PLACE_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "ENAMETOOLONG", "ELOOP", "ENOTDIR", "EISDIR", "EROFS", "EEXIST", "ENXIO", "ENOTSUP")
)
"""Codes of an OSError that lies in the place a user named, not in the program or in a full disk."""


def user_path(path: str | os.PathLike[str]) -> Path:
    """Turn a path as it was written into the one that is meant: a leading ``~`` is a home directory.

    The rule of every path of a command line, a configuration or the environment; applying it twice changes nothing.

    Raises:
        UserError: the home of an unknown user, no home at all, or a character that no path may hold.

    >>> user_path("runs/a")
    PosixPath('runs/a')
    """
    text = os.fspath(path)
    if "\0" in text:
        raise UserError(f"the path {text!r} holds a zero byte, which no path may: name another")
    try:
        return Path(text).expanduser()
    except (RuntimeError, KeyError):
        raise UserError(f"the home directory in {text} is not known on this machine: write the path out") from None


def home() -> Path | None:
    """Return the user's home directory, None where there is none: no $HOME and no entry in the password file."""
    try:
        return Path.home()
    except (RuntimeError, KeyError):
        return None


@contextlib.contextmanager
def used(what: object, remedy: str = "name another") -> Iterator[None]:
    """Turn an OSError of the block that lies in the place itself into one sentence; a full disk stays what it is.

    Args:
        what: the place, as the sentence begins.
        remedy: what to do, as the sentence ends.

    Raises:
        UserError: the place cannot be used.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in PLACE_ERRORS:
            raise
        raise UserError(f"{shortened(what)} cannot be used ({error.strerror}): {remedy}") from error


def shortened(value: object, longest: int = 160) -> str:
    """Cut what a user gave to a length that a sentence can hold.

    >>> shortened("a" * 300, 11)
    'aaaa...aaaa'
    """
    text = str(value)
    end = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:end]}...{text[-end:]}"
