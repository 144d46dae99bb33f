"""Reading the files of a published set: from its archive, or from the folder that it was unpacked to."""

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from papers.common.errors import UserError
from papers.common.paths import shortened

LARGEST = 1 << 26
"""Bytes of the largest file that is read: twice the largest of any published set here."""


class Members(Protocol):
    """Read the files of an archive or of its unpacked folder; paths are relative to that folder."""

    path: Path

    def names(self, folder: str) -> frozenset[str]:
        """Return the names of what lies directly inside `folder` ("" is the top), empty when there is nothing."""

    def read(self, member: str) -> bytes:
        """Return a file's bytes; UserError for what is no plain file of sensible size, or cannot be read."""


class Folder:
    """Read the members of an unpacked folder."""

    def __init__(self, path: Path):
        self.path = path

    def names(self, folder: str) -> frozenset[str]:
        directory = self.path / folder
        try:
            return frozenset(os.listdir(directory)) if directory.is_dir() else frozenset()
        except OSError as error:
            raise unreadable(directory, error.strerror) from error

    def read(self, member: str) -> bytes:
        return read_file(self.path / member)


class Zip:
    """Read the members of a zip archive without unpacking it."""

    def __init__(self, path: Path, folder: str):
        self.path, self._prefix = path, folder + "/"
        self._zip = zipfile.ZipFile(path)
        self._names: dict[str, set[str]] = {}
        for name in self._zip.namelist():
            parent, _, last = name.removeprefix(self._prefix).rpartition("/")
            if last:
                self._names.setdefault(parent, set()).add(last)

    def names(self, folder: str) -> frozenset[str]:
        return frozenset(self._names.get(folder, ()))

    def read(self, member: str) -> bytes:
        try:
            _check_size(f"{self.path}/{member}", self._zip.getinfo(self._prefix + member).file_size)
            return self._zip.read(self._prefix + member)
        except (OSError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise unreadable(f"{self.path}/{member}", error) from error


class Tar:
    """Read the members of a small compressed tar archive, once and into memory."""

    def __init__(self, path: Path, folder: str):
        self.path = path
        self._files: Mapping[str, bytes] = {}
        with tarfile.open(path) as tar:
            files = {}
            for entry in tar:
                if entry.isfile():
                    _check_size(f"{path}/{entry.name}", entry.size)
                    files[entry.name.removeprefix(folder + "/")] = tar.extractfile(entry).read()
            self._files = files

    def names(self, folder: str) -> frozenset[str]:
        prefix = folder + "/" if folder else ""
        inside = (name.removeprefix(prefix) for name in self._files if name.startswith(prefix))
        return frozenset(name for name in inside if "/" not in name)

    def read(self, member: str) -> bytes:
        return self._files[member]


def read_file(path: Path) -> bytes:
    """Read a plain file of sensible size; neither a pipe, which would wait for ever, nor 20 GB of zeros.

    Raises:
        UserError: it is something else, too large, or cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise unreadable(path, "a folder" if stat.S_ISDIR(found.st_mode) else "not a plain file")
        _check_size(path, found.st_size)
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error.strerror) from error


def unreadable(what: object, reason: object) -> UserError:
    """Say that a part of the source, and not the cache, is to blame."""
    return UserError(f"{shortened(what)} of the data cannot be read ({reason}): make it readable, or name another copy")


def _check_size(what: object, size: int) -> None:
    if size > LARGEST:
        raise UserError(
            f"{shortened(what)} has {size:,} bytes, but no file of a data set may have more than {LARGEST:,}: it is "
            "not what was published, so take it out"
        )


def open_members(path: Path, folder: str) -> Members:
    """Open an unpacked folder, or a zip or tar archive that has been verified; `folder` is the archive's top."""
    if path.is_dir():
        return Folder(path)
    try:
        return (Zip if zipfile.is_zipfile(path) else Tar)(path, folder)
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
        raise unreadable(path, error) from error
