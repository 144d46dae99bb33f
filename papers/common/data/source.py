"""Where a data set's files come from: a published archive, its unpacked folder, or a download."""

import contextlib
import hashlib
import http.client
import os
import tarfile
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from papers.common.errors import UserError

BLOCK = 1 << 20


class Archive(NamedTuple):
    """Name a published archive and what is known of it."""

    dataset: str
    file: str
    url: str
    size: int
    md5: str
    folder: str
    """The folder that it unpacks to."""

    @property
    def remedy(self) -> str:
        """The half sentence that tells how to mend absent or damaged data."""
        return (
            f"fetch {self.url} ({self.size:,} bytes, md5 {self.md5}) into a directory DIR and run "
            f"`python -m papers.common.data --dataset {self.dataset} --data-dir DIR`"
        )


class Members(Protocol):
    """Read the files of an archive or of its unpacked folder; paths are relative to that folder."""

    path: Path

    def names(self, folder: str) -> frozenset[str]:
        """Return the names of the files directly inside `folder` ("" is the top), empty when there are none."""

    def read(self, member: str) -> bytes:
        """Return a file's bytes."""


class Folder:
    """Read the members of an unpacked folder."""

    def __init__(self, path: Path):
        self.path = path

    def names(self, folder: str) -> frozenset[str]:
        directory = self.path / folder
        return frozenset(os.listdir(directory)) if directory.is_dir() else frozenset()

    def read(self, member: str) -> bytes:
        return (self.path / member).read_bytes()


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
        return self._zip.read(self._prefix + member)


class Tar:
    """Read the members of a small compressed tar archive, once and into memory."""

    def __init__(self, path: Path, folder: str):
        self.path = path
        self._files: Mapping[str, bytes] = {}
        with tarfile.open(path) as tar:
            self._files = {
                entry.name.removeprefix(folder + "/"): tar.extractfile(entry).read() for entry in tar if entry.isfile()
            }

    def names(self, folder: str) -> frozenset[str]:
        prefix = folder + "/" if folder else ""
        inside = (name.removeprefix(prefix) for name in self._files if name.startswith(prefix))
        return frozenset(name for name in inside if "/" not in name)

    def read(self, member: str) -> bytes:
        return self._files[member]


def obtain(archive: Archive, data_dir: Path | None, downloads: Path) -> Members:
    """Find the archive or its unpacked folder, or download the archive; an archive is verified by size and md5.

    Args:
        archive: what to look for.
        data_dir: directory that holds the archive or the unpacked folder, or either of them itself; None downloads.
        downloads: directory for a download.

    Raises:
        UserError: nothing there, an archive that differs from the published one, or no network.
    """
    if data_dir is None:
        path = downloads / archive.file
        with contextlib.suppress(OSError, UserError):  # of an earlier preparation that was interrupted
            verify(archive, path)
            return open_members(archive, path)
        download(archive, path)
    else:
        path = _locate(archive, Path(data_dir).expanduser())
        if path.is_file():
            verify(archive, path)
    return open_members(archive, path)


def _locate(archive: Archive, data_dir: Path) -> Path:
    if not data_dir.exists():
        raise UserError(f"{data_dir} does not exist, so {archive.dataset} cannot be read from it; {archive.remedy}")
    if data_dir.is_file() or data_dir.name == archive.folder:
        return data_dir
    for path in (data_dir / archive.file, data_dir / archive.folder):
        if path.exists():
            return path
    raise UserError(f"{data_dir} holds neither {archive.file} nor {archive.folder}/; {archive.remedy}")


def open_members(archive: Archive, path: Path) -> Members:
    """Open an unpacked folder, or a zip or tar archive that has been verified."""
    if path.is_dir():
        return Folder(path)
    return (Zip if zipfile.is_zipfile(path) else Tar)(path, archive.folder)


def verify(archive: Archive, path: Path) -> None:
    """Compare an archive's size and md5 with the published ones.

    Raises:
        UserError: they differ.
    """
    with path.open("rb") as file:
        found = path.stat().st_size, hashlib.file_digest(file, "md5").hexdigest()
    if found != (archive.size, archive.md5):
        shown, expected = (f"{size:,} bytes, md5 {md5}" for size, md5 in (found, (archive.size, archive.md5)))
        raise UserError(f"{path} is damaged: {shown} found, {expected} expected; {archive.remedy}")


def download(archive: Archive, path: Path) -> None:
    """Stream the archive to a partial file beside `path`, verify it, and only then give it its name.

    Raises:
        UserError: no network, or what arrived differs from the published archive; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        try:
            with urllib.request.urlopen(archive.url, timeout=60) as response, partial.open("wb") as file:
                while block := response.read(BLOCK):
                    file.write(block)
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError; a full disk is another
            reason = getattr(error, "reason", error)
            raise UserError(
                f"{archive.dataset} is not in {path.parent} and could not be downloaded ({reason}); {archive.remedy}"
            ) from error
        verify(archive, partial)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
