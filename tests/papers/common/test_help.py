"""The help of every command: options first, in groups, each once, in 100 plain columns."""

import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import papers
from papers.common import help

ROOT = Path(papers.__file__).parents[1]


def commands():
    """The commands of the papers: every module that parses a command line."""
    for path in sorted((ROOT / "papers").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text and "main(" in text:
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), text


COMMANDS = dict(commands())


@dataclasses.dataclass(frozen=True)
class Base:
    """Inherited."""

    data: str = "digits"
    """Where it
    comes from."""


@dataclasses.dataclass(frozen=True)
class Job(Base):
    """Do a thing.

    With care.
    """

    speed: float = 0.5
    """How fast."""

    mode: int | None = None
    epochs: int = dataclasses.field(kw_only=True)
    """How long."""


def test_fields_have_their_docstrings_and_groups():
    text = help.text(Job, "prog", None)
    assert text.startswith("usage: prog [options]\n\nDo a thing.\n\nWith care.\n\nthe job:\n  --speed X")
    assert re.search(r"\ndata:\n  --data TEXT +Where it comes from. \(default: digits\)\n", text)
    assert re.search(r"\nlearning rule:\n  --epochs N +How long. \(required\)\n", text)
    assert "--mode N\n" in text and "(default: 2.5)" in help.text(Job, "prog", None, Job(speed=2.5, epochs=1))


def test_there_are_commands():
    assert len(COMMANDS) >= 7 and "papers.noether.train" in COMMANDS


@pytest.mark.parametrize("module", COMMANDS)
def test_help_of_every_command(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, timeout=60)
    text = done.stdout.decode("ascii")
    lines = text.splitlines()
    assert done.returncode == 0 and done.stderr == b""
    assert max(map(len, lines)) <= help.COLUMNS
    titles = [line.rstrip(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles[-1] == "help" and set(titles[:-1]) <= set(help.GROUPS)
    first = next(index for index, line in enumerate(lines) if line.rstrip(":") in help.GROUPS)
    assert first < 16  # the options begin on the first screen
    flags = re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)
    assert len(set(flags)) == len(flags)


def test_help_shows_every_field_with_words():
    for module in ("papers.noether.networks.config", "papers.gradient_flow.training.config"):
        config_class = importlib.import_module(module).TrainConfig
        text = help.text(config_class, "prog", None)
        for field in help.fields(config_class):
            assert field.doc.endswith("."), field
            assert len(re.findall(rf"\n  --{field.name.replace('_', '-')}[ ,]", text)) == 1


def test_every_field_named_in_a_group_is_in_one_only():
    names = [name for group in help.GROUPS.values() for name in group]
    assert len(set(names)) == len(names)
