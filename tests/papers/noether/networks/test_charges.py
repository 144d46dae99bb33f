"""The charges of a network in training: measured as NumPy measures them, predicted by the laws, missed by a wrong law.

The network is VGG11 cut to two convolutions, which compiles in seconds; the laws know nothing of depth. One compiled
step serves all rules, because every number of the rule is traced.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common import data
from papers.common.models import VGG11, initialise, vgg
from papers.common.optimisers import OPTIMISERS
from papers.common.training import momentum_buffer, sgd, start, step_schedule, training_step
from papers.common.training.step import Update
from papers.noether.networks import charges
from papers.noether.networks.charges.families import vector
from symjax.symmetry import pairing
from symjax.watch import watch

STEPS, DROP, BATCH, EPSILON = 20, 10, 8, 1e-5


class Numbers(NamedTuple):
    """A learning rule; ``decay`` is what the optimiser does, ``told`` what the prediction is told."""

    learning_rate: float = 0.05
    momentum: float = 0.9
    decay: float = 1e-2
    told: float = 1e-2
    fixed: bool = False


class Step(NamedTuple):
    """One step, all NumPy: the update, the parameters after the constraint, the batch's statistics, the report."""

    before: dict
    gradient: dict
    buffer: dict
    free: dict
    after: dict
    statistics: dict
    report: dict


class Bench:
    """A network and its one compiled step."""

    def __init__(self, batch_norm, dtype):
        self.dtype = jnp.dtype(dtype)
        model = VGG11(10, 1 / 16, batch_norm, 0.0, self.dtype, EPSILON)
        self.variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, self.dtype), initialise(model, 0, (32, 32, 3)))
        self.found = charges.families(model, self.variables, (32, 32, 3), batch_norm)
        self.dataset = data.load("digits", limit=80)

        def step(numbers, state, batch):
            schedule = step_schedule(numbers.learning_rate, (DROP,))
            rule = charges.Rule(schedule, numbers.momentum, numbers.told, numbers.fixed if batch_norm else False)
            optimiser, seen = watched(self.found, rule, sgd(schedule, numbers.momentum, numbers.decay)), []

            def observe(monitor, update):
                seen.append(update)
                return charges.observe(self.found, rule, monitor, update)

            def prepare(key, raw):
                return data.normalise(raw, self.dataset, self.dtype)

            state, _ = training_step(model, optimiser, prepare, observe)(state, batch)
            return state, seen[0], charges.report(state.optimiser, state.monitor, rule)

        self.step = jax.jit(step)

    def run(self, numbers):
        rule = charges.Rule(step_schedule(0.1), 0.9, 0.1, False)
        monitor = charges.start(self.found, self.variables["params"], rule)
        state = start(self.variables, rule.watched(self.found), jax.random.PRNGKey(0), monitor)
        numbers = Numbers(*(jnp.asarray(number) for number in numbers))
        images, labels = self.dataset.train
        history = []
        for index in range(STEPS):
            chosen = np.arange(index * BATCH, (index + 1) * BATCH) % len(labels)
            state, update, report = self.step(numbers, state, (images[chosen], labels[chosen]))
            kept = (update.before, update.gradient, momentum_buffer(update.optimiser.inner), update.after, state.params)
            history.append(Step(*jax.device_get((*kept, state.batch_stats, report))))
        return history


def watched(found, rule, optimiser):
    """An optimiser under watch, whose law may be told another rule."""
    return watch(optimiser, found.symmetry, rule.law(found), found.form, between="nothing")


@pytest.fixture(scope="module", autouse=True)
def short_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "CONVOLUTIONS", ((64, True), (128, True)))
        yield


RULES = {
    "momentum": Numbers(),
    "no momentum": Numbers(momentum=0.0),
    "fixed": Numbers(fixed=True),
    "fixed, no momentum": Numbers(momentum=0.0, fixed=True),
}


@pytest.fixture(scope="module")
def normalised():
    """Runs with BatchNorm in float32, and one whose prediction is told a wrong decay."""
    bench = Bench(True, "float32")
    wrong = {"wrong": Numbers(decay=0.0), "wrong, fixed": Numbers(decay=0.0, told=0.05, fixed=True)}
    return {name: bench.run(numbers) for name, numbers in (RULES | wrong).items()}


@pytest.fixture(scope="module")
def double():
    """Two runs with BatchNorm in float64."""
    with jax.enable_x64(True):
        bench = Bench(True, "float64")
        return {name: bench.run(RULES[name]) for name in ("momentum", "fixed")}


@pytest.fixture(scope="module")
def plain():
    """Runs without BatchNorm."""
    bench = Bench(False, "float32")
    return {name: bench.run(RULES[name]) for name in ("momentum", "no momentum")}


def filters(one, other):
    """Inner product of each filter of one parameter tree with that of another, float64 (filters,)."""
    names = ("conv1", "conv2")
    kernels = [(np.float64(one[name]["kernel"]), np.float64(other[name]["kernel"])) for name in names]
    return np.concatenate([(a * b).sum((0, 1, 2)) for a, b in kernels])


def squares(layer, axis):
    kernel = np.float64(layer["kernel"])
    return (kernel**2).sum(tuple(i for i in range(kernel.ndim) if i != axis % kernel.ndim))


def units(params, names):
    """Squares of every unit's writers minus those of its readers, and their sum; names end with the last reader."""
    difference, total = [], []
    for name, reader in itertools.pairwise(names):
        writes = squares(params[name], -1) + np.float64(params[name]["bias"]) ** 2
        reads = squares(params[reader], -2)
        reads = reads.reshape(-1, len(writes)).sum(0)  # a flattened map's rows: height, width, channel
        difference.append(writes - reads)
        total.append(writes + reads)
    return np.concatenate(difference), np.concatenate(total)


def classifier(params):
    layer = params["dense3"]
    return np.concatenate([[np.float64(layer["bias"]).sum()], np.float64(layer["kernel"]).sum(1)])


def check_filters(history, numbers, tolerance):
    for index, step in enumerate(history):
        eta = numbers.learning_rate * (0.1 if index >= DROP else 1)
        report = step.report
        assert float(report["learning_rate"]) == pytest.approx(eta, rel=1e-6)
        measured = filters(step.after, step.after)
        np.testing.assert_allclose(report["filter_measured"], measured, rtol=tolerance)
        np.testing.assert_allclose(report["filter_predicted"], measured, rtol=10 * tolerance)
        mass = eta * (1 + numbers.momentum) / 2
        q, v = filters(step.before, step.before), filters(step.buffer, step.buffer)
        scale = mass * np.sqrt(q * v)
        charge = -mass * filters(step.before, step.buffer)
        np.testing.assert_allclose(report["filter_charge"] / scale, charge / scale, rtol=0, atol=10 * tolerance)
        np.testing.assert_allclose(
            report["filter_charge_predicted"] / scale, charge / scale, rtol=0, atol=100 * tolerance
        )
        gradient = filters(step.gradient, step.gradient)
        residual = filters(step.before, step.gradient) / np.sqrt(q * gradient)
        np.testing.assert_allclose(report["filter_residual"], residual, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("name", RULES)
def test_filters_are_measured_and_predicted(normalised, name):
    check_filters(normalised[name], RULES[name], 1e-6)
    assert normalised[name][-1].report["filter_worst"].max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["momentum", "fixed"])
def test_filters_in_double_precision(double, name):
    history = double[name]
    assert history[-1].report["filter_worst"].dtype == np.float64
    check_filters(history, RULES[name], 1e-13)
    for family in ("filter", "unit", "translation"):
        assert history[-1].report[f"{family}_worst"].max() < 1e-11
    if name == "fixed":
        np.testing.assert_allclose(history[-1].report["filter_measured"], filters(*[history[0].before] * 2), rtol=1e-14)


def test_the_worst_error_is_the_largest_so_far(normalised):
    errors = np.array([step.report["filter_worst"] for step in normalised["momentum"]])
    assert (np.diff(errors, axis=0) >= 0).all() and (errors[-1] > 0).any()
    own = [
        np.abs(step.report["filter_predicted"] / step.report["filter_measured"] - 1) for step in normalised["momentum"]
    ]
    np.testing.assert_allclose(errors, np.maximum.accumulate(own), rtol=0, atol=5e-7)


@pytest.mark.parametrize("name", ["fixed", "fixed, no momentum"])
def test_fixed_norms_stay(normalised, name):
    first = filters(*[normalised[name][0].before] * 2)
    for step in normalised[name]:
        np.testing.assert_allclose(np.sqrt(filters(step.after, step.after) / first), 1, rtol=0, atol=5e-7)
        for layer, kernel in ((layer, step.free[layer]["kernel"]) for layer in ("conv1", "conv2")):
            turned = step.after[layer]["kernel"] / kernel  # only lengths change, and nothing but the kernels
            np.testing.assert_allclose(turned, turned[:1, :1, :1] * np.ones_like(turned), rtol=1e-5)
            np.testing.assert_array_equal(step.after[layer]["bias"], step.free[layer]["bias"])
        for layer in ("norm1", "norm2", "dense1", "dense2", "dense3"):
            jax.tree.map(np.testing.assert_array_equal, step.after[layer], step.free[layer])
    moved = filters(normalised[name][-1].free, normalised[name][-1].free) / first
    assert np.abs(moved - 1).max() > 1e-6  # the constraint had something to do


def test_free_norms_move(normalised):
    first = filters(*[normalised["momentum"][0].before] * 2)
    last = filters(*[normalised["momentum"][-1].after] * 2)
    assert np.abs(last / first - 1).max() > 1e-3


@pytest.mark.parametrize("name", RULES)
def test_angles_against_the_inverse_cosine(normalised, name):
    for step in normalised[name]:
        lengths = np.sqrt(filters(step.before, step.before) * filters(step.free, step.free))
        angle = np.arccos(np.clip(filters(step.before, step.free) / lengths, -1, 1))
        np.testing.assert_allclose(step.report["filter_angle"], angle, rtol=1e-3, atol=2e-6)
    assert angle.max() > 1e-4


def test_the_residual_is_the_epsilon_of_the_normalisation(double):
    """<q, g> = eps / (var + eps) gamma dL/dgamma, with the batch's variance from the first running average."""
    step = double["momentum"][0]
    expected = []
    for layer in ("norm1", "norm2"):
        variance = (step.statistics[layer]["var"] - 0.9) / 0.1
        expected.append(EPSILON / (variance + EPSILON) * step.before[layer]["scale"] * step.gradient[layer]["scale"])
    size = np.sqrt(filters(step.before, step.before) * filters(step.gradient, step.gradient))
    expected = np.concatenate(expected) / size
    np.testing.assert_allclose(step.report["filter_residual"], expected, rtol=1e-7, atol=1e-12)
    assert np.abs(expected).max() > 1e-9


def test_eq17_starts_at_the_norm_and_stays_near(normalised):
    """One step from rest both overlays are the law up to the order of the step's square."""
    first = normalised["momentum"][0]
    initial = filters(first.before, first.before)
    for name in ("filter_eq17", "filter_eq17_own_square"):
        np.testing.assert_allclose(first.report[name], initial, rtol=0.02)
        assert (first.report[name] != np.float32(initial)).any()


def test_a_wrong_rule_is_missed(normalised):
    """The same update told as one with decay: what would be decoupled or forgotten decay shows."""
    assert normalised["wrong"][-1].report["filter_worst"].max() > 1e-3
    assert normalised["wrong"][-1].report["unit_worst"].max() > 1e-3
    assert normalised["wrong"][-1].report["translation_worst"].max() > 1e-3
    assert normalised["wrong, fixed"][-1].report["filter_worst"].max() > 1e-3


@pytest.mark.parametrize("name", ["momentum", "no momentum"])
@pytest.mark.parametrize("network", ["normalised", "plain"])
def test_units_and_classifier(network, name, request):
    history = request.getfixturevalue(network)[name]
    names = ("dense1", "dense2", "dense3")
    if network == "plain":
        names = ("conv1", "conv2", *names)
        assert not any(key.startswith("filter") for key in history[0].report)
    _, first = units(history[0].before, names)
    largest = np.abs(classifier(history[0].before)).max()
    for step in history:
        measured, _ = units(step.after, names)
        np.testing.assert_allclose(step.report["unit_size"], first, rtol=1e-5)
        np.testing.assert_allclose(step.report["unit_measured"] / first, measured / first, rtol=0, atol=1e-6)
        np.testing.assert_allclose(step.report["unit_predicted"] / first, measured / first, rtol=0, atol=1e-5)
        sums = classifier(step.after)
        np.testing.assert_allclose(step.report["translation_measured"], sums, rtol=0, atol=1e-6 * largest)
        np.testing.assert_allclose(step.report["translation_predicted"], sums, rtol=0, atol=1e-5 * largest)
    assert np.abs(measured / first - units(history[0].before, names)[0] / first).max() > 1e-5
    assert history[-1].report["unit_worst"].max() < 1e-5 and history[-1].report["translation_worst"].max() < 1e-5


def test_names_of_layers():
    model = VGG11(10, 1 / 16)
    named = charges.layer_names(charges.families(model, initialise(model, 0, (32, 32, 3)), (32, 32, 3), gains=True))
    assert list(named["filter_layer"]) == ["conv1"] * 4 + ["conv2"] * 8
    assert list(named["unit_layer"]) == ["dense1"] * 64 + ["dense2"] * 64
    assert len(named["gain_layer"]) == 4 + 8


def test_observing_is_a_map_of_rules(normalised):
    """A row of rules under vmap gives what each gives alone."""
    bench = Bench(True, "float32")
    step = normalised["momentum"][0]

    def observe(eta, momentum, fixed):
        rule = charges.Rule(step_schedule(eta), momentum, 0.0, fixed)
        optimiser = rule.watched(bench.found)
        updates, state = optimiser.update(step.gradient, optimiser.init(step.before), step.before)
        after = jax.tree.map(jnp.add, step.before, updates)
        update = Update(jnp.int32(0), step.before, step.gradient, state, after)
        moved, params, _ = charges.observe(bench.found, rule, charges.start(bench.found, step.before, rule), update)
        predicted = 2 * vector(state.charges.predicted["filter"])
        return moved.filters.value, predicted, vector(pairing(bench.found.filters, params, params))

    rules = (jnp.array([0.1, 0.2, 0.1]), jnp.array([0.0, 0.5, 0.9]), jnp.array([False, False, True]))
    together = jax.jit(jax.vmap(observe))(*rules)
    gradient, first = filters(step.gradient, step.gradient), filters(step.before, step.before)
    inner = filters(step.before, step.gradient)
    for row, (eta, _, fixed) in enumerate(zip(*rules, strict=True)):
        free = first - 2 * float(eta) * inner + float(eta) ** 2 * gradient  # the first update knows no momentum
        np.testing.assert_allclose(together[1][row], free, rtol=1e-6)
        np.testing.assert_allclose(together[2][row], first if fixed else free, rtol=2e-6)
        np.testing.assert_allclose(together[0][row], together[2][row], rtol=1e-6)


@pytest.fixture(scope="module")
def adamw():
    """A few steps of AdamW in float64: the updates, and the monitor after each."""
    with jax.enable_x64(True):
        bench = Bench(True, "float64")
        rule = charges.Rule(step_schedule(1e-3), 0.9, 1e-2, False, OPTIMISERS["adamw"])
        seen = []

        def observe(monitor, update):
            seen.append(update)
            return charges.observe(bench.found, rule, monitor, update)

        model = VGG11(10, 1 / 16, True, 0.0, bench.dtype, EPSILON)
        normalise = lambda key, raw: data.normalise(raw, bench.dataset, bench.dtype)  # noqa: E731

        def step(state, batch):
            state, metrics = training_step(model, rule.watched(bench.found), normalise, observe)(state, batch)
            return state, seen.pop(), charges.report(state.optimiser, state.monitor, rule), metrics

        step = jax.jit(step)
        monitor = charges.start(bench.found, bench.variables["params"], rule)
        state = start(bench.variables, rule.watched(bench.found), jax.random.PRNGKey(0), monitor)
        history = []
        for index in range(3):
            rows = np.arange(index * BATCH, (index + 1) * BATCH)
            state, update, report, metrics = step(
                state, (bench.dataset.train.images[rows], bench.dataset.train.labels[rows])
            )
            history.append(jax.device_get((update._replace(optimiser=()), report, metrics)))
        assert state.monitor.worst is None and state.optimiser.laws == ()
        return history


@pytest.mark.slow
def test_without_laws_every_change_is_accounted_for(adamw):
    along, square = 0.0, 0.0
    for update, report, metrics in adamw:
        step = jax.tree.map(lambda a, b: np.float64(a) - np.float64(b), update.after, update.before)
        along, square = along + 2 * filters(update.before, step), square + filters(step, step)
        np.testing.assert_allclose(report["filter_along"], along, rtol=1e-9)
        np.testing.assert_allclose(report["filter_square"], square, rtol=1e-9)
        np.testing.assert_allclose(report["filter_charge"], 0.95 * filters(update.before, step), rtol=1e-9)
        lengths = sum(np.sum(np.square(np.float64(leaf))) for leaf in jax.tree.leaves(update.gradient))
        assert float(metrics["gradient_norm"]) == pytest.approx(np.sqrt(lengths), rel=1e-12)
    first, (last, report, _) = filters(*[adamw[0][0].before] * 2), adamw[-1]
    np.testing.assert_allclose(report["filter_measured"], first + along + square, rtol=1e-12)
    np.testing.assert_allclose(report["filter_measured"], filters(last.after, last.after), rtol=1e-13)
    assert report["filter_unbalanced"].max() < 1e-12
    # plain descent would leave the first term to decay alone: here it is as large as the second
    assert np.abs(along).max() > 0.1 * square.max()
    assert "filter_predicted" not in report and "filter_worst" not in report


def test_only_the_rule_with_laws_has_their_errors(normalised):
    bench = Bench(True, "float32")
    params = normalised["momentum"][0].before
    rules = (charges.Rule(step_schedule(0.1), 0.9, 0.0, False, OPTIMISERS[name]) for name in ("sgd", "adamw"))
    with_laws, without = (charges.start(bench.found, params, rule) for rule in rules)
    assert set(with_laws.worst) == {"filter", "unit", "translation"} and with_laws.filters.own is not None
    assert without.worst is None and without.filters.own is None
