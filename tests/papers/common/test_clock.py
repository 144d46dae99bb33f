"""The clock of training: waiting counts, compiling does not."""

import time

import jax
import jax.numpy as jnp
import pytest

from papers.common.training import clock
from papers.common.training.clock import Clock


def test_waiting_counts():
    one = Clock()
    time.sleep(0.05)
    assert 0.05 <= one.seconds() < 5


def test_compiling_does_not_count():
    """A program that takes seconds to compile and nothing to run."""

    def slow(x):
        for place in range(400):
            x = jnp.sin(x) * place + jnp.cos(x)
        return x

    began, one = time.monotonic(), Clock()
    jax.jit(slow)(jnp.full(3, time.time())).block_until_ready()
    wall = time.monotonic() - began
    assert one.seconds() < 0.5 * wall


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([(2, 5)], 3),
        ([(2, 5), (6, 7)], 4),
        ([(2, 3), (4, 5), (1, 6)], 5),  # what was traced inside another trace ends before it
        ([(-3, 1)], 1),  # begun before the clock
        ([(-3, -1)], 0),
    ],
)
def test_nested_spans_count_once(monkeypatch, events, expected):
    """Ten seconds on the wall, less the union of the spans."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(clock, "_SPANS", [])
    one = Clock()
    for begin, end in events:
        now[0] = 100.0 + end
        clock._record("/jax/core/compile/backend_compile_duration", end - begin)
        clock._record("/jax/compilation_cache/compile_time_saved_sec", 1000.0)
    now[0] = 110.0
    assert one.seconds() == pytest.approx(10 - expected)
