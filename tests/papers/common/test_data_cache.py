"""A cached directory is whole or absent, and damage to it is seen when it is opened."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from papers.common.data import cache


def write(final, value=7):
    with cache.whole_directory(final) as directory:
        array = cache.create(directory, "x", (5, 2), np.uint8)
        array[:] = value
        cache.seal(directory, {"x": array})


def test_round_trip_is_a_read_only_memory_map(tmp_path):
    write(tmp_path / "set")
    array = cache.open_arrays(tmp_path / "set")["x"]
    assert isinstance(array, np.memmap) and not array.flags.writeable
    assert np.array_equal(array, np.full((5, 2), 7)) and array.dtype == np.uint8
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_nothing(tmp_path, failure):
    with pytest.raises(failure), cache.whole_directory(tmp_path / "set") as directory:
        cache.create(directory, "x", (5,), np.uint8)
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_first_to_finish_wins(tmp_path):
    with cache.whole_directory(tmp_path / "set") as directory:
        (directory / "slow").touch()
        write(tmp_path / "set", 1)
    assert cache.open_arrays(tmp_path / "set")["x"][0, 0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def truncate(directory):
    path = directory / "x.npy"
    path.write_bytes(path.read_bytes()[:-1])


def other_shape(directory):
    np.save(directory / "x.npy", np.zeros((2, 5), np.uint8))


def other_dtype(directory):
    np.save(directory / "x.npy", np.zeros((5, 2), np.int8))


def no_array(directory):
    (directory / "x.npy").unlink()


def no_manifest(directory):
    (directory / cache.MANIFEST).unlink()


def half_manifest(directory):
    path = directory / cache.MANIFEST
    path.write_text(path.read_text()[:20])


def later_format(directory):
    path = directory / cache.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


@pytest.mark.parametrize(
    "damage", [truncate, other_shape, other_dtype, no_array, no_manifest, half_manifest, later_format]
)
def test_damage_is_seen_on_opening(tmp_path, damage):
    write(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(cache.Damaged, match=str(tmp_path)):
        cache.open_arrays(tmp_path / "set")


def test_flipped_bit_is_seen_on_opening(tmp_path):
    write(tmp_path / "set")
    path = tmp_path / "set" / "x.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(cache.Damaged, match="CRC-32"):
        cache.open_arrays(tmp_path / "set")


def test_directory_left_by_a_killed_process_is_removed_and_a_living_one_kept(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".set.{socket.gethostname()}.{ended.pid}.abc"
    living = tmp_path / f".set.{socket.gethostname()}.{os.getppid()}.abc"
    elsewhere = tmp_path / f".set.another-host.{ended.pid}.abc"
    of_another = tmp_path / f".another.{socket.gethostname()}.{ended.pid}.abc"
    own = tmp_path / ".set.of.mine"
    for path in (dead, living, elsewhere, of_another, own):
        path.mkdir()
    partial = tmp_path / f".set.zip.{socket.gethostname()}.{ended.pid}.partial"
    partial.write_text("half")
    write(tmp_path / "set")
    assert living.exists() and elsewhere.exists() and own.exists()
    assert not dead.exists() and not of_another.exists() and not partial.exists()


def test_concurrent_writers_leave_one_whole_directory(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(tmp_path / "set", value)) for value in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(np.unique(cache.open_arrays(tmp_path / "set")["x"])) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_discard(tmp_path):
    write(tmp_path / "set")
    cache.discard(tmp_path / "set")
    cache.discard(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_default_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SYMJAX_PAPERS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.default_directory() == tmp_path / ".cache" / "symjax-papers"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.default_directory() == tmp_path / "xdg" / "symjax-papers"
    monkeypatch.setenv("SYMJAX_PAPERS_CACHE", str(tmp_path / "own"))
    assert cache.default_directory() == tmp_path / "own"
