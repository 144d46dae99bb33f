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

from papers.common import environment, plots, runs
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
        assert (run.path / "lock").exists()
    assert not (run.path / "lock").exists()
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
    with pytest.raises(UserError, match="cannot be written"):
        RunDirectory.create("/proc/run", {}, "prog")


def test_a_directory_in_use_is_refused_and_taken_over_from_the_dead(tmp_path):
    process = hold(tmp_path / "run")
    try:
        with pytest.raises(UserError, match=rf"in use by process {process.pid} on "):
            RunDirectory.resume(tmp_path / "run", {"seed": 0})
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (tmp_path / "run" / "lock").exists()
    with pytest.raises(UserError, match="not empty"):
        RunDirectory.create(tmp_path / "run", {"seed": 0}, "prog")
    with RunDirectory.resume(tmp_path / "run", {"seed": 0}) as run:
        assert str(os.getpid()) in (run.path / "lock").read_text()
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
    file.write_text(json.dumps(record))
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


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        for step in range(6):
            run.append({"step": step})
        run.append({"note": "no step"})
        run.truncate_metrics(3)
        run.append({"step": 4})
        assert read_metrics(run.path) == [{"step": step} for step in range(4)] + [{"note": "no step"}, {"step": 4}]


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    with RunDirectory.create(tmp_path / "run", {}, "prog") as run:
        (run.path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"step": 2, "lo')
        assert read_metrics(run.path) == [{"step": 0}, {"step": 1}]
        run.truncate_metrics(1)
        assert (run.path / "metrics.jsonl").read_text() == '{"step": 0}\n{"step": 1}\n'


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
