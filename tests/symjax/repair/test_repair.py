"""Corrections: the goals are met, what is fused is what was inserted, and identical networks stay as they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from symjax.matching import aligned, match, merge
from symjax.repair import (
    calibrate_biases,
    outputs,
    repair,
    repair_group,
    stages,
    statistics,
    streams,
    temperature,
    writers,
)
from symjax.tracing import Symmetries, symmetries

Case = tuple[Symmetries, dict, dict, list[jax.Array]]


def _row(v: jax.Array) -> jax.Array:
    return v[None, None]


def _blocks(v: dict, x: jax.Array, affine: tuple = (1.0, 0.0)) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A stream with a normalised block, and a plain one; ``affine`` corrects the second block's output."""
    seen = {"stem": x @ v["stem"] + _row(v["stem_bias"])}
    x = jax.nn.relu(seen["stem"])
    for name in ("first", "second"):
        b = v[name]
        h = x @ b["kernel"] + _row(b["bias"])
        if name == "first":
            seen["inside"] = h
            h = (h - _row(b["mean"])) * _row(jax.lax.rsqrt(b["var"] + 1e-3) * b["gamma"]) + _row(b["beta"])
        seen[name] = h
        seen[name, "join"] = jax.nn.relu(h) @ b["join"] + _row(b["join_bias"])
        x = jax.nn.relu(x + seen[name, "join"])
    x = affine[0] * x + affine[1]
    return jnp.mean(x, 1) @ v["out"], seen | {"stream": x}


def _drawn(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    plain = {"kernel": (5, 4), "bias": (4,), "join": (4, 5), "join_bias": (5,)}
    normalised = plain | dict.fromkeys(("mean", "var", "gamma", "beta"), (4,))
    shapes = {"stem": (3, 5), "stem_bias": (5,), "first": normalised, "second": plain, "out": (5, 2)}
    v = jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s), float), shapes, is_leaf=lambda s: type(s) is tuple)
    v["first"] |= {"var": jnp.abs(v["first"]["var"]) + 0.3, "gamma": jnp.abs(v["first"]["gamma"]) + 0.1}
    return v


@pytest.fixture(scope="module")
def case() -> Case:
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), _drawn(0))
    found = symmetries(lambda v, x: _blocks(v, x)[0], shapes, jax.ShapeDtypeStruct((1, 6, 3), float))
    x = jnp.asarray(np.random.default_rng(9).standard_normal((20, 6, 3)))
    return found, _drawn(1), _drawn(2), [x[:12], x[12:]]


def _moments(array: Any) -> tuple[np.ndarray, np.ndarray]:
    rows = np.asarray(array).reshape(-1, np.shape(array)[-1])
    return rows.mean(0), rows.std(0)


def _close(left: Any, right: Any, atol: float = 1e-10) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=0), left, right)


def test_exact_repair_meets_its_goals_at_every_tensor_before_a_nonlinearity(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, a, b, batches = case
    x, alpha = jnp.concatenate(batches), 0.25
    fixed = repair(found, merge(a, b, alpha), a, b, batches, alpha=alpha)
    assert not fixed.inserted
    assert len(fixed.goals) == 5
    seen, ends = _blocks(fixed.variables, x)[1], [_blocks(v, x)[1] for v in (a, b)]
    for key in ("stem", "first", "second", ("first", "join"), ("second", "join")):
        goals = [
            (1 - alpha) * left + alpha * right for left, right in zip(*(_moments(e[key]) for e in ends), strict=True)
        ]
        _close(_moments(seen[key]), tuple(goals))
    gains = {place.name: place.gains[0].path for place in writers(found) if place.normalisation}
    assert set(gains.values()) == {("first", "gamma")}
    # where nothing may be kept, every place is reached from the input again
    monkeypatch.setattr(stages, "_MOST_KEPT", 0)
    _close(repair(found, merge(a, b, alpha), a, b, batches, alpha=alpha).variables, fixed.variables, 1e-12)


def test_from_place_to_place_every_contraction_of_the_program_is_run_once(case: Case) -> None:
    program = case[0].model.program
    parts = stages.stages(program, [place.value for place in writers(case[0])])
    run = [eqn for part in parts for eqn in part.program.equations if eqn.name == "dot_general"]
    assert len(run) == len({id(eqn) for eqn in run}) == sum(eqn.name == "dot_general" for eqn in program.equations) - 1
    assert [len(part.before) for part in parts] == [0, 1, 2, 2, 1] and not parts[-1].after


def test_the_mean_of_three_networks_is_given_the_means_of_their_statistics(case: Case) -> None:
    found, a, b, batches = case
    x, three = jnp.concatenate(batches), [a, b, _drawn(3)]
    merged = jax.tree.map(lambda *leaves: sum(leaves) / 3, *three)
    seen = _blocks(repair_group(found, merged, three, batches).variables, x)[1]
    ends = [_blocks(v, x)[1] for v in three]
    for key in ("stem", "second", ("second", "join")):
        _close(_moments(seen[key]), tuple(np.mean([_moments(e[key]) for e in ends], 0)))
    _close(
        repair_group(found, merge(a, b), [a, b], batches).variables, repair(found, merge(a, b), a, b, batches).variables
    )
    with pytest.raises(ValueError, match="mode is 'closed', but must be one of 'exact', 'torch'"):
        repair_group(found, merged, three, batches, mode="closed")


@pytest.mark.slow
@pytest.mark.parametrize("correction", ["std", "mean"])
def test_half_a_correction_leaves_the_other_half(case: Case, correction: str) -> None:
    found, a, b, batches = case
    x, merged = jnp.concatenate(batches), merge(a, b)
    fixed = repair(found, merged, a, b, batches, correction=correction)
    (mean, std), (m, s) = (_moments(_blocks(v, x)[1]["stem"]) for v in (fixed.variables, merged))
    goals = [
        0.5 * (left + right) for left, right in zip(*(_moments(_blocks(v, x)[1]["stem"]) for v in (a, b)), strict=True)
    ]
    _close((mean, std), (m, goals[1]) if correction == "std" else (goals[0], s))


def test_what_is_fused_is_the_network_wrapped_in_normalisations() -> None:
    rng = np.random.default_rng(4)
    shapes = ((3, 6), (6, 5), (5, 2))

    def drawn() -> list:
        return [(jnp.asarray(rng.standard_normal(s)), jnp.asarray(rng.standard_normal(s[1]))) for s in shapes]

    def apply(v: list, x: jax.Array) -> jax.Array:
        for kernel, bias in v[:-1]:
            x = jax.nn.relu(x @ kernel + bias[None])
        return x @ v[-1][0] + v[-1][1][None]

    a, b, x = drawn(), drawn(), rng.standard_normal((40, 3))
    merged, new = merge(a, b), rng.standard_normal((7, 3))
    ends, seen, wrapped = [x, x], x, new
    by_hand = jax.tree.map(np.asarray, [merged[:-1], a[:-1], b[:-1]])
    for (kernel, bias), *layers in zip(*by_hand, strict=True):  # after each layer a normalisation
        ends = [end @ w + c for end, (w, c) in zip(ends, layers, strict=True)]
        mean, std = (np.mean([moment(end, 0) for end in ends], 0) for moment in (np.mean, np.std))
        before = seen @ kernel + bias
        seen, wrapped = (
            np.maximum(std * (h @ kernel + bias - before.mean(0)) / before.std(0) + mean, 0) for h in (seen, wrapped)
        )
        ends = [np.maximum(end, 0) for end in ends]
    fused = repair(symmetries(apply, a, x[:1]), merged, a, b, [x]).variables
    _close(apply(fused, new), wrapped @ np.asarray(merged[-1][0]) + np.asarray(merged[-1][1]), 1e-12)


@pytest.mark.slow
def test_identical_networks_and_the_ends_of_the_line_stay_as_they_are(case: Case) -> None:
    found, a, b, batches = case
    _close(repair(found, a, a, a, batches).variables, a, 1e-11)
    _close(repair(found, b, a, b, batches, alpha=1).variables, b, 1e-11)
    moved = repair(found, a, a, a, batches, mode="torch").variables
    assert not np.allclose(
        moved["stem"], a["stem"], rtol=0, atol=1e-6
    )  # unbiased variances and epsilon break the identity
    assert repair(found, a, a, b, batches, correction="none").variables is a
    with pytest.raises(ValueError, match="at 'stem_bias' are not finite"):
        repair(found, jax.tree.map(lambda leaf: leaf * jnp.nan, a), a, b, batches)


def test_a_reset_gives_normalisations_the_statistics_of_their_own_inputs(case: Case) -> None:
    found, a, b, batches = case
    x, merged = jnp.concatenate(batches), merge(a, b)
    reset = repair(found, merged, a, b, batches, correction="reset").variables
    mean, std = _moments(_blocks(merged, x)[1]["inside"])
    _close((reset["first"]["mean"], reset["first"]["var"]), (mean, std**2))
    _close(reset["first"]["gamma"], merged["first"]["gamma"], 0)


def test_the_mode_of_the_published_code_is_the_mean_over_batches_of_unbiased_variances(case: Case) -> None:
    found, a, b, batches = case
    merged = merge(a, b)

    def published(v: dict) -> tuple[np.ndarray, np.ndarray]:
        rows = [np.asarray(_blocks(v, x)[1]["stem"]).reshape(-1, 5) for x in batches]
        return np.mean([r.mean(0) for r in rows], 0), np.mean([r.var(0, ddof=1) for r in rows], 0)

    (m0, v0), (m1, v1), (m, v) = map(published, (a, b, merged))
    factor = 0.5 * (np.sqrt(v0) + np.sqrt(v1)) / np.sqrt(v + 1e-5)
    bias = 0.5 * (m0 + m1) + factor * (np.asarray(merged["stem_bias"]) - m)
    fixed = repair(found, merged, a, b, batches, mode="torch").variables
    _close((fixed["stem"], fixed["stem_bias"]), (factor * np.asarray(merged["stem"]), bias))


@pytest.mark.slow
def test_the_closed_form_is_exact_where_units_read_the_input_and_not_behind(case: Case) -> None:
    found, a, b, batches = case
    merged = merge(a, b, 0.3)
    closed, exact = (repair(found, merged, a, b, batches, mode=mode, alpha=0.3) for mode in ("closed", "exact"))
    for key in ("stem", "stem_bias"):
        _close(closed.variables[key], exact.variables[key])
    assert np.abs(closed.variables["first"]["gamma"] - exact.variables["first"]["gamma"]).max() > 1e-3
    with pytest.raises(ValueError, match="mode 'closed' predicts no"):
        repair(found, merged, a, b, batches, mode="closed", places="streams")


@pytest.mark.slow
def test_streams_are_corrected_behind_the_nonlinearity_and_run_by_the_same_program(case: Case) -> None:
    found, a, b, batches = case
    x, merged = jnp.concatenate(batches), merge(a, b)
    fixed = repair(found, merged, a, b, batches, places="streams")
    assert [place.name for place in streams(found)] == [place.name for place, _ in fixed.inserted]
    assert len(fixed.inserted) == 3  # before either block and behind the last, which a mean reads
    run = outputs(found, fixed, x)
    last = statistics(found, a, batches, streams(found)[-1:])[0]
    _close((last.mean, last.deviation), _moments(_blocks(a, x)[1]["stream"]))
    # the last one by hand: the program without it, corrected at the end
    before = fixed._replace(inserted=fixed.inserted[:-1])
    place, affine = fixed.inserted[-1]
    pooled = outputs(found, before._replace(variables={**fixed.variables, "out": jnp.eye(5)[:, :2]}), x)
    whole = {**fixed.variables, "out": jnp.eye(5)[:, :2]}
    _close(
        outputs(found, fixed._replace(variables=whole), x), pooled * affine.factor[None, :2] + affine.summand[None, :2]
    )
    assert run.shape == (20, 2)
    goal = fixed.goals[place.name]
    np.testing.assert_allclose(
        np.mean(outputs(found, fixed._replace(variables=whole), x), 0), goal.mean[:2], atol=1e-10
    )


def test_the_temperature_is_the_minimum_of_the_cross_entropy() -> None:
    rng = np.random.default_rng(3)
    logits, labels = 5 * rng.standard_normal((50, 4)), rng.integers(0, 4, 50)

    def loss(t: float) -> float:
        z = logits / t
        return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(50), labels]))

    best = temperature(logits, labels)
    assert abs(best.after - minimize_scalar(loss, bounds=(0.1, 1000), method="bounded").fun) < 1e-6
    assert best.before == pytest.approx(loss(1.0)) and best.after == pytest.approx(loss(best.temperature))
    with pytest.raises(ValueError, match="integers from 0 to 3"):
        temperature(logits, labels + 1)


def test_bad_input_is_refused_in_a_sentence(case: Case) -> None:
    found, a, b, batches = case
    with pytest.raises(ValueError, match="correction is 'all'"):
        repair(found, a, a, b, batches, correction="all")
    with pytest.raises(ValueError, match="batches holds nothing"):
        repair(found, a, a, b, [])
    plain = symmetries(
        lambda v, x: jax.nn.relu(x @ v["a"]) @ v["b"],
        v := {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 1))},
        jnp.ones((1, 2)),
    )
    with pytest.raises(ValueError, match="no normalisation with running statistics"):
        repair(plain, v, v, v, [jnp.ones((2, 2))], correction="reset")
    with pytest.raises(ValueError, match="no bias added to hidden units"):
        repair(plain, v, v, v, [jnp.ones((2, 2))])


def test_other_networks_of_the_same_shapes_are_matched_and_repaired_without_compiling(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    found, a, b, batches = case

    def compiled(run: Callable[[], Any]) -> int:
        caplog.clear()
        with jax.log_compiles():
            run()
        return sum("ompiling" in record.message for record in caplog.records)

    def pair(a: dict, b: dict, alpha: float) -> None:
        other = aligned(match(found, a, b, batches), b)
        for mode in ("exact", "torch"):
            repair(found, merge(a, other, alpha), a, other, batches, mode=mode, alpha=alpha)

    pair(a, b, 0.5)
    assert compiled(lambda: pair(b, a, 0.25)) == 0
    forgotten = found._replace(model=found.model._replace(functions={}))
    assert compiled(lambda: statistics(forgotten, a, batches, writers(found)[:1])) > 0


def test_means_alone_and_biases_alone_are_what_a_hand_computes() -> None:
    def apply(v: dict, x: jax.Array) -> jax.Array:
        for n in range(3):
            x = jnp.maximum(x @ v[f"kernel{n}"] + v[f"bias{n}"][None], 0.0)
        return x @ v["out"] + v["last"][None]

    def drawn(seed: int) -> dict:
        rng = np.random.default_rng(seed)
        v = {f"kernel{n}": rng.standard_normal((5, 5)) / np.sqrt(5) for n in range(3)}
        v |= {f"bias{n}": rng.standard_normal(5) - 1 for n in range(3)}
        return v | {"out": rng.standard_normal((5, 2)), "last": rng.standard_normal(2)}

    a, b, x = drawn(0), drawn(1), np.random.default_rng(2).standard_normal((40, 5))
    found, merged, alpha = symmetries(apply, a, jnp.asarray(x[:1])), merge(a, b, 0.25), 0.25
    calibrated = calibrate_biases(found, merged, a, b, alpha)
    for height, name in enumerate(("bias0", "bias1", "bias2", "last"), 1):
        _close(calibrated[name], 0.75**height * a[name] + 0.25**height * b[name], 1e-15)
    _close({n: calibrated[n] for n in ("kernel0", "out")}, {n: merged[n] for n in ("kernel0", "out")}, 0)
    means = repair(found, merged, a, b, [jnp.asarray(x)], correction="mean", alpha=alpha).variables
    ends, inside = [x, x], x
    for n in range(3):
        ends = [end @ v[f"kernel{n}"] + v[f"bias{n}"] for end, v in zip(ends, (a, b), strict=True)]
        inside = inside @ np.asarray(merged[f"kernel{n}"])
        wanted = 0.75 * ends[0].mean(0) + 0.25 * ends[1].mean(0) - inside.mean(0)
        _close(means[f"bias{n}"], wanted, 1e-12)
        ends, inside = [np.maximum(end, 0) for end in ends], np.maximum(inside + wanted, 0)
    _close(means["last"], merged["last"], 0)
    deviations = repair(found, merged, a, b, [jnp.asarray(x)], correction="std", alpha=alpha).variables
    inside = [np.maximum(x @ np.asarray(v["kernel0"]) + np.asarray(v["bias0"]), 0) for v in (deviations, a, b)]
    second = [
        h @ np.asarray(v["kernel1"]) + np.asarray(v["bias1"])
        for h, v in zip((inside[0], *inside), (deviations, merged, a, b), strict=True)
    ]
    _close(second[0].mean(0), second[1].mean(0))
    _close(second[0].std(0), 0.75 * second[2].std(0) + 0.25 * second[3].std(0))
