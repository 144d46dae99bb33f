"""Paths: the tilde means home everywhere, and a place that cannot be used is one sentence."""

import errno
import os
import pwd
from pathlib import Path

import pytest

from papers.common import paths
from papers.common.errors import UserError


def without_home(monkeypatch):
    for name in ("HOME", "SYMJAX_PAPERS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def getpwuid(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)


def test_tilde_is_home_at_the_beginning_only(monkeypatch):
    monkeypatch.setenv("HOME", "/houses/somebody")
    assert paths.user_path("~/a") == paths.user_path(Path("~/a")) == Path("/houses/somebody/a")
    assert paths.user_path("~") == Path("/houses/somebody")
    assert paths.user_path(paths.user_path("~/a")) == Path("/houses/somebody/a")
    for plain in ("a/~", "/a~b", ".", "..", "/", "runs/~x"):
        assert paths.user_path(plain) == Path(plain)
    assert paths.user_path("~root/x") == Path(pwd.getpwnam("root").pw_dir) / "x"


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "a\0b"])
def test_impossible_paths_are_one_sentence(path):
    with pytest.raises(UserError, match="path") as error:
        paths.user_path(path)
    assert "\n" not in str(error.value)


def test_without_a_home(monkeypatch):
    without_home(monkeypatch)
    assert paths.home() is None and paths.user_path("a") == Path("a")
    with pytest.raises(UserError, match="~/x"):
        paths.user_path("~/x")


@pytest.mark.parametrize("code", sorted(paths.PLACE_ERRORS))
def test_an_error_of_the_place_is_one_sentence(code):
    with pytest.raises(UserError, match="^/a/b cannot be used .*: name another$"), paths.used("/a/b"):
        raise OSError(code, os.strerror(code), "/a/b/c")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("a bug")])
def test_other_errors_stay(error):
    with pytest.raises(type(error)), paths.used("/a/b"):
        raise error
