"""Panels: their runs, what is refused, and claims and figures of runs whose numbers are made up here."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from papers.common.cli import main
from papers.common.errors import Divergence, UserError
from papers.common.runs import RunDirectory
from papers.noether import claims
from papers.noether.figures import FiguresConfig
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.presets import PRESETS
from papers.noether.networks.summary import layers
from papers.noether.panels import measure, publish
from papers.noether.panels.definitions import PANELS, Panel
from papers.noether.panels.judge import panel_claims
from papers.noether.panels.runs import Run, Runs

BASE = TrainConfig(width=0.125, epochs=10)
WHERE = {"device": "made up", "versions": {}, "commit": None}


def made_up(run: measure.Wanted, accuracy: float, first: float = 3.0, last: float = 2.0) -> Run:
    arrays = {
        "test_step": np.array([0, 4, 8]),
        "test_top1": np.array([0.1, 0.2, accuracy]),
        "test_loss": np.array([2.3, 2.2, 2.0 - accuracy]),
        "test_top5": np.array([0.5, 0.6, 0.7]),
        "train_loss": np.linspace(first, last, 8),
        "train_accuracy": np.linspace(0.1, accuracy, 8),
        "filter_worst": np.full((2, 4), 1e-6 * (1 + run.seed)),
        "filter_layer": np.array(["conv1", "conv1", "conv2", "conv2"]),
        "filter_measured": np.ones((2, 4)),
        "filter_predicted": np.ones((2, 4)),
        "filter_eq17": np.array([[1.0] * 4, [1.0, 1.0, 2.0, 4.0]]),
        "filter_eq17_own_square": np.array([[1.0] * 4, [1.2, 1.0, 1.0, 1.0]]),
    }
    return Run(*run, arrays)


def runs_of(name: str, values: tuple[float, ...], accuracy, seeds: int = 3) -> Runs:
    wanted = measure.wanted_runs(name, BASE, values, seeds, Path("runs"))
    return Runs(tuple(made_up(run, accuracy(run)) for run in wanted))


def test_members_hold_everything_but_what_the_panel_varies():
    found = measure.wanted_runs("b", BASE, (0.0, 0.9), 3, Path("runs"))
    assert len(found) == 12
    assert [one.seed for one in found] == sorted(one.seed for one in found)
    assert {(one.value, one.arm) for one in found} == {(0.0, "free"), (0.0, "fixed"), (0.9, "free"), (0.9, "fixed")}
    for one in found:
        assert (one.config.momentum, one.config.filter_norm, one.config.seed) == (one.value, one.arm, one.seed)
        assert one.config.drops == (3.0, 6.0, 8.0)
        assert (one.config.learning_rate, one.config.weight_decay) == (0.03, 1e-4)
    assert len({one.config.out for one in found}) == 12
    assert all(one.config.drops == () for one in measure.wanted_runs("a", BASE, (), 1, Path("runs")))
    assert {one.arm for one in measure.wanted_runs("d", BASE, (), 1, Path("runs"))} == {"free"}


def test_claims_of_panel_a_are_the_gaps_seed_by_seed():
    gap = {0: 0.04, 1: 0.05, 2: 0.06}
    runs = runs_of("a", (0.001, 0.03), lambda run: 0.3 + (run.arm == "free") * (run.value == 0.03) * gap[run.seed])
    alike, above, scale, own = panel_claims("a", runs, WHERE, "command")
    assert alike.measured == pytest.approx(0.0, abs=1e-12)
    assert alike.reduced_verdict == "holds"
    assert above.measured == pytest.approx(0.05)
    assert above.spread == pytest.approx(0.01)
    # t(0.975, 2) = 4.303: 0.05 - 4.303 * 0.01 / sqrt(3) = 0.0252, below the threshold of 0.03
    assert above.reduced_verdict == "undecided"
    assert {claim.verdict for claim in (alike, above, own)} == {"undecided"}
    assert (scale.seeds, scale.verdict, scale.kind) == (3, "holds", "law")
    assert scale.measured == pytest.approx(3e-6)  # the worst of the seeds
    assert scale.count == 3 * 2 * 8 * 4  # seeds, values, steps, filters of the free runs
    assert own.measured == pytest.approx(0.1)


def test_panel_b_compares_the_gaps_and_can_fail():
    accuracy = lambda run: 0.3 + 0.001 * run.seed - 0.05 * (run.arm == "free") * (run.value == 0.9)  # noqa: E731
    claim = panel_claims("b", runs_of("b", (0.0, 0.9), accuracy), WHERE, "command")[0]
    assert claim.measured == pytest.approx(-0.05)
    assert claim.reduced_verdict == "fails"


def test_panel_c_takes_the_decay_that_is_best_on_average():
    # 0.002 wins seed 0 by far, 0.001 wins on average
    table = {(0.0, 0): 0.3, (0.0, 1): 0.3, (0.001, 0): 0.4, (0.001, 1): 0.4, (0.002, 0): 0.5, (0.002, 1): 0.1}
    runs = runs_of("c", (0.0, 0.001, 0.002), lambda run: table[run.value, run.seed], seeds=2)
    accuracy, loss = panel_claims("c", runs, WHERE, "command")[:2]
    assert "0.001" in accuracy.claim and "0.001" in loss.claim
    assert [accuracy.measured, loss.measured] == pytest.approx([0.1, 0.1])  # the made-up loss is 2 less the accuracy


def test_panel_d_reads_the_training_loss():
    found = measure.wanted_runs("d", BASE, (), 3, Path("runs"))
    runs = Runs(tuple(made_up(one, 0.3, 3.0, 2.0 if one.value == 1 else 2.5) for one in found))
    first, later = panel_claims("d", runs, WHERE, "command")[:2]
    assert first.measured == pytest.approx(0.0, abs=1e-12)
    assert first.reduced_verdict == "holds"
    assert later.measured == pytest.approx(0.25)
    assert later.reduced_verdict == "holds"


def test_thresholds_are_those_written_before_the_runs():
    panels = (claims.PANEL_A, claims.PANEL_B, claims.PANEL_C, claims.PANEL_D)
    found = [(one.threshold, one.direction) for panel in panels for one in panel.values()]
    assert found == [
        (0.015, "within"), (0.03, "above"), (0.02, "above"), (0.005, "above"), (0.02, "above"), (1e-3, "within"),
        (0.05, "above"),
    ]  # fmt: skip
    assert {law.threshold for law in claims.LAWS.values()} == {1e-4} and claims.EQUATION_17.threshold == 0.1


def test_paper_size_is_not_reduced_and_anything_smaller_is():
    whole = PRESETS["panel-a-high"].config
    assert not whole.reduced
    for change in ({"width": 0.5}, {"classes": 20}, {"limit": 100}, {"epochs": 20}, {"data": "cifar10"}):
        assert dataclasses.replace(whole, **change).reduced


def test_layers_are_told_apart():
    found = layers(made_up(measure.wanted_runs("a", BASE, (0.01,), 1, Path("runs"))[0], 0.3).arrays)
    assert found["conv1"] == pytest.approx(
        {"growth": 1, "largest_error": 1e-6, "law": 1, "eq17": 1, "eq17_own_square": 1.1}
    )
    assert found["conv2"]["eq17"] == pytest.approx(3)


def write_run(member: measure.Wanted, accuracy: float) -> None:
    run = made_up(member, accuracy)
    with RunDirectory.create(member.config.out, member.config, "command") as directory:
        directory.save_arrays("history", **run.arrays)
        directory.write_json("summary", {"test_top1": accuracy})
        directory.finish()


def test_finished_runs_are_drawn_without_training(tmp_path):
    wanted = measure.wanted_runs("a", BASE, (0.001, 0.03), 3, tmp_path)
    for member in wanted:
        write_run(member, 0.3)
    runs = measure.measure(wanted, "command", "again")
    with RunDirectory.create(tmp_path / "panel-a", {}, "command") as directory:
        made = publish("a", runs, directory, "command")
    record = json.loads((tmp_path / "panel-a" / "results.json").read_text())
    assert len(record["runs"]) == 12
    assert len(record["claims"]) == len(made) == len(json.loads((tmp_path / "panel-a" / "claims.json").read_text()))
    for name in ("panel_a", "panel_a_mechanism"):
        assert (tmp_path / "panel-a" / f"{name}.png").stat().st_size < 200_000
    with np.load(tmp_path / "panel-a" / "panel_a.npz") as arrays:
        assert arrays["accuracy_free"].shape == arrays["gap"].shape == (3, 2)
        assert arrays["loss_fixed_0.03"].shape == (3, 2)
        np.testing.assert_allclose(arrays["loss_fixed_0.03"][0, 0], np.linspace(3, 2, 8)[:4].mean())
    with np.load(tmp_path / "panel-a" / "panel_a_mechanism.npz") as arrays:
        assert arrays["growth"].shape == (2, 2, 3) and arrays["layers"].tolist() == ["conv1", "conv2"]


def make_older(member: measure.Wanted, **more: object) -> None:
    """Turn a finished run into one of a version without integrity records and without the optimiser's field."""
    file = member.config.out / "config.json"
    record = json.loads(file.read_text())
    del record["config"]["optimiser"], record["run"], record["sha256"]
    record["config"] |= more
    file.write_text(json.dumps(record))
    (member.config.out / "finished.json").unlink()


def test_runs_made_elsewhere_and_by_older_code_are_read(tmp_path, capsys):
    """Whole seeds only; a field that the run did not know has its default, one not known here is passed over."""
    wanted = measure.wanted_runs("a", BASE, (0.001, 0.03), 2, tmp_path)
    for number, member in enumerate(wanted[:-1]):
        write_run(member, 0.3 + number / 100)
        make_older(member, forgotten=3)
    runs = measure.read_finished("a", tmp_path)
    assert "seeds 1" in capsys.readouterr().out
    assert [(run.value, run.arm, run.seed) for run in runs.all] == [
        (0.001, "free", 0), (0.001, "fixed", 0), (0.03, "free", 0), (0.03, "fixed", 0)
    ]  # fmt: skip
    assert runs.gap(0.03)[0] == pytest.approx(-0.01)
    assert runs.all[0].config.optimiser == "sgd" and runs.all[0].config.out == wanted[0].config.out
    with pytest.raises(UserError, match="forgotten 3"):  # what it meant is not known here
        measure.finished(wanted[0])
    with pytest.raises(UserError, match="no seed of panel b"):
        measure.read_finished("b", tmp_path)


def test_a_panel_needs_a_definition_and_nothing_else(tmp_path, monkeypatch):
    """Over the batch size, say: its runs, pictures, claims and results follow."""
    statement = claims.PANEL_B["growth"]._replace(claim="the gap grows from {low:g} to {high:g}", threshold=0.1)

    def judge(runs):
        low, high = runs.values
        yield statement, runs.gap(high) - runs.gap(low), {"low": low, "high": high}

    panel = Panel("Larger batches, smaller gap", "batch_size", "batch size", (32, 64), {}, False, judge)
    monkeypatch.setitem(PANELS, "e", panel)
    wanted = measure.wanted_runs("e", BASE, (), 3, tmp_path)
    assert {one.config.batch_size for one in wanted} == {32, 64}
    for member in wanted:
        write_run(member, 0.3 + 0.2 * (member.arm == "free") * (member.value == 64))
    with RunDirectory.create(tmp_path / "panel-e", {}, "command") as directory:
        own, *_ = publish("e", measure.read_finished("e", tmp_path), directory, "command")
    assert own.claim == "the gap grows from 32 to 64" and own.reduced_verdict == "holds"
    assert (tmp_path / "panel-e" / "panel_e.png").is_file()


def test_a_run_of_another_configuration_is_not_taken_for_this_one(tmp_path):
    (member, *_) = measure.wanted_runs("a", BASE, (0.03,), 1, tmp_path)
    write_run(member, 0.3)
    make_older(member)
    assert measure.finished(member)
    assert measure.finished(member._replace(config=dataclasses.replace(member.config, checkpoint_epochs=7)))
    wider = member._replace(config=dataclasses.replace(member.config, width=0.25))
    with pytest.raises(UserError, match=r"width 0\.125 -> 0\.25"):
        measure.finished(wider)


def test_a_run_in_use_is_left_to_its_process_and_a_diverging_one_named_last(tmp_path, monkeypatch, capsys):
    first, second = measure.wanted_runs("a", BASE, (0.03,), 1, tmp_path)
    with RunDirectory.create(first.config.out, first.config, "command"):
        monkeypatch.setattr("papers.noether.networks.run.build", lambda *_: pytest.fail("nothing may be trained here"))
        assert measure.measure([first], "command", "again") is None
    assert first.config.out.name in capsys.readouterr().out

    def diverge(config, *_, **__):
        raise Divergence("the loss became nan")

    monkeypatch.setattr("papers.noether.networks.run.run", diverge)
    with pytest.raises(Divergence, match=second.config.out.name):
        measure.measure([second], "command", "again")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--panel", "b", "--values", "1.5", "0"], ("--values", "1.5", "below 1")),
        (["--panel", "b", "--values", "0.9", "0.9"], ("--values", "different")),
        (["--panel", "c", "--values", "0.001", "0.002"], ("--values", "0")),
        (["--panel", "c", "--values", "0"], ("--values", "at least 2")),
        (["--panel", "d", "--values", "1"], ("--values", "at least 2")),
        (["--panel", "toys", "--values", "1"], ("--values", "left out")),
        (["--panel", "a", "--runs", ".", "--values", "1"], ("--values", "left out with --runs")),
        (["--panel", "norms"], ("--runs", "finished run")),
        (["--panel", "toys", "--runs", "."], ("--runs", "left out")),
        (["--panel", "e"], ("--panel", "e")),
        (["--seeds", "0"], ("--seeds", "from 1 to 1000")),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(lambda config: pytest.fail("not refused"), FiguresConfig, "figures", argv=arguments)
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    for word in words:
        assert word in printed


def test_a_drawn_panel_is_refused_before_anything_runs(tmp_path, capsys):
    from papers.noether.figures import entry

    with RunDirectory.create(tmp_path / "panel-a", {}, "command") as directory:
        directory.finish()
    with pytest.raises(SystemExit) as stop:
        main(entry, FiguresConfig, "figures", argv=["--panel", "a", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "panel-a holds a finished run" in capsys.readouterr().err
