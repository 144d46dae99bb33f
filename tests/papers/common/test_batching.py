"""Members side by side: the three ways agree with a recursion in NumPy, compile once, and keep members apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.batching import Plan, advance, choose, stack, take

PLANS = [Plan(batching, steps) for batching in ("vmap", "map", "loop") for steps in ("scan", "python")]
SHARED = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
RATES = np.array([0.5, 0.9, 2.0], np.float32)


def step(state, rate, shared, index):
    """x <- rate x + mean of the chosen rows; n counts."""
    moved = rate * state["x"] + shared[index].mean(axis=0)
    return {"x": moved, "n": state["n"] + 1}, {"sum": moved.sum(), "n": state["n"]}


def fresh():
    return {"x": jnp.zeros((3, 3)), "n": jnp.zeros(3, jnp.int32)}


def indices(steps=4, seed=1):
    return np.random.default_rng(seed).integers(0, 20, (3, steps, 5)).astype(np.int32)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_against_a_recursion_in_numpy(plan):
    rows = indices()
    states, fetch = advance(step, plan)(fresh(), jnp.asarray(RATES), jnp.asarray(SHARED), rows)
    metrics = fetch()
    for member, rate in enumerate(RATES):
        x, sums = np.zeros(3), []
        for index in rows[member]:
            x = rate * x + SHARED[index].astype(np.float64).mean(axis=0)
            sums.append(x.sum())
        np.testing.assert_allclose(states["x"][member], x, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(metrics["sum"][member], sums, rtol=1e-5, atol=1e-5)
    assert metrics["n"].tolist() == [[0, 1, 2, 3]] * 3
    assert states["n"].tolist() == [4, 4, 4]


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_one_program_for_all_members_and_chunks(plan):
    traced = []

    def counted(*arguments):
        traced.append(None)
        return step(*arguments)

    forward = advance(counted, plan)
    states, _ = forward(fresh(), jnp.asarray(RATES), jnp.asarray(SHARED), indices())
    first = len(traced)
    forward(states, jnp.asarray(RATES[::-1].copy()), jnp.asarray(SHARED), indices(seed=2))
    # a scan or a map looks at its body more than once, but never again for other numbers
    assert len(traced) == first
    if plan.batching == "loop" and plan.steps == "python":
        assert first == 1


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_member_that_is_not_a_number_stays_alone(plan):
    sick = jnp.asarray(np.array([RATES[0], np.nan, RATES[2]], np.float32))
    forward = advance(step, plan)
    healthy, _ = forward(fresh(), jnp.asarray(RATES), jnp.asarray(SHARED), indices())
    states, fetch = forward(fresh(), sick, jnp.asarray(SHARED), indices())
    assert np.isnan(states["x"][1]).all() and np.isnan(fetch()["sum"][1]).all()
    np.testing.assert_array_equal(states["x"][np.array([0, 2])], healthy["x"][np.array([0, 2])])


def test_take_undoes_stack():
    members = [{"a": np.arange(3.0) + n, "n": np.int32(n)} for n in range(4)]
    stacked = stack(members)
    assert stacked["a"].shape == (4, 3) and stacked["n"].dtype == jnp.int32
    for place, member in enumerate(members):
        for name, value in jax.device_get(take(stacked, place)).items():
            np.testing.assert_array_equal(value, member[name])


@pytest.mark.parametrize(
    ("asked", "convolutions", "platform", "plan"),
    [
        ("auto", True, "cpu", Plan("loop", "python")),
        ("auto", False, "cpu", Plan("map", "scan")),
        ("auto", True, "gpu", Plan("loop", "scan")),
        ("auto", False, "tpu", Plan("vmap", "scan")),
        ("vmap", True, "cpu", Plan("vmap", "python")),
        ("loop", False, "cpu", Plan("loop", "scan")),
        ("map", True, "gpu", Plan("map", "scan")),
    ],
)
def test_what_is_chosen(asked, convolutions, platform, plan):
    assert choose(asked, convolutions=convolutions, platform=platform) == plan
