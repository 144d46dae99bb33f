"""The command ``python -m papers.report`` as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def report(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "papers.report", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def test_pages_of_named_runs(tmp_path):
    done = report(str(ROOT / "papers/noether/results/toys"), "--out", str(tmp_path / "pages"))
    assert done.returncode == 0, done.stderr
    assert "yes" in done.stdout and "report.html" in done.stdout.splitlines()[-1]
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"report.html", "report.md"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nowhere"], "is no directory"), (["--otu", "x"], "did you mean --out"), (["a", "--update"], "left out where")],
)
def test_bad_input_is_one_sentence(arguments, said):
    done = report(*arguments)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
