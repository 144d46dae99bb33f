"""Run directories: nothing is overwritten, nothing is half written, and what was run is on record."""

import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from papers.common import environment, finished, integrity, lock, plots, runs
from papers.common.errors import UserError
from papers.common.records import to_json
from papers.common.runs import RunDirectory, read_metrics

ROOT = Path(runs.__file__).parents[2]
HOLD = """
import sys, time
from papers.common.runs import RunDirectory
run = RunDirectory.{how}(sys.argv[1], {{"seed": 0}}{command})
print("held", flush=True)
time.sleep(60)
"""


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 0
    rates: tuple[float, ...] = (0.1, 0.2)
    out: Path = Path("run")


def hold(path, how="create"):
    """Open the directory in another process and leave it open."""
    script = HOLD.format(how=how, command=', "prog"' if how == "create" else "")
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_config_records_what_was_run(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    with RunDirectory.create(tmp_path / "deep" / "run", dataclasses.asdict(Config()), "python -m x") as run:
        record = json.loads((run.path / "config.json").read_text())
        assert (run.path / lock.NAME).exists()
    assert not (run.path / lock.NAME).exists()
    assert record["config"] == {"seed": 0, "rates": [0.1, 0.2], "out": "run"}
    assert record["command"] == "python -m x"
    assert set(record["versions"]) == {"python", "jax", "jaxlib", "flax", "optax", "numpy"}
    assert record["versions"]["numpy"] == np.__version__
    assert record["device"]["count"] >= 1 and record["device"]["platform"] and record["device"]["cpu"]
    assert record["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", record["commit"])
    assert record["xla_flags"] == os.environ["XLA_FLAGS"]
    assert record["started"].endswith("+00:00")


def test_a_directory_with_anything_in_it_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"not empty \(thesis.tex\).*--resume"):
        RunDirectory.create(tmp_path, {}, "prog")
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_or_an_unwritable_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="is a file"):
            RunDirectory.create(path, {}, "prog")
    with pytest.raises(UserError, match="cannot be (written|used)|No such file"):
        RunDirectory.create("/proc/run", {}, "prog")


def test_a_directory_in_use_is_refused_and_taken_over_from_the_dead(tmp_path):
    process = hold(tmp_path / "run")
    try:
        with pytest.raises(UserError, match=rf"in use by process {process.pid} on "):
            RunDirectory.resume(tmp_path / "run", {"seed": 0})
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (tmp_path / "run" / lock.NAME).exists()
    with pytest.raises(UserError, match="not empty"):
        RunDirectory.create(tmp_path / "run", {"seed": 0}, "prog")
    with RunDirectory.resume(tmp_path / "run", {"seed": 0}) as run:
        assert str(os.getpid()) in (run.path / lock.NAME).read_text()
        with pytest.raises(UserError, match="in use"):
            RunDirectory.resume(tmp_path / "run", {"seed": 0})


def test_resume_refuses_another_configuration_and_shows_it(tmp_path):
    old = {"seed": 0, "optimiser": {"rate": 0.1, "decay": 0.0}, "resume": False}
    RunDirectory.create(tmp_path / "run", old, "prog").close()
    before = (tmp_path / "run" / "config.json").read_bytes()
    new = {"seed": 1, "optimiser": {"rate": 0.2, "decay": 0.0}, "resume": True}
    with pytest.raises(UserError) as error:
        RunDirectory.resume(tmp_path / "run", new, ignore=("resume",))
    assert "seed 0 -> 1, optimiser.rate 0.1 -> 0.2)" in str(error.value)
    assert "decay" not in str(error.value)
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    with pytest.raises(UserError, match=r"\(resume False -> True\)"):
        RunDirectory.resume(tmp_path / "run", old | {"resume": True})
    with pytest.raises(UserError, match=r"\(width absent -> 2\)"):
        RunDirectory.resume(tmp_path / "run", old | {"width": 2})
    with RunDirectory.resume(tmp_path / "run", old | {"resume": True}, ignore=("resume",)) as run:
        assert run.changes == []
    assert len(json.loads((tmp_path / "run" / "config.json").read_text())["resumed"]) == 1


def test_resume_tells_of_other_versions(tmp_path, capsys):
    RunDirectory.create(tmp_path / "run", {}, "prog").close()
    file = tmp_path / "run" / "config.json"
    record = json.loads(file.read_text())
    record["versions"]["jax"] = "0.0"
    del record["sha256"]
    file.write_bytes(integrity.seal(record))
    with RunDirectory.resume(tmp_path / "run", {}) as run:
        assert len(run.changes) == 1 and run.changes[0].startswith("versions.jax 0.0 -> ")
    assert f"({run.changes[0]}): correct, but not to the same bits" in capsys.readouterr().out


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(UserError, match="no config.json"):
        RunDirectory.resume(tmp_path / "absent", {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        RunDirectory.resume(tmp_path, {})


def test_metrics_are_strict_json_and_flushed(tmp_path):
    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        run.append({"step": 0, "loss": jnp.float32(0.5), "norms": np.array([1.0, math.inf])})
        run.append({"step": np.int64(1), "loss": math.nan})
        text = (run.path / "metrics.jsonl").read_text()
    lines = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in text.splitlines()]
    assert lines == [{"step": 0, "loss": 0.5, "norms": [1.0, None]}, {"step": 1, "loss": None}]
    assert read_metrics(run.path) == lines


def test_metrics_go_back_to_what_lay_beside_a_checkpoint(tmp_path):
    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        for step in range(4):
            run.append({"step": step})
        kept = run.metrics()
        run.append({"step": 4})
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 5, "lo')  # cut short by a kill
        run.restore_metrics(kept)
        run.append({"step": 40})
        assert read_metrics(run.path) == [{"step": step} for step in (0, 1, 2, 3, 40)]
        run.restore_metrics()
        assert read_metrics(run.path) == []


@pytest.mark.parametrize("tail", [b'{"step": 2, "lo', b"[1]\n", b"null\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_odd_lines_of_metrics_end_what_is_read(tmp_path, tail):
    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        run.append({"step": 0})
        with (run.path / "metrics.jsonl").open("ab") as file:
            file.write(tail)
        assert read_metrics(run.path) == [{"step": 0}]


def test_arrays_return_as_they_were(tmp_path):
    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        path = run.save_arrays(
            "curves", loss=jnp.arange(3.0), names=np.array(["a", "b"]), half=jnp.ones(2, jnp.bfloat16)
        )
        with pytest.raises(ValueError, match="objects"):
            run.save_arrays("bad", x=np.array([object()]))
    with np.load(path) as read:
        np.testing.assert_array_equal(read["loss"], [0.0, 1.0, 2.0])
        assert read["loss"].dtype == np.float32 and list(read["names"]) == ["a", "b"]
        assert read["half"].dtype == np.float32
    assert sorted(item.name for item in run.path.iterdir()) == ["config.json", "curves.npz"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        path = run.save_arrays("curves", loss=np.zeros(3))
        before = path.read_bytes()

        def fail(*arguments):
            raise OSError("disk full")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            run.save_arrays("curves", loss=np.ones(3))
    assert path.read_bytes() == before
    assert sorted(item.name for item in run.path.iterdir()) == ["config.json", "curves.npz"]


def test_a_figure_is_small_and_beside_its_arrays(tmp_path):
    noise = np.random.default_rng(0).uniform(size=(600, 600, 3))
    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        figure, axes = plots.new_figure()
        axes[0, 0].imshow(noise)
        path = run.save_figure(figure, "noise", noise=noise)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert 0 < path.stat().st_size < 200_000
    with np.load(path.with_suffix(".npz")) as read:
        np.testing.assert_array_equal(read["noise"], noise)


def test_curves_have_the_roles_colours():
    _, axes = plots.new_figure(1, 2)
    steps = np.arange(5)
    plots.band(axes[0, 1], steps, np.stack([steps, steps + 2.0]), "free", "free norm")
    plots.band(axes[0, 1], steps, steps[None, :], "prediction", "law")
    free, law = axes[0, 1].lines
    np.testing.assert_array_equal(free.get_ydata(), steps + 1.0)
    assert axes.shape == (1, 2) and free.get_color() == plots.COLOURS["free"]
    assert (law.get_color(), law.get_linestyle()) == ("black", "--")
    (area,) = axes[0, 1].collections
    assert area.get_datalim(axes[0, 1].transData).bounds == (0, 0, 4, 6)


class Point(NamedTuple):
    x: float
    y: float


def test_to_json():
    value = {1: Point(1.0, -math.inf), "set": {2, 1}, "config": Config(), "flag": np.bool_(True), "none": None}
    assert to_json(value) == {
        "1": {"x": 1.0, "y": None},
        "set": [1, 2],
        "config": {"seed": 0, "rates": [0.1, 0.2], "out": "run"},
        "flag": True,
        "none": None,
    }


def test_the_commit_is_that_of_the_repository_that_tracks_the_file(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    file = tmp_path / "module.py"
    file.write_text("1")
    assert environment._commit(file) is None
    git("init")
    assert environment._commit(file) is None
    git("add", "module.py")
    git("commit", "-m", "x", "--no-gpg-sign")
    assert re.fullmatch("[0-9a-f]{40}", environment._commit(file))
    file.write_text("2")
    assert environment._commit(file).endswith("-dirty")


def test_command_line_can_be_pasted():
    assert environment.command_line("papers.x", ["--out", "a b"]) == "python -m papers.x --out 'a b'"


def test_a_field_that_a_run_had_not_yet_is_taken_for_its_default(tmp_path):
    """A new field of the configuration locks no earlier run, but a value that is not its default is another run."""

    @dataclasses.dataclass(frozen=True)
    class Nested:
        old: int = 1
        new: int = 2

    @dataclasses.dataclass(frozen=True)
    class Later(Config):
        width: float = 0.5
        nested: Nested = Nested()
        names: tuple[str, ...] = dataclasses.field(default_factory=lambda: ("a",))

    earlier = {"seed": 0, "rates": [0.1, 0.2], "out": "run", "nested": {"old": 1}}
    RunDirectory.create(tmp_path / "run", earlier, "prog").close()
    RunDirectory.resume(tmp_path / "run", Later()).close()
    for other, told in ((Later(width=1.0), "width 0.5 -> 1.0"), (Later(nested=Nested(1, 3)), "nested.new 2 -> 3")):
        with pytest.raises(UserError, match=re.escape(told)):
            RunDirectory.resume(tmp_path / "run", other)


@pytest.mark.parametrize(
    "flag",
    [
        "JAX_THREEFRY_PARTITIONABLE=0",
        "JAX_ENABLE_X64=1",
        "JAX_DEFAULT_PRNG_IMPL=rbg",
        "JAX_DEFAULT_MATMUL_PRECISION=highest",
    ],
)
def test_settings_that_change_numbers_are_told(tmp_path, flag):
    RunDirectory.create(tmp_path / "run", {"seed": 0}, "prog").close()
    name, _, value = flag.partition("=")
    opened = f"RunDirectory.resume({str(tmp_path / 'run')!r}, {{'seed': 0}})"
    script = f"from papers.common.runs import RunDirectory; print({opened}.changes)"
    process = {**os.environ, name: value}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=process, capture_output=True, text=True, check=True
    )
    assert f"settings.{name.lower().removeprefix('jax_')} " in done.stdout.splitlines()[-1]
    assert "correct, but not to the same bits" in done.stdout


def test_the_number_of_cores_is_told(tmp_path, monkeypatch):
    RunDirectory.create(tmp_path / "run", {}, "prog").close()
    monkeypatch.setattr(environment, "cores", lambda: 77)
    with RunDirectory.resume(tmp_path / "run", {}) as run:
        assert [change.rpartition(" ")[2] for change in run.changes] == ["77"]
        assert run.changes[0].startswith("device.cores ")


def test_other_data_is_refused(tmp_path):
    RunDirectory.create(tmp_path / "run", {}, "prog", data="a" * 16).close()
    RunDirectory.resume(tmp_path / "run", {}, data="a" * 16).close()
    with pytest.raises(UserError, match="begun on other data"):
        RunDirectory.resume(tmp_path / "run", {}, data="b" * 16)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"config": null}',
        b"\xff\x00",
        b"[" * 100_000,
        b'{"config": {}, "run": "a"}',
    ],
)
def test_a_damaged_configuration_is_one_sentence(tmp_path, content):
    RunDirectory.create(tmp_path / "run", {}, "prog").close()
    (tmp_path / "run" / "config.json").write_bytes(content)
    with pytest.raises(UserError, match="damaged") as told:
        RunDirectory.resume(tmp_path / "run", {})
    assert "\n" not in str(told.value)


def test_a_changed_configuration_is_noticed(tmp_path):
    RunDirectory.create(tmp_path / "run", {"seed": 0}, "prog").close()
    file = tmp_path / "run" / "config.json"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="checksum"):
        RunDirectory.resume(tmp_path / "run", {"seed": 1})


@pytest.mark.parametrize("what", ["file", "link", "dangling link", "directory", "fifo"])
def test_nothing_of_the_users_is_taken_for_the_lock(tmp_path, what):
    """A file, link or folder with the lock's name is not written to, not followed and not removed."""
    (tmp_path / "run").mkdir()
    (tmp_path / "thesis").write_text("years of work")
    name = tmp_path / "run" / lock.NAME
    {
        "file": lambda: name.write_text("years of work"),
        "link": lambda: name.symlink_to(tmp_path / "thesis"),
        "dangling link": lambda: name.symlink_to(tmp_path / "absent"),
        "directory": name.mkdir,
        "fifo": lambda: os.mkfifo(name),
    }[what]()
    before = name.lstat()
    with pytest.raises(UserError, match="not a lock of this program"):
        RunDirectory.create(tmp_path / "run", {}, "prog")
    assert name.lstat().st_ino == before.st_ino and name.lstat().st_size == before.st_size
    assert (tmp_path / "thesis").read_text() == "years of work" and not (tmp_path / "absent").exists()


def test_a_users_file_called_lock_is_a_file_like_any_other(tmp_path):
    (tmp_path / "lock").write_text("years of work")
    with pytest.raises(UserError, match=r"not empty \(lock\)"):
        RunDirectory.create(tmp_path, {}, "prog")
    assert (tmp_path / "lock").read_text() == "years of work"


@pytest.mark.parametrize("error", [UserError, KeyboardInterrupt, OSError, MemoryError])
def test_a_run_that_saved_nothing_leaves_nothing(tmp_path, error):
    """Whatever ends it before something was saved: the same words work again."""
    for _ in range(2):
        with pytest.raises(error), RunDirectory.create(tmp_path / "deep" / "run", {}, "prog") as run:
            run.append({"step": 0})
            raise error
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(error), RunDirectory.create(tmp_path / "mine", {}, "prog"):
        raise error
    assert list((tmp_path / "mine").iterdir()) == []  # what was there before stays


def test_a_run_that_saved_something_keeps_it_and_says_how_to_go_on(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        run.save_arrays("curves", loss=np.zeros(3))
        raise KeyboardInterrupt
    assert capsys.readouterr().out == "stopped; continue with: prog --resume\n"
    assert {item.name for item in (tmp_path / "run").iterdir()} == {"config.json", "curves.npz"}


class Curve(NamedTuple):
    time: np.ndarray
    point: Point


def test_a_part_is_measured_once(tmp_path):
    """A stopped run measures only what it had not; a damaged part, or one of another run, is measured again."""
    calls = []

    def measure():
        calls.append(1)
        return Curve(np.arange(3.0), Point(np.float32(1), np.array(["a"])))

    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        run.part("seed0", Curve, measure)
    with RunDirectory.resume(tmp_path / "run", {}) as run:
        found = run.part("seed0", Curve, measure)
        assert len(calls) == 1 and found.point.x.dtype == np.float32 and list(found.point.y) == ["a"]
        np.testing.assert_array_equal(found.time, [0, 1, 2])
        file = run.path / "parts" / "seed0.npz"
        file.write_bytes(file.read_bytes()[:-30])
        run.part("seed0", Curve, measure)
        assert len(calls) == 2
    with RunDirectory.create(tmp_path / "other", {}, "prog") as other:
        (other.path / "parts").mkdir()
        (other.path / "parts" / "seed0.npz").write_bytes(file.read_bytes())
        other.part("seed0", Curve, measure)
        assert len(calls) == 3


def finish(path, **arrays):
    with RunDirectory.create(path, {"seed": 0}, "prog") as run:
        run.save_arrays("history", **arrays)
        run.write_json("summary", {"loss": 1.0})
        run.finish()
    return path


def damage(file, how, other):
    content = file.read_bytes()
    if how == "absent":
        file.unlink()
    elif how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "one bit":
        file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    elif how == "of another run":
        file.write_bytes((other / file.name).read_bytes())
    elif how == "a directory":
        file.unlink()
        file.mkdir()
    elif how == "a fifo":
        file.unlink()
        os.mkfifo(file)
    else:
        file.write_bytes({"empty": b"", "null": b"null", "binary": b"\xff" * 100}[how])


HARMS = ["absent", "cut", "one bit", "of another run", "a directory", "a fifo", "empty", "null", "binary"]


@pytest.mark.parametrize("name", ["history.npz", "finished.json", "config.json"])
@pytest.mark.parametrize("how", HARMS)
def test_what_a_finished_run_left_is_read_whole_or_refused_in_a_sentence(tmp_path, name, how):
    run = finish(tmp_path / "run", loss=np.arange(100.0))
    other = finish(tmp_path / "other", loss=np.arange(100.0) + 1)
    np.testing.assert_array_equal(finished.load_arrays(run)["loss"], np.arange(100.0))
    damage(run / name, how, other)
    with pytest.raises(UserError) as told:
        finished.load_arrays(run)
    assert str(run) in str(told.value) and "\n" not in str(told.value)


def test_a_finished_run_of_an_earlier_version_is_read_as_it_stands(tmp_path):
    run = finish(tmp_path / "run", loss=np.arange(3.0))
    record = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({"config": record["config"], "command": "prog"}))
    (run / "finished.json").unlink()
    np.testing.assert_array_equal(finished.load_arrays(run)["loss"], np.arange(3.0))
    assert finished.load_json(run, "summary.json") == {"loss": 1.0}
    with pytest.raises(UserError, match="earlier version"):
        RunDirectory.resume(run, {"seed": 0})
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        finished.load_arrays(run)


def test_resuming_a_finished_run_makes_it_unfinished_until_its_end(tmp_path):
    run = finish(tmp_path / "run", loss=np.arange(3.0))
    with RunDirectory.resume(run, {"seed": 0}) as directory:
        assert not finished.is_finished(run)
        directory.finish()
    np.testing.assert_array_equal(finished.load_arrays(run)["loss"], np.arange(3.0))
