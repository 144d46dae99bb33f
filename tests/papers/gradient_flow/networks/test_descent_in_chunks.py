"""Training cut into chunks: the same bits as in one piece, and an end within a chunk when the command is stopped."""

import _thread
import signal
import threading
import time
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.gradient_flow.networks.two_layer import descent
from papers.gradient_flow.networks.two_layer.schedule import cut
from papers.gradient_flow.networks.two_layer.starts import draw_elementwise, draw_radial, stack
from symjax.integrate import log_spaced


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(0, 300), min_size=2, max_size=30, unique=True),
    longest=st.integers(1, 200),
    most=st.integers(2, 20),
)
def test_pieces_make_up_the_schedule(steps, longest, most):
    """Every step of the schedule once and in order, no piece too long, each beginning where the last one ends."""
    steps = np.sort(steps)
    at, recorded = 0, []
    for piece in cut(steps, longest, most):
        assert piece.schedule[-1] <= longest and (np.diff(piece.schedule) >= 0).all() and len(piece.schedule) >= 2
        if piece.every is not None:
            np.testing.assert_array_equal(piece.schedule, np.arange(len(piece.schedule)) * piece.every)
        recorded += (at + piece.schedule[piece.taken]).tolist()
        at += int(piece.schedule[-1])
    np.testing.assert_array_equal(recorded, steps)
    assert at == steps[-1]


SCHEDULES = {
    "logarithmic": log_spaced(400, 40),
    "every step": np.arange(301),
    "far apart": np.array([0, 7, 390]),
    "not from 0": np.array([5, 250, 251, 600]),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("activation", ["linear", "tanh", "row_radial"])
def test_chunks_change_no_bit(name, activation, monkeypatch):
    seeds, radial = range(5), activation == "row_radial"
    starts = [draw_radial(seed, 1.0, "authors") if radial else draw_elementwise(seed, 0.1, "authors") for seed in seeds]
    job = descent.Job(activation, stack(starts), np.full(5, 1e-4 if radial else 0.05), SCHEDULES[name])
    with monkeypatch.context() as patch:
        patch.setattr(descent, "cut", partial(cut, longest=10**9, most=10**9))
        whole = descent.train(job)
    monkeypatch.setattr(descent, "cut", partial(cut, longest=100, most=8))
    pieces = descent.train(job)
    for field, one, other in zip(whole._fields, whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=field)


def test_what_stops_the_command_stops_the_threads(monkeypatch):
    """Four blocks of ten million steps: minutes of work, left within seconds of Ctrl-C."""
    starts = stack([draw_elementwise(seed, 0.1, "authors") for seed in range(16)])
    job = descent.Job("linear", starts, np.full(16, 1e-6), np.array([0, 10**7]))
    begun = threading.Event()
    follow = descent._follow

    def following(block, stop):
        begun.set()
        return follow(block, stop)

    monkeypatch.setattr(descent, "_follow", following)
    monkeypatch.setattr(descent, "cut", partial(cut, longest=1000))  # the tests' programs are slow ones
    before = threading.active_count()

    asked = []

    def interrupt():
        begun.wait(120)
        time.sleep(0.5)
        asked.append(time.monotonic())
        _thread.interrupt_main()

    # a process begun in the background of a shell ignores the signal
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            descent.train(job)
    finally:
        signal.signal(signal.SIGINT, former)
    left = time.monotonic()
    thread.join()
    assert begun.is_set() and left - asked[0] < 10
    assert threading.active_count() == before
