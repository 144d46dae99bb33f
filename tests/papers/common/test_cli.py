"""The command line: values reach the configuration, mistakes become one sentence and an exit code."""

import dataclasses
import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Literal

import pytest

from papers.common import cli
from papers.common.errors import Divergence, UserError


@dataclasses.dataclass(frozen=True)
class Job:
    """Train something."""

    batch_size: int = 64
    """Images in a step."""

    learning_rate: float = 0.1
    """Size of a step."""

    filter_norm: Literal["free", "fixed"] = "free"
    """Whether the filters keep their norm."""

    classes: int | None = None
    """First classes of the data set; all by default."""

    out: Path = Path("run")
    """Where the run is written."""

    resume: bool = False
    """Continue the run."""

    rates: tuple[float, ...] = (0.1,)
    """Learning rates of a sweep."""

    shape: tuple[int, int] = (32, 32)
    """Height and width."""

    def validate(self):
        cli.check(
            self.batch_size <= 1437, "batch_size", self.batch_size, "at most 1437, the number of images; give fewer"
        )


@dataclasses.dataclass(frozen=True)
class Needy:
    """A job with a required field."""

    seed: int
    """Seed of everything."""


def run(argv, config_class=Job, entry=None):
    seen = []
    code = cli.main(entry or seen.append, config_class, "prog", argv=argv)
    assert code == 0
    return seen[0]


def test_defaults_without_arguments():
    assert run([]) == Job()


def test_the_compiler_is_quiet_before_a_job_imports_it_unless_told_otherwise(monkeypatch):
    levels = []

    def entry(job):
        levels.append(os.environ["TF_CPP_MIN_LOG_LEVEL"])

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    cli.main(entry, Job, "prog", argv=[])
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    cli.main(entry, Job, "prog", argv=[])
    assert levels == ["0", "3"]


def test_every_kind_of_field_is_read():
    argv = "--batch-size 8 --learning-rate=-1e-3 --filter-norm fixed --classes 5 --out /a/b --resume".split()
    argv += "--rates 0.1 0.2 0.3 --shape 4 5".split()
    assert run(argv) == Job(8, -1e-3, "fixed", 5, Path("/a/b"), True, (0.1, 0.2, 0.3), (4, 5))
    assert run(["--no-resume", "--classes", "None", "--batch_size", "9"]) == Job(batch_size=9)
    assert run(["--learning-rate", "-0.5"]).learning_rate == -0.5


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--batch-sise", "8"], ["--batch-sise is not an option", "did you mean --batch-size?"]),
        (["--zzzzz"], ["--zzzzz is not an option", "--help"]),
        (["--batch-size", "many"], ["--batch-size is many", "a whole number"]),
        (["--batch-size", "1.5"], ["--batch-size is 1.5", "a whole number"]),
        (["--batch-size"], ["--batch-size has no value", "a whole number"]),
        (["--batch-size", "1", "2"], ["--batch-size has 2 values (1 2)", "a whole number"]),
        (["--learning-rate", "fast"], ["--learning-rate is fast", "a number"]),
        (["--filter-norm", "loose"], ["--filter-norm is loose", "one of free, fixed"]),
        (["--classes", "x"], ["--classes is x", "a whole number or None"]),
        (["--resume", "yes"], ["--resume takes no value", "'yes'", "--no-resume"]),
        (["--rates", "0.1", "x"], ["--rates is x", "a number"]),
        (["--shape", "4"], ["--shape has 1 values", "2 values, each a whole number"]),
        (["stray"], ["'stray' is not understood"]),
        (["--batch-size", "5000"], ["--batch-size is 5000, but must be at most 1437, the number of images"]),
    ],
)
def test_mistakes_are_one_sentence(argv, parts, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(lambda config: pytest.fail("the job ran"), Job, "prog", argv=argv)
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith("prog: ")
    assert all(part in captured.err for part in parts), captured.err


def test_missing_required_field(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(lambda config: pytest.fail("the job ran"), Needy, "prog", argv=[])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "prog: --seed is missing: it must be a whole number\n"


def test_what_only_tyro_refuses_is_one_sentence_too(monkeypatch, capsys):
    monkeypatch.setattr(cli, "check_arguments", lambda arguments, options: None)
    with pytest.raises(SystemExit) as stop:
        cli.main(lambda config: pytest.fail("the job ran"), Job, "prog", argv=["--filter-norm", "loose"])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1 and "loose" in error and "free" in error
    assert not any("\u2500" <= character <= "\u257f" for character in error)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("the data are damaged"), 2, "prog: the data are damaged\n"),
        (Divergence("the loss is nan at step 7"), 3, "prog: the loss is nan at step 7\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/history.npz"),
            1,
            "prog: no room is left on the disk ([Errno 28] No space left on device: 'runs/history.npz'): make room; "
            "--resume continues a run\n",
        ),
        (KeyboardInterrupt(), 130, "prog: interrupted\n"),
    ],
)
def test_exit_codes_of_the_job(error, code, text, capsys):
    def entry(config):
        raise error

    with pytest.raises(SystemExit) as stop:
        cli.main(entry, Job, "prog", argv=[])
    assert stop.value.code == code
    assert capsys.readouterr().err == text


def test_a_programming_error_keeps_its_traceback():
    def entry(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.main(entry, Job, "prog", argv=[])


def test_an_error_raised_while_the_configuration_is_built_is_kept(capsys):
    @dataclasses.dataclass(frozen=True)
    class Strict:
        """Refuses odd widths."""

        width: int = 2
        """Width."""

        def __post_init__(self):
            cli.check(self.width % 2 == 0, "width", self.width, "even")

    with pytest.raises(SystemExit) as stop:
        cli.main(lambda config: None, Strict, "prog", argv=["--width", "3"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "prog: --width is 3, but must be even\n"


@dataclasses.dataclass(frozen=True)
class Choosing:
    """A job with presets."""

    preset: str = "none"
    """Where the options start from."""

    width: float = 1.0
    """Width of the network."""

    out: str = "run"
    """Where the run is written."""


@dataclasses.dataclass(frozen=True)
class Panel:
    config: Choosing
    expected: str


PANELS = {"a": Panel(Choosing("a", 2.0), "a gap"), "b": Panel(Choosing("b", 3.0), "no gap")}


def choose(argv):
    seen = []
    assert cli.main(seen.append, Choosing, "prog", argv=argv, presets=PANELS) == 0
    return seen[0]


def test_options_replace_those_of_a_preset():
    assert choose([]) == choose(["--preset", "none"]) == Choosing()
    assert choose(["--preset", "a"]) == choose(["--preset=a"]) == Choosing("a", 2.0)
    assert choose(["--width", "5", "--preset", "b"]) == Choosing("b", 5.0)
    assert choose(["--out", "my --preset b"]) == Choosing(out="my --preset b")


def test_an_unknown_preset_and_the_help(capsys):
    with pytest.raises(SystemExit) as stop:
        choose(["--preset", "z"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "prog: --preset is z, but must be one of a, b\n"
    with pytest.raises(SystemExit):
        choose(["--help-preset"])
    assert "did you mean --help-presets?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        choose(["--help-presets"])
    assert stop.value.code == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["a", "a", "gap"], ["b", "no", "gap"]]
    with pytest.raises(SystemExit) as stop:
        choose(["--help", "--preset", "a"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "(default: 2.0)" in text and text.endswith("presets: a, b\n") and "a gap" not in text


def test_a_reader_that_has_gone_is_no_traceback():
    script = (
        "import dataclasses, papers.common.cli as cli\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Job: ...\n"
        "cli.main(lambda job: print('x' * 1_000_000, flush=True), Job, 'prog', argv=[])"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b"" and process.wait() == cli.FAILED


def test_help_is_quick_and_imports_no_jax():
    script = textwrap.dedent(
        """
        import atexit, dataclasses, os, sys
        from papers.common import cli, runs, claims, checkpoint, signals, plots

        @dataclasses.dataclass(frozen=True)
        class Job:
            "Train something."
            width: float = 1.0
            "Width of the network."

        def report():
            heavy = {"jax", "flax", "tyro", "orbax", "matplotlib", "scipy"} & set(sys.modules)
            seconds = sum(os.times()[:2])
            print("heavy", sorted(heavy), "quick", seconds < 2, seconds, file=sys.stderr)

        atexit.register(report)
        cli.main(print, Job, "prog", argv=["--help"])
        """
    )
    root = Path(cli.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--width" in done.stdout and "Train something" in done.stdout
    assert done.stderr.startswith("heavy [] quick True"), done.stderr


@pytest.mark.parametrize(("value", "said"), [(0, "at least 1"), (-5, "at least 1"), (10**12, "from 1 to 1000000000")])
def test_counts_out_of_bounds(value, said):
    with pytest.raises(UserError, match=f"--batch-size is {value}, but must be {said}"):
        cli.check_count("batch_size", value)


def test_counts_within_bounds_and_values_too_long_to_repeat():
    for value in (2, 3, 7):
        cli.check_count("classes", value, 2, 7)
    with pytest.raises(UserError, match="--classes is 8, but must be from 2 to 7"):
        cli.check_count("classes", 8, 2, 7)
    with pytest.raises(UserError) as error:
        cli.check_count("epochs", 10**1000)
    assert len(str(error.value)) < 300
