"""Progress: compilation is never counted as speed, and no stream is needed."""

import re
import sys
import time

import numpy as np
import pytest

from papers.common.training import Progress
from papers.common.training.fit import Fetched


def chunk(step, steps=10, loss=0.5):
    return Fetched(step, {"loss": np.full(steps, loss), "accuracy": np.full(steps, 0.75)}, {})


@pytest.fixture
def clock(monkeypatch):
    """The time, which only the test moves."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_rates_are_those_of_the_steps_after_compiling(clock, capsys):
    progress = Progress(100, batch_size=64, seconds=1.0)
    assert capsys.readouterr().out == "compiling the first of 100 steps\n"
    clock[0] += 60
    progress(chunk(0))
    first = capsys.readouterr().out
    assert "images/s" not in first and "left" not in first and "60 s of compiling" in first and "step 10/100" in first
    clock[0] += 2
    progress(chunk(10))
    second = capsys.readouterr().out
    assert f"{10 * 64 / 2:.0f} images/s" in second and "0:16 left" in second
    clock[0] += 0.5  # sooner than a line is due
    progress(chunk(20))
    assert capsys.readouterr().out == ""
    clock[0] += 11.5
    progress(chunk(90))
    assert re.search(rf"step 100/100 .* {90 * 64 / 14:.0f} images/s  0:00 left", capsys.readouterr().out)


def test_a_run_of_one_chunk_tells_no_rate(clock, capsys):
    progress = Progress(10, batch_size=4)
    clock[0] += 9
    progress(chunk(0))
    assert "images/s" not in capsys.readouterr().out


def test_a_resumed_run_counts_its_own_steps_only(clock, capsys):
    progress = Progress(100, batch_size=1, first_step=80, seconds=0.0)
    assert "the first of 20 steps" in capsys.readouterr().out
    progress(chunk(80))
    clock[0] += 5
    progress(chunk(90))
    assert " 2 images/s" in capsys.readouterr().out


def test_a_finished_run_has_nothing_to_say(capsys):
    Progress(10, 4, first_step=10).close()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_closed_streams_end_nothing(monkeypatch, stream):
    monkeypatch.setattr(sys, stream, None)
    progress = Progress(20, 4)
    progress(chunk(0))
    progress(chunk(10))
    progress.close()


def test_the_bar_of_a_terminal_says_that_it_compiles(monkeypatch, clock, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(20, 4)
    progress(chunk(0))
    clock[0] += 1
    progress(chunk(10))
    progress.close()
    captured = capsys.readouterr()
    assert captured.out == "" and "compiling" in captured.err and "40 images/s" in captured.err
