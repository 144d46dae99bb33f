"""Archives and folders: found, verified, downloaded whole or not at all; every refusal names what mends it."""

import hashlib
import http.client
import io
import os
import tarfile
import urllib.error
import zipfile

import pytest

from papers.common.data import cifar10, members, source, tiny_imagenet
from papers.common.errors import UserError

CONTENT = {"a.txt": b"top", "deep/b.txt": b"below", "deep/er/c.txt": b"bottom"}


def packed(kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            for name, content in CONTENT.items():
                file.writestr(f"toy/{name}", content)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as file:
            for name, content in CONTENT.items():
                entry = tarfile.TarInfo(f"toy/{name}")
                entry.size = len(content)
                file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def described(content, file="toy.zip"):
    return source.Archive(
        "toy",
        file,
        f"https://example.org/{file}",
        len(content),
        hashlib.md5(content).hexdigest(),
        hashlib.sha256(content).hexdigest(),
        "toy",
        ("a.txt", "deep/b.txt"),
    )


def assert_mendable(error, archive):
    message = str(error.value)
    for part in (archive.url, f"{archive.size:,} bytes", archive.md5, "python -m papers.common.data --dataset toy"):
        assert part in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder"])
def test_members_read_alike(tmp_path, kind):
    content = packed("zip" if kind == "folder" else kind)
    archive = described(content, f"toy.{kind}")
    if kind == "folder":
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            file.extractall(tmp_path)
    else:
        (tmp_path / archive.file).write_bytes(content)
    members = source.obtain(archive, tmp_path, tmp_path / "downloads")
    assert {name: members.read(name) for name in CONTENT} == CONTENT
    assert "a.txt" in members.names("") and "b.txt" in members.names("deep")
    assert members.names("deep/er") == {"c.txt"} and members.names("absent") == frozenset()


def test_archive_or_folder_itself_may_be_named(tmp_path):
    content = packed("zip")
    (tmp_path / "elsewhere.zip").write_bytes(content)
    assert source.obtain(described(content), tmp_path / "elsewhere.zip", tmp_path).read("a.txt") == b"top"
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.txt").write_bytes(b"top")
    assert source.obtain(described(content), tmp_path / "toy", tmp_path).read("a.txt") == b"top"


@pytest.mark.parametrize("directory", ["absent", "."])
def test_absent_data(tmp_path, directory):
    archive = described(packed("zip"))
    with pytest.raises(UserError) as error:
        source.obtain(archive, tmp_path / directory, tmp_path / "downloads")
    assert str(tmp_path) in assert_mendable(error, archive)


def test_truncated_archive(tmp_path):
    content = packed("zip")
    archive = described(content)
    (tmp_path / "toy.zip").write_bytes(content[:-9])
    with pytest.raises(UserError, match=rf"{len(content) - 9} bytes found, {len(content)} bytes expected") as error:
        source.obtain(archive, tmp_path, tmp_path)
    assert str(tmp_path / "toy.zip") in assert_mendable(error, archive)


def test_flipped_byte(tmp_path):
    content = bytearray(packed("zip"))
    archive = described(bytes(content))
    content[len(content) // 2] ^= 1
    (tmp_path / "toy.zip").write_bytes(content)
    with pytest.raises(
        UserError, match=f"md5 {hashlib.md5(content).hexdigest()} found, md5 {archive.md5} expected"
    ) as error:
        source.obtain(archive, tmp_path, tmp_path)
    assert str(tmp_path / "toy.zip") in assert_mendable(error, archive)


class Response(io.BytesIO):
    """Deliver some bytes and then, perhaps, fail."""

    def __init__(self, content, failure=None):
        super().__init__(content)
        self._failure = failure

    def read(self, *arguments):
        block = super().read(*arguments)
        if not block and self._failure:
            raise self._failure
        return block


def serve(monkeypatch, content, failure=None):
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return Response(content, failure)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


def test_download_once_and_only_whole(tmp_path, monkeypatch):
    content = packed("zip")
    archive = described(content)
    asked = serve(monkeypatch, content)
    for _ in range(2):
        assert source.obtain(archive, None, tmp_path).read("a.txt") == b"top"
    assert asked == [archive.url]
    assert [path.name for path in tmp_path.iterdir()] == ["toy.zip"]


def test_damaged_earlier_download_is_fetched_again(tmp_path, monkeypatch):
    content = packed("zip")
    (tmp_path / "toy.zip").write_bytes(content[:-1])
    asked = serve(monkeypatch, content)
    assert source.obtain(described(content), None, tmp_path).read("a.txt") == b"top"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("sent", "failure", "reported"),
    [
        (20, None, "20 bytes found"),
        (20, ConnectionResetError("connection reset"), "connection reset"),
        (20, http.client.IncompleteRead(b""), "IncompleteRead"),
    ],
)
def test_broken_download_leaves_nothing(tmp_path, monkeypatch, sent, failure, reported):
    content = packed("zip")
    archive = described(content)
    serve(monkeypatch, content[:sent], failure)
    with pytest.raises(UserError, match=reported) as error:
        source.obtain(archive, None, tmp_path)
    assert_mendable(error, archive)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    serve(monkeypatch, b"half", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        source.obtain(described(packed("zip")), None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unreachable_network(tmp_path, monkeypatch):
    archive = described(packed("zip"))

    def urlopen(url, timeout):
        raise urllib.error.URLError("name not known")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(UserError, match="name not known") as error:
        source.obtain(archive, None, tmp_path)
    assert_mendable(error, archive)
    assert list(tmp_path.iterdir()) == []


def test_a_download_never_takes_more_than_was_published(tmp_path, monkeypatch):
    content = packed("zip")
    archive, taken = described(content), []

    class Endless:
        def read(self, size):
            taken.append(size)
            return b"x" * size

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Endless())
    with pytest.raises(UserError, match=f"sends more than the {len(content)} bytes") as error:
        source.obtain(archive, None, tmp_path)
    assert_mendable(error, archive)
    assert sum(taken) <= len(content) + source.BLOCK and list(tmp_path.iterdir()) == []


def test_another_file_of_the_same_size_and_md5_is_refused(tmp_path):
    """The SHA-256 decides where an md5 can be forged."""
    content = packed("zip")
    archive = described(content)._replace(sha256="0" * 64)
    (tmp_path / "toy.zip").write_bytes(content)
    with pytest.raises(UserError, match=f"SHA-256 {hashlib.sha256(content).hexdigest()} found, SHA-256 0+ expected"):
        source.obtain(archive, tmp_path, tmp_path)


def test_published_archives_come_by_https_with_a_sha256():
    for archive in (cifar10.ARCHIVE, tiny_imagenet.ARCHIVE):
        assert archive.url.startswith("https://") and len(bytes.fromhex(archive.sha256)) == 32 and archive.marks


@pytest.mark.parametrize(
    "place", ["toy", "renamed", "deep/toy", "deep/renamed", "toy/toy", "beside a wreck", "itself", "link"]
)
def test_a_folder_is_recognised_by_what_is_in_it(tmp_path, place):
    named = tmp_path / "named"
    folder = named if place == "itself" else named / place
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if place == "beside a wreck":
        (named / "toy").mkdir()
        (named / "toy" / "a.txt").write_bytes(b"half")
    if place == "link":
        (tmp_path / "pointer").symlink_to(folder)
        named = tmp_path / "pointer"
    archive = described(packed("zip"))
    assert source.obtain(archive, named, tmp_path).read("deep/b.txt") == b"below"


@pytest.mark.parametrize("kind", ["sparse", "pipe", "folder", "loop", "absent"])
def test_a_member_that_cannot_be_read_is_named(tmp_path, kind):
    path = tmp_path / "toy" / "deep"
    path.mkdir(parents=True)
    (path.parent / "a.txt").write_bytes(b"top")
    path = path / "b.txt"
    if kind == "sparse":
        with path.open("wb") as file:
            file.truncate(20 << 30)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    found = source.obtain(described(packed("zip")), tmp_path, tmp_path)
    with pytest.raises(UserError, match="deep/b.txt") as error:
        found.read("deep/b.txt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_whose_members_unpack_to_gigabytes_is_refused(tmp_path, monkeypatch, kind):
    content = packed(kind)
    archive = described(content, f"toy.{kind}")
    (tmp_path / archive.file).write_bytes(content)
    monkeypatch.setattr(members, "LARGEST", 4)
    with pytest.raises(UserError, match="has 5 bytes, but no file of a data set may have more than 4"):
        source.obtain(archive, tmp_path, tmp_path).read("deep/b.txt")
