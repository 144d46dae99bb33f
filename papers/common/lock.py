"""One process for one run directory: a lock that the kernel gives back when its owner dies."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from papers.common.errors import InUse, UserError

NAME = ".symjax-lock"
OURS = "symjax run directory, in use by "


class Lock:
    """Hold a directory for this process until :meth:`release`.

    The file is a regular one that this module made; a link or a file of the user's under its name is refused and never
    written to or removed.

    Args:
        directory: it exists.

    Raises:
        InUse: another process holds it.
        UserError: the name is taken by something of the user's, or the directory cannot be written.
    """

    def __init__(self, directory: Path):
        self.file = directory / NAME
        while True:
            descriptor = _open(self.file, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _in_use(directory, descriptor) from None
            # The owner before may have removed the file between the two calls above: such a lock guards nothing.
            if _same_file(descriptor, self.file):
                break
            os.close(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{OURS}process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the directory back; twice does nothing."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            if _same_file(descriptor, self.file):
                self.file.unlink(missing_ok=True)
            os.close(descriptor)


def refuse_in_use(directory: Path) -> None:
    """Raise InUse where another process holds a directory; nothing is touched."""
    try:
        descriptor = _open(directory / NAME, os.O_RDONLY)
    except (UserError, FileNotFoundError, NotADirectoryError):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(directory, descriptor) from None
    os.close(descriptor)


def _open(file: Path, flags: int) -> int:
    """Open the lock's file, which must be a regular one with nothing but an owner in it."""
    try:
        descriptor = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _not_ours(file) from None
        if error.errno == errno.ENOSPC:
            raise
        raise UserError(f"the run directory {file.parent} cannot be written ({error.strerror}): name another") from None
    content = b"" if not stat.S_ISREG(os.fstat(descriptor).st_mode) else os.pread(descriptor, len(OURS), 0)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not OURS.encode().startswith(content):
        os.close(descriptor)
        raise _not_ours(file)
    return descriptor


def _not_ours(file: Path) -> UserError:
    return UserError(f"{file} is not a lock of this program, which needs that name: move it, or name another directory")


def _in_use(directory: Path, descriptor: int) -> InUse:
    owner = os.pread(descriptor, 4096, 0).decode(errors="replace").removeprefix(OURS).strip()
    os.close(descriptor)
    return InUse(
        f"the run directory {directory} is in use by {owner or 'another process'}: wait for it, or name another"
    )


def _same_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.lstat())
    except FileNotFoundError:
        return False
