"""Sweeps: every member as NumPy trains it, the same by every batching, apart from diverged ones, resumable."""

import dataclasses
import functools
import itertools
import json

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from papers.common import cli, data
from papers.common.batching import Plan, advance
from papers.common.errors import UserError
from papers.common.models import MLP, initialise
from papers.common.training.fit import epoch_order
from papers.noether import sweep
from papers.noether.sweeps import measure as sweeping
from papers.noether.sweeps.config import Member, SweepConfig
from papers.noether.sweeps.member import begin_all

HUGE = 1e38
CONFIG = SweepConfig(
    model="mlp",
    hidden=(8,),
    limit=70,
    batch_size=32,
    epochs=2,
    drops=(1.0,),
    record_every=2,
    checkpoint_epochs=0,
    initial_scales=(1.0, 0.5),
    learning_rates=(0.02, HUGE),
    momenta=(0.0, 0.9),
    weight_decays=(1e-2,),
    seeds=(0, 3),
    batching="vmap",
)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Share compiled programs between the sweeps of this file: their members differ in traced numbers only."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path_factory.mktemp("xla")), 0), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """``swept(batching) -> arrays``: the same sweep, each batching run once."""

    @functools.cache
    def run(batching):
        out = tmp_path_factory.mktemp(batching) / "run"
        config = dataclasses.replace(CONFIG, batching=batching, out=out)
        outcome = sweeping.run(config, "command")
        assert outcome.finished
        with np.load(out / "sweep.npz") as stored:
            arrays = dict(stored)
        assert arrays.keys() == outcome.arrays.keys()
        return arrays

    return run


def train_by_hand(member, dataset, config):
    """Train a ReLU network of one hidden layer in float64; losses and squared norms by step, final parameters."""
    params = initialise(MLP((*config.hidden, 10)), member.seed, dataset.train.images.shape[1:])["params"]
    q = [params[layer][leaf].astype(np.float64) for layer in ("dense1", "dense2") for leaf in ("kernel", "bias")]
    q = [member.initial_scale * part if part.ndim == 2 else part for part in q]
    v = [np.zeros_like(part) for part in q]
    x = (dataset.train.images / dataset.scale - np.array(dataset.mean)) / np.array(dataset.std)
    x, y = x.reshape(len(x), -1), np.eye(10)[dataset.train.labels]
    losses, norms = [], []
    for epoch in range(config.epochs):
        order = epoch_order(member.seed, epoch, len(x))
        rate = member.learning_rate * (0.1 if epoch >= 1 else 1)
        for first in range(0, len(x), config.batch_size):
            rows = order[first : first + config.batch_size]
            hidden = np.maximum(x[rows] @ q[0] + q[1], 0)
            logits = hidden @ q[2] + q[3]
            logits -= logits.max(axis=1, keepdims=True)
            log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            losses.append(-(y[rows] * log_p).sum(axis=1).mean())
            slope = (np.exp(log_p) - y[rows]) / len(rows)
            back = (slope @ q[2].T) * (hidden > 0)
            gradient = [x[rows].T @ back, back.sum(0), hidden.T @ slope, slope.sum(0)]
            v = [member.momentum * a + g + member.weight_decay * b for a, g, b in zip(v, gradient, q, strict=True)]
            q = [b - rate * a for a, b in zip(v, q, strict=True)]
            norms.append([(q[0] ** 2).sum(), (q[2] ** 2).sum()])
    return np.array(losses), np.array(norms), q


@pytest.mark.slow
def test_every_member_is_the_one_trained_by_hand(swept):
    arrays, dataset = swept("vmap"), data.load("digits", limit=CONFIG.limit)
    members = CONFIG.members()
    assert len(members) == 16
    for place, member in enumerate(members):
        assert all(arrays[name][place] == value for name, value in member._asdict().items())
        if member.learning_rate == HUGE:
            continue
        losses, norms, q = train_by_hand(member, dataset, CONFIG)
        # three steps an epoch, the last on a partial batch: records after 2 full ones, and after that one
        by_record = [losses[:2].mean(), losses[2], losses[3:5].mean(), losses[5]]
        np.testing.assert_allclose(arrays["train_loss"][:, place], by_record, rtol=2e-5)
        np.testing.assert_allclose(arrays["squared_norm"][:, place], norms[[1, 2, 4, 5]], rtol=1e-5)
        x = (dataset.test.images / dataset.scale - np.array(dataset.mean)) / np.array(dataset.std)
        logits = np.maximum(x.reshape(len(x), -1) @ q[0] + q[1], 0) @ q[2] + q[3]
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        own = log_p[np.arange(len(x)), dataset.test.labels]
        np.testing.assert_allclose(arrays["test_loss"][place], -own.mean(), rtol=2e-5)
        rank = (log_p > own[:, None]).sum(axis=1)
        np.testing.assert_allclose(arrays["test_top1"][place], (rank < 1).mean(), atol=1e-6)
        np.testing.assert_allclose(arrays["test_top5"][place], (rank < 5).mean(), atol=1e-6)
    assert arrays["step"].tolist() == [2, 3, 5, 6]
    assert arrays["layer"].tolist() == ["dense1", "dense2"]


@pytest.mark.parametrize("batching", [pytest.param("map", marks=pytest.mark.slow), "loop"])
def test_every_batching_gives_the_same(swept, batching):
    expected, found = swept("vmap"), swept(batching)
    alive = ~expected["diverged"]
    assert found["diverged"].tolist() == expected["diverged"].tolist()
    for name in ("train_loss", "train_accuracy", "squared_norm"):
        np.testing.assert_allclose(found[name][:, alive], expected[name][:, alive], rtol=1e-5, atol=1e-7)
    for name in ("test_loss", "test_top1"):
        np.testing.assert_allclose(found[name][alive], expected[name][alive], rtol=1e-5)


def test_exact_laws_hold_for_every_member_that_lives(swept):
    arrays = swept("vmap")
    alive = ~arrays["diverged"]
    assert "largest_filter_error" not in arrays
    for family in ("unit", "translation"):
        assert 0 < arrays[f"largest_{family}_error"][alive].max() < 1e-5


def test_a_diverged_member_is_marked_and_leaves_the_others_alone(swept, tmp_path):
    arrays = swept("vmap")
    huge = arrays["learning_rate"] == HUGE
    assert arrays["diverged"].tolist() == huge.tolist()
    assert (arrays["diverged_step"][~huge] == -1).all()
    # the first loss is of the initial parameters, the second of those moved by the first step
    assert (arrays["diverged_step"][huge] == 1).all()
    for name in ("test_loss", "test_top1", "test_top5", "largest_unit_error"):
        assert np.isnan(arrays[name][huge]).all() and np.isfinite(arrays[name][~huge]).all()
    sane = dataclasses.replace(CONFIG, learning_rates=(0.02, 0.01), out=tmp_path / "run")
    other = sweeping.run(sane, "command").arrays
    assert not other["diverged"].any()
    for name in ("train_loss", "squared_norm"):
        np.testing.assert_array_equal(arrays[name][:, ~huge], other[name][:, ~huge])


class SignalAfter:
    """In the place of ``Interrupt``: a signal that comes after the first few looks."""

    looks = 0

    def __init__(self, looks):
        self.looks = looks

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    @property
    def requested(self):
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize("looks", [0, 4], ids=["inside the first epoch", "in the second"])
def test_resume_gives_the_same_bits(swept, tmp_path, monkeypatch, capsys, looks):
    config = dataclasses.replace(CONFIG, out=tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(sweeping, "Interrupt", lambda: SignalAfter(looks))
        stopped = sweeping.run(config, "the-command")
    assert not stopped.finished and not (tmp_path / "run" / "sweep.npz").exists()
    assert "continue with: the-command --resume" in capsys.readouterr().out
    resumed = sweeping.run(dataclasses.replace(config, resume=True), "the-command")
    assert resumed.finished
    for name, value in swept("vmap").items():
        np.testing.assert_array_equal(resumed.arrays[name], value, err_msg=name)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 3, 5, 6]


def test_command_writes_one_npz_and_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("papers.common.compilation.use_compilation_cache", lambda folder: None)
    argv = (
        f"--model mlp --hidden --limit 40 --batch-size 40 --epochs 1 --learning-rates 0.01 0.1 --out {tmp_path / 'run'}"
    )
    assert cli.main(sweep.entry, SweepConfig, sweep.PROG, argv=argv.split()) == 0
    assert (tmp_path / "run" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "run" / "sweep.npz") as arrays:
        assert arrays["train_loss"].shape == (1, 6)
        assert arrays["squared_norm"].shape == (1, 6, 1)
    printed = capsys.readouterr().out
    assert "6 members, batching map, steps by scan" in printed and "0 of 3" in printed
    claim = json.loads((tmp_path / "run" / "claims.json").read_text())[-1]
    assert "translation law" in claim["claim"] and claim["seeds"] == 3 and claim["verdict"] == "holds"


def test_a_sweep_whose_members_all_diverge_says_so_and_keeps_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("papers.common.compilation.use_compilation_cache", lambda folder: None)
    argv = "--model mlp --hidden --limit 40 --batch-size 20 --epochs 2 --learning-rates 1e38 --seeds 0"
    with pytest.raises(SystemExit) as stop:
        cli.main(sweep.entry, SweepConfig, sweep.PROG, argv=[*argv.split(), "--out", str(tmp_path / "run")])
    assert stop.value.code == 3 and "left the finite numbers" in capsys.readouterr().err
    with np.load(tmp_path / "run" / "sweep.npz") as arrays:
        assert arrays["diverged"].all()
    assert not (tmp_path / "run" / "claims.json").exists()


@pytest.mark.slow
def test_vgg_members_agree_between_vmap_and_loop_and_fixed_norms_stay():
    config = SweepConfig(
        width=1 / 16,
        limit=32,
        batch_size=16,
        epochs=1,
        learning_rates=(0.05,),
        weight_decays=(0.1,),
        seeds=(1,),
        dropout=0.0,
    )
    problem = sweeping.build(config, data.load("digits", limit=config.limit))
    assert [member.filter_norm for member in problem.members] == ["free", "fixed"]
    assert problem.plan == Plan("loop", "python")
    order = epoch_order(1, 0, 32).reshape(1, 2, 16).repeat(2, axis=0)
    kernels = [layer for layer in problem.problem.layers if layer.startswith("conv")]

    def squared_norms(states):  # in double precision: a float32 sum of 9,216 squares is off by 4e-6
        found = [np.asarray(states.params[layer]["kernel"], np.float64) for layer in kernels]
        return np.array([[np.square(member).sum() for member in layer] for layer in found]).T

    read = jax.jit(jax.vmap(problem.problem.read))
    found = {}
    for batching in ("loop", "vmap"):
        states = begin_all(problem.problem, config, problem.members, problem.hypers)
        before = squared_norms(states)
        forward = advance(problem.problem.step, Plan(batching, "python"))
        states, fetch = forward(states, problem.hypers, problem.train, order)
        found[batching] = (np.asarray(read(states)), fetch()["loss"], jax.device_get(problem.problem.worst(states)))
    for by_loop, by_vmap in zip(found["loop"][:2], found["vmap"][:2], strict=True):
        np.testing.assert_allclose(by_vmap, by_loop, rtol=1e-5)
    free, fixed = np.abs(squared_norms(states) / before - 1)
    assert fixed.max() < 1e-6 < 1e-3 < free.min()
    for family, error in found["vmap"][2].items():
        assert error < 1e-5, family


def test_members_are_the_product_of_the_axes():
    config = SweepConfig(initial_scales=(1, 10), momenta=(0, 0.9), filter_norms=("fixed",), seeds=(5, 4))
    expected = itertools.product((1, 10), (0.003, 0.03), (0, 0.9), (1e-4,), ("fixed",), (5, 4))
    assert config.members() == tuple(Member(*point) for point in expected)
    assert SweepConfig().norm_rules == ("free", "fixed")
    assert SweepConfig(model="mlp").norm_rules == SweepConfig(batch_norm=False).norm_rules == ("free",)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ("--model mlp --filter-norms free fixed", ["--filter-norms is free fixed", "free alone for an mlp"]),
        ("--no-batch-norm --filter-norms fixed", ["--filter-norms is fixed", "VGG11 without BatchNorm"]),
        ("--momenta 0.5 1", ["--momenta is 1.0", "at least 0 and below 1"]),
        ("--learning-rates", ["--learning-rates is empty", "at least one value"]),
        ("--seeds 1 1", ["--seeds is 1 1", "each once"]),
        ("--seeds -1", ["--seeds is -1", "at least 0"]),
        ("--hidden 4 0", ["--hidden is 4 0", "at least 1"]),
        ("--batching both", ["--batching is both", "one of auto, vmap, map, loop"]),
        ("--width 9", ["--width is 9.0", "at most 4"]),
        ("--data cifar10 --limit 1000000000000", ["--limit is 1000000000000", "from 1 to 1000000000"]),
    ],
)
def test_impossible_sweeps_are_one_sentence(argv, parts, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(lambda config: pytest.fail("it ran"), SweepConfig, sweep.PROG, argv=argv.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert all(part in error for part in parts), error


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    config = dataclasses.replace(CONFIG, limit=70, batch_size=71, out=tmp_path / "sweep")
    with pytest.raises(UserError, match="--batch-size is 71, but must be at most 70"):
        sweeping.run(config, "sweep")
    assert not config.out.exists()
