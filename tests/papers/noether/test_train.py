"""The train command from its configuration to its directory: what it leaves, how it stops, continues and diverges.

The network is VGG11 cut to two convolutions, which compiles in seconds and keeps every part; the whole one runs in
tests/reliability/test_signals_and_resume.py.
"""

import dataclasses
import importlib
import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common import cli, data
from papers.common.checkpoint import Checkpoints
from papers.common.errors import Divergence, UserError
from papers.common.finished import read_config
from papers.common.integrity import write_arrays
from papers.common.models import vgg
from papers.common.runs import load, read_metrics
from papers.common.training import session
from papers.noether.networks import run as running
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.presets import PRESETS
from papers.noether.norm_dynamics import publish
from papers.noether.train import PROG, entry

fitting = importlib.import_module("papers.common.training.fit")  # the package's own `fit` is the function

# 32 images in batches of 7: 5 steps an epoch, the last of 4 images; chunks of 2, 2 and 1 steps
SMALL = TrainConfig(
    width=1 / 16,
    limit=32,
    batch_size=7,
    epochs=2,
    record_every=2,
    checkpoint_epochs=1,
    drops=(1.0,),
    weight_decay=1e-2,
    learning_rate=0.03,
    initial_scale=1.0,
)
STEPS = 10


BUILD = running.build


@pytest.fixture(scope="module", autouse=True)
def short_network(tmp_path_factory):
    """Two convolutions; runs of one configuration share what was built, and one compilation where built anew."""
    plans = {}

    def build(config, dataset):
        key = dataclasses.replace(config, out=None, resume=False)
        if key not in plans:
            state, plan = BUILD(config, dataset)
            plans[key] = jax.tree.map(np.array, state), plan
        state, plan = plans[key]
        return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state), plan  # a step gives its state away

    cache = str(tmp_path_factory.mktemp("xla"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "CONVOLUTIONS", ((64, True), (128, True)))
        patch.setattr(running, "build", build)
        patch.setenv("JAX_COMPILATION_CACHE_DIR", cache)
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        names = (
            "compilation_cache_dir",
            "persistent_cache_min_compile_time_secs",
            "persistent_cache_min_entry_size_bytes",
        )
        before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
        for name, value in zip(before, (cache, 0.0, -1), strict=True):
            jax.config.update(name, value)
        yield
        for name, value in before.items():
            jax.config.update(name, value)


def run(config, out, finish=running.keep, **changes):
    return running.run(dataclasses.replace(config, out=out, **changes), f"train --out {out}", finish)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run never stopped."""
    return run(SMALL, tmp_path_factory.mktemp("whole") / "run", publish)


def last_state(config, directory):
    like = running.build(config, data.load("digits", limit=config.limit))[0]
    run = read_config(directory)["run"]
    with Checkpoints(directory / "checkpoints", run) as checkpoints:
        return checkpoints.restore(like)


def assert_same_run(directory, reference, config=SMALL):
    """Same bits in parameters, momentum, statistics, charges, key, step, history and metrics."""
    one, other = last_state(config, directory), last_state(config, reference)
    assert one.step == other.step == STEPS and int(one.tree.step) == STEPS
    assert jax.tree.structure(one.tree) == jax.tree.structure(other.tree)
    for (path, leaf), twin in zip(
        jax.tree_util.tree_flatten_with_path(one.tree)[0], jax.tree.leaves(other.tree), strict=True
    ):
        np.testing.assert_array_equal(leaf, twin, err_msg=jax.tree_util.keystr(path))
    with np.load(directory / "history.npz") as found, np.load(reference / "history.npz") as expected:
        assert found.files == expected.files
        for name in expected.files:
            assert found[name].dtype == expected[name].dtype, name
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert read_metrics(directory) == read_metrics(reference)


def stop_at(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a signal when the run reports a step, as a scheduler would."""

    class Signalling(session.Progress):
        def __call__(self, fetched):
            super().__call__(fetched)
            if fetched.step + len(fetched.metrics["loss"]) == step:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(session, "Progress", Signalling)


def test_a_run_leaves_everything_it_measured(whole):
    assert whole.finished
    names = {item.name for item in whole.directory.iterdir()}
    figures = {f"{name}.{kind}" for name in ("learning", "norms", "rates", "other_families") for kind in ("png", "npz")}
    assert names == figures | {
        "config.json", "metrics.jsonl", "history.npz", "claims.json", "summary.json", "finished.json", "checkpoints",
        "network.json", "network.npz",
    }  # fmt: skip
    config = json.loads((whole.directory / "config.json").read_text())
    assert config["config"]["weight_decay"] == 1e-2 and config["command"].startswith("train --out")
    assert {"versions", "commit", "device", "xla_flags"} <= set(config)
    records = read_metrics(whole.directory)
    assert [record["step"] for record in records] == [0, 2, 4, 5, 5, 7, 9, 10, 10]
    assert [record["epoch"] for record in records if "epoch" in record] == [0, 1, 2]
    assert all(0 <= record["test_top1"] <= record["test_top5"] <= 1 for record in records if "epoch" in record)
    for name in ("learning", "norms", "rates", "other_families"):
        assert (whole.directory / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_run_opens_in_one_line_as_the_network_that_was_evaluated(whole):
    network = load(whole.directory)
    test = data.load("digits", limit=SMALL.limit).test
    logits = np.asarray(network.apply(network.variables, np.float32(test.images / 16)), np.float64)
    loss = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), test.labels])
    assert network.config["weight_decay"] == 1e-2 and set(network.variables) == {"params", "batch_stats"}
    np.testing.assert_allclose(loss, network.arrays["test_loss"][-1], rtol=1e-5)


def test_the_history_and_the_summary_agree(whole):
    with np.load(whole.directory / "history.npz") as saved:
        history = {name: saved[name] for name in saved.files}
    assert history["train_loss"].shape == history["train_accuracy"].shape == (STEPS,)
    np.testing.assert_array_equal(history["step"], [2, 4, 5, 7, 9, 10])
    np.testing.assert_allclose(history["learning_rate"], 0.03 * np.array([1, 1, 1, 0.1, 0.1, 0.1]), rtol=1e-6)
    np.testing.assert_array_equal(history["test_step"], [0, 5, 10])
    filters = 4 + 8
    assert history["filter_measured"].shape == (6, filters)
    assert list(history["filter_layer"]) == ["conv1"] * 4 + ["conv2"] * 8
    assert list(history["unit_layer"]) == ["dense1"] * 64 + ["dense2"] * 64
    assert history["translation_measured"].shape == (6, 1 + 64)
    for name in ("filter", "unit", "translation"):
        error = history[f"{name}_worst"]
        assert (error < 1e-5).all() and (np.diff(error, axis=0) >= 0).all()
    final = np.asarray(last_state(SMALL, whole.directory).tree.params["conv2"]["kernel"], np.float64)
    np.testing.assert_allclose(history["filter_measured"][-1, 4:], (final**2).sum((0, 1, 2)), rtol=1e-5)
    summary = json.loads((whole.directory / "summary.json").read_text())
    assert summary["steps"] == STEPS and summary["test_top1"] == pytest.approx(history["test_top1"][-1])
    assert summary["largest_filter_prediction_error"] == pytest.approx(history["filter_worst"][-1].max())
    assert summary["seconds"] > 0 and summary["images_per_second"] > 0


def test_one_small_run_decides_the_laws_and_nothing_else(whole):
    claims = json.loads((whole.directory / "claims.json").read_text())
    *laws, equation = claims
    # filters, hidden units, class sums, at each of 10 steps
    assert [law["count"] for law in laws] == [(4 + 8) * STEPS, 2 * 64 * STEPS, (1 + 64) * STEPS]
    for law in laws:
        assert (law["kind"], law["verdict"], law["threshold"]) == ("law", "holds", "below 0.0001")
        assert 0 < law["measured"] < 1e-5
    assert (equation["kind"], equation["verdict"]) == ("finding", "undecided")
    assert all(claim["reduced"] and claim["seeds"] == 1 for claim in claims)
    assert all(claim["command"].startswith("train --out") for claim in claims)


@pytest.mark.parametrize(
    ("reported", "step", "number"),
    [
        pytest.param(2, 4, signal.SIGTERM, marks=pytest.mark.slow),
        (4, 5, signal.SIGINT),
        pytest.param(7, 9, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_stopped_and_resumed_is_the_same_run(whole, tmp_path, monkeypatch, capsys, reported, step, number):
    """Stopped in the first epoch, at its end, and in the last; a step is reported when the next chunk is under way."""
    with monkeypatch.context() as patch:
        stop_at(patch, reported, number)
        stopped = run(SMALL, tmp_path / "run")
    assert not stopped.finished and not (tmp_path / "run" / "summary.json").exists()
    told = capsys.readouterr().out
    assert f"stopped at step {step} of {STEPS}; continue with: train --out {tmp_path / 'run'} --resume\n" in told
    resumed = run(SMALL, tmp_path / "run", resume=True)
    assert resumed.finished
    assert f"continuing from the checkpoint of step {step}\n" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", whole.directory)


def test_a_damaged_newest_checkpoint_is_skipped(whole, tmp_path, capsys):
    directory = tmp_path / "run"
    shutil.copytree(whole.directory, directory)
    largest = max(
        (directory / "checkpoints" / "10").rglob("*"), key=lambda file: file.is_file() and file.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)
    assert run(SMALL, directory, resume=True).finished
    told = capsys.readouterr().out
    assert "checkpoint of step 10 is damaged and was set aside" in told
    assert "continuing from the checkpoint of step 5" in told
    assert_same_run(directory, whole.directory)


SLOW = pytest.mark.slow  # each kind of damage is fast in test_checkpoint.py; here the whole run goes on from it


@pytest.mark.parametrize(
    "harm", [pytest.param(harm, marks=SLOW) for harm in ("absent", "damaged", "of another run", "of another step")]
)
def test_a_damaged_history_goes_with_its_checkpoint(whole, tmp_path, capsys, harm):
    """History and checkpoint of one step belong together: damage to one takes the run to the step before."""
    directory = tmp_path / "run"
    shutil.copytree(whole.directory, directory)
    file = directory / "checkpoints" / "beside-10.npz"
    if harm == "absent":
        file.unlink()
    elif harm == "damaged":
        file.write_bytes(file.read_bytes()[:1000])
    elif harm == "of another step":
        shutil.copy(directory / "checkpoints" / "beside-5.npz", file)
    else:
        write_arrays(file, {"seconds": np.float64(1)}, run="another", step=10)
    (directory / "history.npz").unlink()  # written at the end, not read by a run that goes on
    assert run(SMALL, directory, resume=True).finished
    told = capsys.readouterr().out
    assert "checkpoint of step 10 is damaged and was set aside (beside-10.npz: " in told
    assert "continuing from the checkpoint of step 5" in told
    assert_same_run(directory, whole.directory)


@pytest.mark.slow  # a second run
def test_checkpoints_of_another_run_are_not_taken(whole, tmp_path, capsys):
    """With their manifests and all: the run begins again, to the same end."""
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 2)
        run(SMALL, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.copytree(whole.directory / "checkpoints", tmp_path / "run" / "checkpoints")
    assert run(SMALL, tmp_path / "run", resume=True).finished
    told = capsys.readouterr().out
    assert "checkpoint of step 10 is damaged and was set aside (its manifest is damaged: its run is " in told
    assert "the run begins again" in told
    assert_same_run(tmp_path / "run", whole.directory)


def test_metrics_damaged_on_the_way_are_put_back(whole, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(whole.directory, directory)
    (directory / "metrics.jsonl").write_bytes(b"null\n" + (directory / "metrics.jsonl").read_bytes())
    assert run(SMALL, directory, resume=True).finished
    assert_same_run(directory, whole.directory)


def test_killed_before_anything_was_saved_begins_again(whole, tmp_path, capsys):
    """What ``kill -9`` leaves: a configuration, a lock that nobody holds, some metrics."""
    shutil.copytree(whole.directory, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    for name in ("history.npz", "summary.json", "finished.json"):
        (tmp_path / "run" / name).unlink()
    assert run(SMALL, tmp_path / "run", resume=True).finished
    assert "the run begins again" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", whole.directory)


@pytest.mark.slow  # two runs
def test_seconds_survive_a_resume_and_leave_compilation_out(whole, tmp_path, monkeypatch):
    summary = json.loads((whole.directory / "summary.json").read_text())
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        stopped = run(SMALL, tmp_path / "run")
    resumed = run(SMALL, tmp_path / "run", resume=True)
    assert 0 < stopped.summary["seconds"] < resumed.summary["seconds"]
    for found in (summary, resumed.summary):
        assert found["images_per_second"] == pytest.approx(STEPS * 7 / found["seconds"])
    again = run(SMALL, tmp_path / "run", resume=True)  # finished: nothing is trained, nothing is lost
    assert again.summary["seconds"] == resumed.summary["seconds"]


def test_other_data_is_not_gone_on_with(whole, tmp_path, monkeypatch):
    shutil.copytree(whole.directory, tmp_path / "run")
    loaded = data.load("digits", limit=32)
    other = loaded._replace(train=loaded.train._replace(labels=loaded.train.labels[::-1].copy()))
    monkeypatch.setattr(TrainConfig, "load", lambda self: other)
    with pytest.raises(UserError, match="begun on other data"):
        run(SMALL, tmp_path / "run", resume=True)


@pytest.mark.slow  # a run and its repetition
def test_a_full_disk_at_a_checkpoint_is_one_sentence_and_loses_nothing(whole, tmp_path, monkeypatch, capsys):
    import orbax.checkpoint as ocp

    save, calls = ocp.CheckpointManager.save, []

    def full(self, step, **options):
        calls.append(step)
        if step == 10:
            (self.directory / "10.orbax-checkpoint-tmp-1").mkdir()
            raise ValueError("INTERNAL: Error writing local file: No space left on device [errno 28]")
        return save(self, step, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(SystemExit) as left:
            command(*small_options(tmp_path / "run"))
    told = capsys.readouterr().err
    assert left.value.code == 1 and told.count("\n") == 1
    assert "no room is left on the disk" in told and "--resume" in told
    assert calls == [5, 10]
    assert run(SMALL, tmp_path / "run", resume=True).finished
    assert "continuing from the checkpoint of step 5" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", whole.directory)


def test_a_changed_configuration_is_not_resumed(whole):
    before = {file: file.read_bytes() for file in whole.directory.iterdir() if file.is_file()}
    with pytest.raises(UserError) as refused:
        run(SMALL, whole.directory, resume=True, learning_rate=0.1, seed=3)
    sentence = str(refused.value)
    assert "learning_rate 0.03 -> 0.1" in sentence and "seed 0 -> 3" in sentence and "epochs" not in sentence
    assert {file: file.read_bytes() for file in whole.directory.iterdir() if file.is_file()} == before


def test_a_finished_run_resumed_has_nothing_to_train(whole, tmp_path):
    shutil.copytree(whole.directory, tmp_path / "run")
    assert run(SMALL, tmp_path / "run", resume=True, checkpoint_epochs=0).finished
    assert_same_run(tmp_path / "run", whole.directory)


@pytest.mark.slow  # another network to compile
def test_without_normalisation_every_hidden_channel_is_a_unit(tmp_path):
    outcome = run(SMALL, tmp_path / "run", publish, batch_norm=False, epochs=1)
    assert not any(name.startswith("filter") for name in outcome.arrays)
    assert sorted(set(outcome.arrays["unit_layer"])) == ["conv1", "conv2", "dense1", "dense2"]
    assert outcome.arrays["unit_worst"].max() < 1e-5 and outcome.arrays["translation_worst"].max() < 1e-5
    pictures = {item.name for item in outcome.directory.glob("*.png")}
    assert pictures == {"learning.png", "other_families.png"}
    assert len(json.loads((outcome.directory / "claims.json").read_text())) == 2


def test_the_gradients_length_is_recorded_at_every_step(whole):
    """What an observer returns beside the charges; the first from the loss itself."""
    assert whole.arrays["train_gradient_norm"].shape == (STEPS,)
    assert (whole.arrays["train_gradient_norm"] > 0).all()
    assert all(record["gradient_norm"] > 0 for record in read_metrics(whole.directory) if "loss" in record)


@pytest.mark.slow  # another program to compile
def test_adamw_is_measured_without_the_laws_that_it_breaks(tmp_path):
    outcome = run(SMALL, tmp_path / "run", publish, optimiser="adamw", learning_rate=1e-3)
    assert outcome.finished
    names = set(outcome.arrays)
    assert {"filter_measured", "filter_charge", "filter_along", "unit_square", "translation_measured"} <= names
    assert not any("predicted" in name or "worst" in name or "eq17" in name for name in names)
    claims = json.loads((outcome.directory / "claims.json").read_text())
    assert [(claim["kind"], claim["subject"], claim["verdict"]) for claim in claims] == [
        ("law", "control", "holds")
    ] * 2
    assert all("adamw" in claim["claim"] for claim in claims)


def exploding(monkeypatch, after):
    """Break the parameters right after one step, so that everything before it is a good run."""
    make = fitting._driver

    def driver(name, step):
        run = make(name, step)

        def broken(state, data, indices):
            metrics = []
            for index in indices:
                state, measured = run(state, data, index[None])
                metrics += measured
                if int(state.step) == after + 1:
                    state = state._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, state.params))
            return state, metrics

        return broken

    monkeypatch.setattr(fitting, "_driver", driver)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (6, "the loss became nan at step 7 "),
        (9, "the test loss became nan after step 9 "),
    ],
)
def test_divergence_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, after, words):
    """In the middle of an epoch, and by the last update of one, whose losses were all finite."""
    exploding(monkeypatch, after)
    with pytest.raises(Divergence) as caught:
        run(SMALL, tmp_path / "run")
    assert words in str(caught.value) and "last finite loss 2." in str(caught.value)
    kept = last_state(SMALL, tmp_path / "run")
    assert kept.step == 5 and kept.skipped == []
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept.tree))
    assert not (tmp_path / "run" / "summary.json").exists() and not (tmp_path / "run" / "lock").exists()


def command(*options):
    return cli.main(entry, TrainConfig, PROG, argv=[str(option) for option in options], presets=PRESETS)


def small_options(out, *more):
    return [
        "--width", 1 / 16, "--limit", 32, "--batch-size", 7, "--epochs", 2, "--record-every", 2,
        "--checkpoint-epochs", 1, "--drops", 1.0, "--weight-decay", 1e-2, "--learning-rate", 0.03, "--initial-scale", 1,
        "--out", out, *more,
    ]  # fmt: skip


def test_the_command_says_what_it_did(whole, tmp_path, capsys, monkeypatch):
    """And does the same again, built anew."""
    monkeypatch.setattr(running, "build", BUILD)
    assert command(*small_options(tmp_path / "run")) == 0
    told = capsys.readouterr()
    assert (
        f"run directory {tmp_path / 'run'}" in told.out and "VGG11 with BatchNorm, width 0.0625, on digits" in told.out
    )
    assert "test_top1: " in told.out and "largest_filter_prediction_error: " in told.out
    assert f"figures, arrays and claims are in {tmp_path / 'run'}" in told.out
    assert "holds  " in told.out and "numbers (1 seed)" in told.out
    assert told.out.splitlines()[-1].startswith("next, ") and "--filter-norm fixed" in told.out.splitlines()[-1]
    assert_same_run(tmp_path / "run", whole.directory)


def test_an_interrupted_command_exits_with_130(tmp_path, monkeypatch, capsys):
    stop_at(monkeypatch, 2, signal.SIGINT)
    with pytest.raises(SystemExit) as left:
        command(*small_options(tmp_path / "run"))
    told = capsys.readouterr()
    assert left.value.code == 130 and "continue with: python -m papers.noether.train" in told.out
    assert "Traceback" not in told.err and told.err == f"{PROG}: interrupted\n"


def test_a_diverging_command_exits_with_3(tmp_path, monkeypatch, capsys):
    exploding(monkeypatch, 6)
    with pytest.raises(SystemExit) as left:
        command(*small_options(tmp_path / "run"))
    told = capsys.readouterr()
    assert left.value.code == 3 and told.err.count("\n") == 1 and "Traceback" not in told.err
    assert told.err.startswith(f"{PROG}: the loss became nan at step 7 (last finite loss 2.")
    assert (tmp_path / "run" / "checkpoints" / "5").is_dir()


@pytest.mark.slow  # three runs
def test_the_same_words_three_times_make_three_runs(whole, tmp_path, monkeypatch):
    """Without --out, in one folder."""
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert run(SMALL, None).finished
    first, second, third = sorted(item for item in (tmp_path / "runs/noether/train").iterdir() if not item.is_symlink())
    for directory in (first, second, third):
        assert_same_run(directory, whole.directory)
    assert (tmp_path / "runs/noether/train/latest").resolve() == third


def test_resume_without_out_continues_the_newest_unfinished_run(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert not run(SMALL, None).finished
    directory = next(item for item in (tmp_path / "runs/noether/train").iterdir() if not item.is_symlink())
    told = capsys.readouterr().out
    assert f"--out {directory.relative_to(tmp_path)} --resume" in told
    assert run(SMALL, None, resume=True).finished
    assert_same_run(directory, whole.directory)
    with pytest.raises(UserError, match="holds no unfinished run to resume"):
        run(SMALL, None, resume=True)


@pytest.mark.parametrize("option", ["--seed", "--epochs", "--batch-size", "--record-every", "--limit"])
@pytest.mark.parametrize("value", [10**12, 10**30])
def test_numbers_without_bound_are_refused_before_anything_is_made(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as left:
        command("--out", tmp_path / "run", option, value)
    told = capsys.readouterr().err
    assert left.value.code == 2 and told.count("\n") == 1 and f"{option} is {value}, but must be" in told
    assert not (tmp_path / "run").exists()
