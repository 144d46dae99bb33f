"""Streams, homes, devices and places of every odd kind: a command works, or says one sentence and exits with 2."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from papers.common import cli
from papers.common.compilation import use_compilation_cache
from papers.common.runs import RunDirectory
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.presets import PRESETS

ROOT = Path(__file__).parents[2]
SMALL = ["--limit", "20", "--batch-size", "4"]
COMMAND = [sys.executable, "-m", "papers.noether.train", *SMALL]

# what a cheap command does with its streams, its home and its device before the first step
STARTED = """
import sys
from papers.common import cli
from papers.noether.networks.config import TrainConfig
def entry(config):
    config.preflight()
    from papers.common.compilation import use_compilation_cache
    use_compilation_cache(config.cache_dir)
    from papers.common.runs import RunDirectory
    from papers.common.training import Progress
    with RunDirectory.open(config, "command") as directory:
        Progress(10, 4).close()
        print("begun \\u2713 in", directory.path, flush=True)
cli.main(entry, TrainConfig, "prog")
"""


def begin(tmp_path, *arguments, script=STARTED, redirect="", **options):
    """Run the program above through a shell, so that streams can be closed."""
    shell = f'exec "$@" {redirect}'
    program = ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", script, *SMALL, "--out", str(tmp_path / "run")]
    given = {"cwd": ROOT, "capture_output": True, "timeout": 120, "check": False} | options
    return subprocess.run([*program, *arguments], **given)


def environment(**changes):
    kept = {name: value for name, value in os.environ.items() if changes.get(name, value) is not None}
    return kept | {name: value for name, value in changes.items() if value is not None}


def assert_one_sentence(done):
    text = done.stderr.decode()
    assert done.returncode == 2 and text.count("\n") == 1 and "Traceback" not in text, text
    return text


@pytest.mark.parametrize("redirect", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path, redirect):
    done = begin(tmp_path, redirect=redirect)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "config.json").read_bytes().startswith(b"{")  # nothing was printed into it


def test_a_closed_stderr_keeps_the_exit_code(tmp_path):
    assert begin(tmp_path, "--epochs", "x", redirect="2>&-").returncode == 2


@pytest.mark.parametrize(
    "changes", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_an_ascii_terminal(tmp_path, changes):
    done = begin(tmp_path, env=environment(**changes))
    assert done.returncode == 0 and b"begun \\u2713 in" in done.stdout, done.stderr


def test_a_name_that_is_no_text(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    done = begin(tmp_path, b"--out", folder)
    assert "UTF-8" in assert_one_sentence(done) and not os.path.exists(folder)


NO_HOME = "import pwd\ndef getpwuid(uid): raise KeyError(uid)\npwd.getpwuid = getpwuid\n"
HOMELESS = {"HOME": None, "XDG_CACHE_HOME": None, "SYMJAX_PAPERS_CACHE": None, "JAX_COMPILATION_CACHE_DIR": None}


def test_no_home_and_no_entry_in_the_password_file(tmp_path):
    done = begin(tmp_path, script=NO_HOME + STARTED, env=environment(**HOMELESS))
    assert done.returncode == 0, done.stderr
    script = NO_HOME + "from papers.common.data.__main__ import *\nmain(entry, Config, 'prog')"
    command = [sys.executable, "-c", script, "--dataset", "tiny_imagenet", "--data-dir", "/nonexistent"]
    done = subprocess.run(command, cwd=ROOT, env=environment(**HOMELESS), capture_output=True, timeout=120, check=False)
    assert "--cache-dir" in assert_one_sentence(done)


def test_a_home_that_cannot_be_written(tmp_path):
    (tmp_path / "home").write_text("a file")
    done = begin(tmp_path, env=environment(**HOMELESS | {"HOME": str(tmp_path / "home")}))
    assert done.returncode == 0, done.stderr
    done = begin(tmp_path, "--out", str(tmp_path / "other"), "--cache-dir", "~/cache",
                 env=environment(**HOMELESS | {"HOME": str(tmp_path / "home")}))  # fmt: skip
    assert "home/cache" in assert_one_sentence(done)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_device_that_is_not_there(tmp_path, platform):
    if platform == "cuda" and shutil.which("nvidia-smi"):
        pytest.skip("the device is there")
    done = begin(tmp_path, env=environment(JAX_PLATFORMS=platform))
    sentence = assert_one_sentence(done)
    assert platform in sentence and "JAX_PLATFORMS" in sentence
    assert not (tmp_path / "run").exists()


def odd_places(folder):
    """Name -> a place under a folder that can hold no run and no data."""
    (folder / "file").write_text("text")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket"))
    places = {name: folder / name for name in ("file", "loop", "fifo", "socket")}
    places |= {f"in a {name}": place / "below" for name, place in places.items()}
    places |= {"long": folder / ("a" * 300), "longer": folder / "/".join(["a" * 200] * 30), "device": Path("/dev/null")}
    return places | {"unknown home": Path("~nobody-of-that-name/x"), "zero byte": folder / "a\0b"}


ODD = ["file", "loop", "fifo", "socket", "in a file", "in a loop", "in a fifo", "in a socket", "long", "longer"]
ODD += ["device", "unknown home", "zero byte"]


@pytest.fixture
def short_folder():
    """A folder of a short name: a socket's has a hundred characters."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def refused(capsys, entry, config_class, argv, presets=None):
    with pytest.raises(SystemExit) as stop:
        cli.main(entry, config_class, "prog", argv=argv, presets=presets)
    captured = capsys.readouterr()
    assert stop.value.code == 2 and captured.err.count("\n") == 1, captured.err
    assert len(captured.err) < 1000
    return captured.err


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("odd", ODD)
def test_odd_run_directories(short_folder, capsys, odd, resume):
    place = odd_places(short_folder)[odd]
    argv = ["--out", str(place), *SMALL, *(["--resume"] if resume else [])]

    def entry(config):
        config.preflight()
        RunDirectory.open(config, "command").close()

    refused(capsys, entry, TrainConfig, argv, PRESETS)


@pytest.mark.parametrize("odd", ODD)
def test_odd_folders_of_compiled_programs(short_folder, capsys, monkeypatch, odd):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    place = odd_places(short_folder)[odd]
    refused(capsys, lambda config: use_compilation_cache(config.cache_dir), TrainConfig, ["--cache-dir", str(place)])


@pytest.mark.parametrize("name", ["tiny_imagenet", "cifar10", "folder"])
@pytest.mark.parametrize("odd", ODD)
def test_odd_folders_of_data(short_folder, capsys, name, odd):
    argv = ["--data", name, "--cache-dir", str(short_folder / "cache"), *SMALL]
    argv += ["--data-dir", str(odd_places(short_folder)[odd])]
    sentence = refused(capsys, lambda config: config.preflight(), TrainConfig, argv)
    assert "could not be prepared in" not in sentence  # the cache is not to blame


@pytest.mark.parametrize("odd", ODD)
def test_odd_folders_of_prepared_data(short_folder, capsys, odd):
    argv = ["--data", "tiny_imagenet", "--data-dir", str(short_folder), *SMALL]
    argv += ["--cache-dir", str(odd_places(short_folder)[odd])]
    refused(capsys, lambda config: config.preflight(), TrainConfig, argv)


def test_a_tilde_means_home_in_every_path(tmp_path, monkeypatch):
    """Whether it comes by the command line or from Python: nothing is ever written into a folder called ~."""
    import jax

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    given = cli.parse(TrainConfig, "prog", argv=["--out=~/run", "--data-dir=~/data", "--cache-dir", "~/cache"])
    home = tmp_path / "home"
    assert (given.out, given.data_dir, given.cache_dir) == (home / "run", home / "data", home / "cache")
    before = jax.config.jax_compilation_cache_dir
    try:
        use_compilation_cache(Path("~/cache"))
        assert jax.config.jax_compilation_cache_dir == str(home / "cache" / "xla")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    RunDirectory.open(TrainConfig(out=Path("~/run")), "command").close()
    assert (home / "run" / "config.json").is_file() and not (tmp_path / "~").exists()


CLOSED = """
import os, sys
from papers.common import cli
from papers.common.compilation import use_compilation_cache
from papers.noether.networks.config import TrainConfig
def look(config):
    config.preflight()
    use_compilation_cache(config.cache_dir)
def refused(*argv):
    try:
        cli.main(look, TrainConfig, "prog", argv=argv)
        print("accepted", argv)
    except SystemExit as stop:
        print(stop.code)
closed, opened = sys.argv[1:]
for data in ("cifar10", "folder"):  # imports everything, which another user might not be allowed to
    refused("--data", data, "--data-dir", "/nonexistent", "--cache-dir", opened)
cli.main(look, TrainConfig, "prog", argv=["--cache-dir", opened])
if os.geteuid() == 0:  # nothing is closed to root
    os.seteuid(65534)
for place in (closed, closed + "/x"):
    refused("--out", place)
    refused("--out", place, "--resume")
    refused("--cache-dir", place)
    refused("--data", "cifar10", "--cache-dir", place)
    refused("--data", "cifar10", "--cache-dir", opened, "--data-dir", place)
    refused("--data", "folder", "--cache-dir", opened, "--data-dir", place)
"""


def test_folders_that_may_not_be_looked_into():
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        for name, mode in (("closed", 0o000), ("open", 0o777)):
            (place / name).mkdir()
            (place / name).chmod(mode)
        command = [sys.executable, "-c", CLOSED, str(place / "closed"), str(place / "open")]
        given = environment(HOME=str(place / "open"), JAX_COMPILATION_CACHE_DIR=None)
        done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=120)
        (place / "closed").chmod(0o700)
    assert done.returncode == 0 and done.stdout.split() == ["2"] * 14, done
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 14
