"""A real process, stopped by a real signal, goes on from its checkpoint to the same bits as a process never stopped."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from papers.common.runs import read_metrics

ROOT = Path(__file__).parents[2]
OPTIONS = "--width 0.03125 --limit 32 --batch-size 16 --epochs 40 --record-every 1 --checkpoint-epochs 0".split()


def command(out, *more):
    return [sys.executable, "-m", "papers.noether.train", *OPTIONS, "--out", str(out), *more]


@pytest.fixture(autouse=True)
def compile_quickly(monkeypatch, quick_compilation):
    """What is tested is the same for any program, and compiling is most of the time."""
    monkeypatch.setenv("XLA_FLAGS", quick_compilation)


def launch(out, cache, *more):
    # XLA's words about programs that the quick flags compiled would fill a pipe that nobody reads meanwhile
    own = {"SYMJAX_PAPERS_CACHE": str(cache), "MPLBACKEND": "agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment = {**os.environ, **own}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(out, *more), cwd=ROOT, env=environment, **pipes)


def wait_for_steps(process, out, steps):
    """Wait until the run has written down its first steps; the process is watched, not the clock."""
    while process.poll() is None:
        if sum("loss" in record for record in read_metrics(out)) >= steps:
            return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail(f"the run ended before it was stopped: {process.communicate()}")


def stop(number, out, cache):
    process = launch(out, cache)
    wait_for_steps(process, out, 3)
    process.send_signal(number)
    told, complained = process.communicate(timeout=300)
    assert process.returncode == 128 + number, complained
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert complained.splitlines()[-1].endswith(f": {word}") and "Traceback" not in complained
    assert not (out / ".symjax-lock").exists() and not (out / "summary.json").exists()
    line = next(line for line in told.splitlines() if "continue with: " in line)
    return shlex.split(line.partition("continue with: ")[2])


def finish(process):
    told, complained = process.communicate(timeout=600)
    assert process.returncode == 0, complained
    return told


def assert_same_history(one, other):
    with np.load(one / "history.npz") as found, np.load(other / "history.npz") as expected:
        assert found.files == expected.files
        for name in expected.files:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert read_metrics(one) == read_metrics(other)


def resume_as_printed(words, out, cache):
    """Run the command that was printed, as it stands."""
    assert words[:3] == ["python", "-m", "papers.noether.train"] and words[-1] == "--resume"
    process = launch(out, cache, "--resume")
    assert [sys.executable, *words[1:]] == process.args
    return finish(process)


@pytest.mark.slow
def test_terminated_and_resumed(tmp_path):
    """One process is sent SIGTERM, the printed command is run, and the run is complete."""
    out, cache = tmp_path / "run", tmp_path / "cache"
    words = stop(signal.SIGTERM, out, cache)
    stopped = read_metrics(out)
    told = resume_as_printed(words, out, cache)
    assert "continuing from the checkpoint of step " in told
    records = read_metrics(out)
    assert records[: len(stopped)] == stopped  # what had been written stands
    assert [record["step"] for record in records if "loss" in record] == list(range(1, 81))
    assert [record["epoch"] for record in records if "epoch" in record] == list(range(41))
    assert (out / "summary.json").exists() and (out / "norms.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_same_bits_as_a_process_never_stopped(tmp_path, number):
    """Stopped by a signal, resumed by another process from the checkpoint alone."""
    cache = tmp_path / "cache"
    finish(launch(tmp_path / "whole", cache))
    words = stop(number, tmp_path / "run", cache)
    resume_as_printed(words, tmp_path / "run", cache)
    assert_same_history(tmp_path / "run", tmp_path / "whole")
