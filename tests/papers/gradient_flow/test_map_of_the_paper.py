"""The paper's map: every figure has an experiment of the one shape, stands in the map, and imports no other."""

import ast
import typing
from pathlib import Path

import pytest

import papers.gradient_flow as paper
from papers.common.claims import Statement
from papers.gradient_flow import claims
from papers.gradient_flow.figures import Figure, experiment

FOLDER = Path(paper.__file__).parent
COMMANDS = {"train", "figures", "ensemble", "adversarial"}
EXPERIMENTS = {
    path.stem
    for path in FOLDER.iterdir()
    if path.stem not in COMMANDS | {"__init__", "__main__", "claims", "networks", "results", "__pycache__"}
}


@pytest.mark.parametrize("figure", typing.get_args(Figure))
def test_every_figure_has_an_experiment_and_stands_in_the_map(figure):
    found = experiment(figure)
    assert all(callable(part) for part in found)
    assert f"``F {figure}``" in paper.__doc__
    assert getattr(found.measure, "func", found.measure).__module__.split(".")[2] in EXPERIMENTS


def test_every_experiment_stands_in_the_map():
    missing = [name for name in EXPERIMENTS if name not in paper.__doc__]
    assert missing == []


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("papers.gradient_flow"):
            parts = node.module.split(".")
            yield from [parts[2]] if len(parts) > 2 else [alias.name for alias in node.names]


def test_an_experiment_imports_no_other_and_networks_none():
    for path in FOLDER.rglob("*.py"):
        inside = path.relative_to(FOLDER).with_suffix("").parts[0]
        if inside in EXPERIMENTS or inside == "networks":
            assert {name for name in imports(path) if name in EXPERIMENTS | COMMANDS} <= {inside}, path


def statements(value):
    """All statements in a table, however deep."""
    if isinstance(value, Statement):
        yield value
    elif isinstance(value, dict | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from statements(each)


def test_the_table_of_claims():
    """A sentence and a source each; a law is never about statistics; every threshold stands here and nowhere else."""
    table = [one for name, value in vars(claims).items() if name.isupper() for one in statements(value)]
    table += [claims.ensemble(kind, epsilon) for kind in claims.PAPER_CHANGE for epsilon in claims.EPSILONS]
    assert len(table) > 100
    for one in table:
        assert one.claim and one.source and one.direction in ("above", "below", "within")
        assert one.kind in ("law", "finding") and one.subject in ("paper", "control")
        assert one.kind == "finding" or (one.direction == "below" and one.threshold <= 1), one


def test_the_papers_table_of_figure_10():
    """Read off the table of the paper's notebook: the weakest two strengths of the shuffled maps."""
    assert claims.PAPER_CHANGE["shuffle"][-2:] == (-0.469, -0.408)
    assert claims.ensemble("shuffle", 1e-3).paper.endswith("-0.469")
    assert claims.ensemble("shuffle", 1e-4).paper.endswith("-0.408")
