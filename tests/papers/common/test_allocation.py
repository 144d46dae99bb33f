"""Directories that nobody named: new each time, found again when unfinished, and the newest has a link."""

import dataclasses
import os
from pathlib import Path
from typing import ClassVar

import pytest

from papers.common import allocation
from papers.common.errors import UserError
from papers.common.runs import RunDirectory


@dataclasses.dataclass(frozen=True)
class Config:
    place: ClassVar[str] = "paper/command"

    seed: int = 0
    out: Path | None = None
    resume: bool = False


class Figure(Config):
    inside = "figure_3"


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """Runs go below the working directory."""
    monkeypatch.chdir(tmp_path)


def run(config, finish=True):
    with RunDirectory.open(config, "prog") as directory:
        if finish:
            directory.finish()
    return directory


def test_three_runs_in_a_row_get_three_directories(capsys):
    first, second, third = (run(Config()).path for _ in range(3))
    assert len({first, second, third}) == 3 and first.parent == Path("runs/paper/command")
    assert sorted([first, second, third], key=lambda path: path.stat().st_ctime_ns) == [first, second, third]
    assert (first.parent / "latest").resolve() == third.resolve()
    assert f"run directory {third}" in capsys.readouterr().out


def test_the_names_are_the_time_and_sort_by_it(monkeypatch):
    made = [allocation.allocate("paper/command") for _ in range(12)]
    assert all(allocation._NAME.fullmatch(path.name) for path in made)
    assert list(allocation._newest_first(made[0].parent)) == made[::-1]


def test_resume_takes_the_newest_that_is_unfinished():
    run(Config())
    oldest, middle = run(Config(), finish=False), run(Config(), finish=False)
    run(Config())
    again = run(Config(resume=True))
    assert again.path == middle.path and again.resumed and again.run == middle.run
    assert run(Config(resume=True)).path == oldest.path
    with pytest.raises(UserError, match="no unfinished run to resume"):
        run(Config(resume=True))


def test_a_run_in_progress_is_not_taken():
    stopped = run(Config(), finish=False)
    with RunDirectory.open(Config(), "prog"):
        RunDirectory.refuse(Config(resume=True))
        assert run(Config(resume=True)).path == stopped.path
        with pytest.raises(UserError, match="in use by process"):
            run(Config(resume=True))


def test_another_configuration_is_refused_with_the_command_that_began_it():
    run(Config(seed=1), finish=False)
    for call in (run, RunDirectory.refuse):
        with pytest.raises(UserError, match=r"seed 1 -> 0\): resume it with its own, that of `prog`"):
            call(Config(resume=True))


def test_what_continues_a_run_names_its_directory(tmp_path):
    directory = run(Config(), finish=False)
    assert directory.again == f"prog --out {directory.path} --resume"
    assert run(Config(out=tmp_path / "a")).again == "prog --resume"
    figure = run(Figure(), finish=False)
    assert figure.again == f"prog --out {figure.path.parent} --resume" and figure.path.name == "figure_3"


def test_a_figure_has_a_folder_of_its_own(tmp_path):
    assert run(Figure(out=tmp_path / "all")).path == tmp_path / "all" / "figure_3"
    stopped = run(Figure(), finish=False)
    run(Config(), finish=False)  # another figure's
    assert run(Figure(resume=True)).path == stopped.path


def test_a_run_that_came_to_nothing_takes_its_directory_and_link_back():
    first = run(Config())
    for config in (Config(), Figure()):
        with pytest.raises(KeyboardInterrupt), RunDirectory.open(config, "prog"):
            raise KeyboardInterrupt
    folder = Path("runs/paper/command")
    assert sorted(item.name for item in folder.iterdir()) == sorted([first.path.name, "latest"])
    assert os.readlink(folder / "latest") == first.path.name


def test_latest_of_the_user_stays(monkeypatch):
    folder = Path("runs/paper/command")
    folder.mkdir(parents=True)
    (folder / "latest").write_text("mine")
    run(Config())
    assert (folder / "latest").read_text() == "mine"


def test_without_links_there_is_no_latest(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert run(Config()).path.is_dir() and not (Path("runs/paper/command") / "latest").exists()


def test_take_up_goes_on_by_itself(tmp_path):
    config = Config(out=tmp_path / "run")
    assert RunDirectory.take_up(config) == config
    run(config, finish=False)
    assert RunDirectory.take_up(config).resume
    run(RunDirectory.take_up(config))
    assert not RunDirectory.take_up(config).resume


BAD = {
    "too long": "a" * 300,
    "an unknown home": "~nobody-is-called-this/run",
    "a zero byte": "a\0b",
    "not utf-8": os.fsdecode(b"\xff\xfe"),
    "a link to itself": "loop",
    "a fifo": "fifo",
    "below a file": "file/run",
    "below a link to itself": "loop/run",
}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("call", [run, RunDirectory.refuse])
@pytest.mark.parametrize("what", BAD)
def test_places_that_cannot_be_used_are_one_sentence(what, call, resume):
    Path("loop").symlink_to("loop")
    os.mkfifo("fifo")
    Path("file").write_text("a file")
    with pytest.raises(UserError) as told:
        call(Config(out=Path(BAD[what]), resume=resume))
    assert "\n" not in str(told.value) and len(str(told.value)) < 800
    str(told.value).encode()  # can be printed


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may look everywhere")
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_looked_into_is_one_sentence(tmp_path, resume):
    (tmp_path / "shut").mkdir(mode=0)
    for call in (run, RunDirectory.refuse):
        with pytest.raises(UserError, match="cannot be used"):
            call(Config(out=tmp_path / "shut" / "run", resume=resume))


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert run(Config(out=Path("~/run"))).path == tmp_path / "home" / "run"
