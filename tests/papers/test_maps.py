"""``python -m papers`` and ``python -m papers.NAME``: a reader finds every command without the README."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import papers

ROOT = Path(papers.__path__[0]).parent
PAPERS = sorted(path.parent.name for path in (ROOT / "papers").glob("*/claims.py") if path.parent.name != "common")


def printed(module):
    done = subprocess.run([sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_paper_is_named():
    assert re.findall(r"^python -m papers\.(\w+)$", printed("papers"), re.MULTILINE) == [*PAPERS, "report"]


@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_names_every_command_of_its_own(paper):
    shown = printed(f"papers.{paper}")
    commands = [path.stem for path in (ROOT / "papers" / paper).glob("[a-z]*.py") if "__main__" in path.read_text()]
    assert commands and all(re.search(rf"\b{name}\b", shown) for name in commands)


def test_a_reader_who_stops_reading_gets_no_traceback():
    command = f"{sys.executable} -m papers.noether | true"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
