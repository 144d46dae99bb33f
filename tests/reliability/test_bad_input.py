"""What a user can get wrong ends with exit code 2, soon, in a sentence that names field, value and what is allowed."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from papers.common import cli
from papers.common.runs import RunDirectory
from papers.noether.networks import run as running
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.presets import PRESETS
from papers.noether.train import PROG, entry

ROOT = Path(__file__).parents[2]

# options -> parts of the sentence
NEVER_STARTED = {
    "unknown option": (["--learning-rat", "0.1"], ["--learning-rat is not an option", "did you mean --learning-rate?"]),
    "far from any option": (["--zzzzzz", "1"], ["--zzzzzz is not an option", "--help"]),
    "wrong type": (["--batch-size", "large"], ["--batch-size is large", "a whole number"]),
    "fraction": (["--epochs", "1.5"], ["--epochs is 1.5", "a whole number"]),
    "no value": (["--width"], ["--width has no value", "a number"]),
    "two values": (["--width", "1", "2"], ["--width has 2 values (1 2)", "a number"]),
    "no option": (["digits"], ["'digits' is not understood"]),
    "value of a switch": (["--resume", "yes"], ["--resume takes no value", "'yes'"]),
    "not among the choices": (["--data", "mnist"], ["--data is mnist", "digits, cifar10, tiny_imagenet"]),
    "not a size": (["--size", "48"], ["--size is 48", "32, 64"]),
    "unknown preset": (["--preset", "panel-z"], ["--preset is panel-z", "panel-a-low"]),
    "learning rate 0": (["--learning-rate", "0"], ["--learning-rate is 0", "above 0"]),
    "learning rate nan": (["--learning-rate", "nan"], ["--learning-rate is nan", "above 0"]),
    "momentum 1": (["--momentum", "1"], ["--momentum is 1", "at least 0 and below 1"]),
    "negative decay": (["--weight-decay", "-1e-4"], ["--weight-decay is -0.0001", "at least 0"]),
    "infinite decay": (["--weight-decay", "inf"], ["--weight-decay is inf", "at least 0"]),
    "infinite learning rate": (["--learning-rate", "inf"], ["--learning-rate is inf", "above 0"]),
    "initial scale 0": (["--initial-scale", "0"], ["--initial-scale is 0", "above 0"]),
    "negative seed": (["--seed", "-1"], ["--seed is -1", "at least 0"]),
    "width 0": (["--width", "0"], ["--width is 0", "above 0 and at most 4"]),
    "dropout 1": (["--dropout", "1"], ["--dropout is 1", "at least 0 and below 1"]),
    "batch 0": (["--batch-size", "0"], ["--batch-size is 0", "at least 1"]),
    "no epochs": (["--epochs", "0"], ["--epochs is 0", "from 1 to 10000"]),
    "records 0": (["--record-every", "0"], ["--record-every is 0", "at least 1"]),
    "negative checkpoints": (["--checkpoint-epochs", "-1"], ["--checkpoint-epochs is -1", "at least 0"]),
    "one class": (["--classes", "1"], ["--classes is 1", "at least 2"]),
    "limit 0": (["--limit", "0"], ["--limit is 0", "at least 1"]),
    "drops out of order": (["--drops", "2", "1"], ["--drops is 2.0 1.0", "increasing order"]),
    "drop after the end": (["--drops", "3", "--epochs", "3"], ["--drops is 3.0", "before the end, 3 epochs"]),
    "fixed norm without BatchNorm": (
        ["--filter-norm", "fixed", "--no-batch-norm"],
        ["--filter-norm is fixed", "free without BatchNorm"],
    ),
    "an enormous batch": (["--batch-size", "1" + "0" * 30], ["--batch-size is 1", "from 1 to 1000000000"]),
    "an enormous limit": (["--limit", "1" + "0" * 12], ["--limit is 1", "from 1 to 1000000000"]),
    "enormous epochs": (["--epochs", "1" + "0" * 5000], ["--epochs is 1", "whole number"]),
}

# these need the data, which the digits have at hand
AFTER_LOADING = {
    "batch larger than the data": (["--batch-size", "2000"], ["--batch-size is 2000", "at most 1437"]),
    "batch larger than the limit": (["--limit", "20", "--batch-size", "64"], ["--batch-size is 64", "at most 20"]),
    "more classes than there are": (["--classes", "11"], ["11", "10"]),
    "larger than the images are": (["--data", "cifar10", "--size", "64"], ["--size is 64", "from 8 to 32"]),
}


def refuse(options, run, capsys):
    """Run a command that must be refused, in this process; the sentence on the standard error."""
    with pytest.raises(SystemExit) as left:
        cli.main(run, TrainConfig, PROG, argv=options, presets=PRESETS)
    told = capsys.readouterr().err
    assert left.value.code == 2
    assert told.startswith(f"{PROG}: ") and told.endswith("\n") and told.count("\n") == 1, told
    assert "Traceback" not in told
    return told


@pytest.mark.parametrize("name", NEVER_STARTED)
def test_refused_before_anything_starts(name, capsys, tmp_path):
    options, parts = NEVER_STARTED[name]
    told = refuse(
        [*options, "--out", str(tmp_path / "run")], lambda config: pytest.fail(f"{config} was started"), capsys
    )
    for part in parts:
        assert part in told
    assert not (tmp_path / "run").exists()


@pytest.fixture(params=["preflight", "run"])
def start(request):
    """What must refuse: the entry's look ahead, before jax is imported, and the run itself, which others call."""
    return (lambda config: config.preflight()) if request.param == "preflight" else lambda c: running.run(c, PROG)


@pytest.fixture(autouse=True)
def never_trained(monkeypatch):
    """An accepted mistake fails here, instead of training for minutes."""
    monkeypatch.setattr(running, "build", lambda config, dataset: pytest.fail(f"{config} was started"))


@pytest.mark.parametrize("name", AFTER_LOADING)
def test_refused_once_the_data_is_known(name, start, capsys, tmp_path):
    options, parts = AFTER_LOADING[name]
    told = refuse([*options, "--out", str(tmp_path / "run")], start, capsys)
    for part in parts:
        assert part in told
    assert not (tmp_path / "run").exists()


def test_a_run_directory_with_anything_in_it_is_refused(start, capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    told = refuse(["--out", str(tmp_path)], start, capsys)
    assert str(tmp_path) in told and "not empty (thesis.tex)" in told and "--resume" in told
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_run_directory_in_use_is_refused(start, capsys, tmp_path):
    with RunDirectory.create(tmp_path / "run", TrainConfig(), "first"):
        before = {file: file.read_bytes() for file in (tmp_path / "run").iterdir()}
        for options in ([], ["--resume"]):
            told = refuse(["--out", str(tmp_path / "run"), *options], start, capsys)
            assert str(tmp_path / "run") in told and f"in use by process {os.getpid()}" in told
        assert {file: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_a_run_directory_that_is_a_file_is_refused(start, capsys, tmp_path):
    (tmp_path / "run").write_text("a file")
    assert "is a file" in refuse(["--out", str(tmp_path / "run")], start, capsys)


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_to_resume_is_refused(start, capsys, tmp_path, exists):
    if exists:
        (tmp_path / "run").mkdir()
    told = refuse(["--resume", "--out", str(tmp_path / "run")], start, capsys)
    assert "holds no run to resume" in told and str(tmp_path / "run") in told


def test_another_configuration_is_refused_with_its_fields(start, capsys, tmp_path):
    with RunDirectory.create(tmp_path / "run", TrainConfig(out=tmp_path / "run"), "first"):
        pass
    told = refuse(["--resume", "--out", str(tmp_path / "run"), "--momentum", "0.5", "--epochs", "3"], start, capsys)
    assert "momentum 0.9 -> 0.5" in told and "epochs 12 -> 3" in told and "learning_rate" not in told
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["momentum"] == 0.9


# each stops at another place: the options, the configuration, the run directory, the data
EARLY = {
    "unknown option": NEVER_STARTED["unknown option"],
    "fixed norm without BatchNorm": NEVER_STARTED["fixed norm without BatchNorm"],
    "batch larger than the data": AFTER_LOADING["batch larger than the data"],
    "batch larger than data not there": (["--data", "tiny_imagenet", "--batch-size", "100001"], ["at most 100000"]),
    "absent data": (["--data", "cifar10", "--data-dir", "absent"], ["absent does not exist", "170,052,171 bytes, md5"]),
    "nothing to resume": (["--resume"], ["holds no run to resume"]),
}


@pytest.mark.parametrize("name", EARLY)
def test_the_command_refuses_within_three_seconds(name, tmp_path):
    options, parts = EARLY[name]
    command = [sys.executable, "-m", "papers.noether.train", *options, "--out", str(tmp_path / "run")]
    environment = {**os.environ, "SYMJAX_PAPERS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr
    assert all(part in done.stderr for part in parts)
    assert not (tmp_path / "run").exists()
    assert seconds < 3
    print(f"{name}: {seconds:.2f} CPU seconds")


def test_nothing_heavy_is_imported_before_a_mistake_is_told(tmp_path):
    program = (
        "import sys; from papers.noether.sweeps.config import *\n"
        "from papers.noether.networks.config import TrainConfig as C\n"
        "for config in (C(), SweepConfig()): config.preflight()\n"
        "from papers.gradient_flow.training.config import TrainConfig as C; C(network='vgg11').resolved().preflight()\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'jax', 'flax', 'optax', 'sklearn', 'matplotlib'})"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "\n", (done.stdout, done.stderr)


def test_the_entry_is_the_one_that_was_tried():
    """The tests above call both themselves: the entry must do so too."""
    text = Path(entry.__code__.co_filename).read_text()
    assert entry.__module__ == "papers.noether.train" and "run(config" in text and "config.preflight()" in text
