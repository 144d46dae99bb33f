"""Where a data set's files come from: a published archive, its unpacked folder, or a download."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from papers.common.data import cache
from papers.common.data.members import Members, open_members
from papers.common.errors import UserError
from papers.common.paths import user_path

BLOCK = 1 << 20
DEPTH = 2
"""Folders below the one that is named in which an unpacked set is looked for."""


class Archive(NamedTuple):
    """Name a published archive and what is known of it."""

    dataset: str
    file: str
    url: str
    size: int
    md5: str
    """As its authors publish it."""
    sha256: str
    """Of the archive with that md5."""
    folder: str
    """The folder that it unpacks to."""
    marks: tuple[str, ...] = ()
    """Files by which an unpacked folder is recognised, whatever its name; those that are missing are reported."""

    @property
    def remedy(self) -> str:
        """The half sentence that tells how to mend absent or damaged data."""
        return (
            f"fetch {self.url} ({self.size:,} bytes, md5 {self.md5}) into a directory DIR and run "
            f"`python -m papers.common.data --dataset {self.dataset} --data-dir DIR`"
        )


def obtain(archive: Archive, data_dir: Path | None, downloads: Path) -> Members:
    """Find the archive or its unpacked folder, or download the archive; an archive is verified by size and checksums.

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
            return open_members(path, archive.folder)
        download(archive, path)
    else:
        named = user_path(data_dir)
        try:
            path = locate(archive, named)
            if path.is_file():
                verify(archive, path)
        except OSError as error:
            raise UserError(
                f"{archive.dataset} cannot be read from {named} ({error.strerror}): name another directory, or "
                f"{archive.remedy}"
            ) from error
    return open_members(path, archive.folder)


def locate(archive: Archive, data_dir: Path) -> Path:
    """Find the archive or the unpacked folder; a folder is recognised by what is in it, whatever it is called.

    Args:
        archive: what to look for.
        data_dir: either of them, or a directory that holds one of them, two levels deep at most.

    Raises:
        UserError: there is neither.
        OSError: a place that cannot be looked into.
    """
    if data_dir.is_file():
        return data_dir
    if not data_dir.is_dir():
        what = "is neither a file nor a directory" if data_dir.exists() else "does not exist"
        raise UserError(f"{data_dir} {what}, so {archive.dataset} cannot be read from it; {archive.remedy}")
    if (data_dir / archive.file).is_file():
        return data_dir / archive.file
    best, most = None, 0
    for folder in _folders(data_dir, DEPTH):
        present = sum((folder / mark).is_file() for mark in archive.marks)
        if present > most:
            best, most = folder, present
        if present == len(archive.marks):
            break
        if best is None and folder.name == archive.folder:
            best = folder  # where all marks are gone it goes by its name
    if best is not None:
        return best
    raise UserError(f"{data_dir} holds neither {archive.file} nor {archive.folder}/; {archive.remedy}")


def _folders(top: Path, depth: int) -> Iterator[Path]:
    """A folder and those below it, the nearest first; those that cannot be looked into are passed over."""
    level = [top]
    for _ in range(depth + 1):
        yield from level
        below = []
        for folder in level:
            with contextlib.suppress(OSError):
                below += sorted(entry for entry in folder.iterdir() if entry.is_dir())
        level = below


def verify(archive: Archive, path: Path) -> None:
    """Compare an archive's size, md5 and SHA-256 with the published ones.

    Raises:
        UserError: they differ.
    """
    size, digests = path.stat().st_size, (hashlib.md5(usedforsecurity=False), hashlib.sha256())
    if size == archive.size:  # else the sizes tell enough
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                for digest in digests:
                    digest.update(block)
    expected = {"size": f"{archive.size:,} bytes", "md5": f"md5 {archive.md5}", "sha256": f"SHA-256 {archive.sha256}"}
    found = {"size": f"{size:,} bytes"}
    if size == archive.size:
        found |= {"md5": f"md5 {digests[0].hexdigest()}", "sha256": f"SHA-256 {digests[1].hexdigest()}"}
    for name, shown in found.items():
        if shown != expected[name]:
            raise UserError(f"{path} is damaged: {shown} found, {expected[name]} expected; {archive.remedy}")


def download(archive: Archive, path: Path) -> None:
    """Stream the archive to a partial file beside `path`, verify it, and only then give it its name.

    No more is taken than the archive has; what a killed process left is removed by the next preparation.

    Raises:
        UserError: no network, or what arrived differs from the published archive; nothing is left behind.
    """
    import http.client
    import urllib.request

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.temporary_name(path, "partial")
    try:
        try:
            with urllib.request.urlopen(archive.url, timeout=60) as response, partial.open("wb") as file:
                while block := response.read(BLOCK):
                    file.write(block)
                    if file.tell() > archive.size:
                        raise UserError(
                            f"{archive.url} sends more than the {archive.size:,} bytes that were published, so it is "
                            f"another file; {archive.remedy}"
                        )
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError; a full disk is another
            reason = getattr(error, "reason", error)
            raise UserError(
                f"{archive.dataset} is not in {path.parent} and could not be downloaded ({reason}); {archive.remedy}"
            ) from error
        verify(archive, partial)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
