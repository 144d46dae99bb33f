"""Every notebook runs from a clean kernel, and the numbers it computes hold.

A notebook has one cell tagged `parameters`; the tests put a smaller one in its place. It gathers its numbers in a
dictionary `measured` and ends by asserting them; the tests read the dictionary back and hold some of it to bounds of
their own.
"""

import ast
import json
import math
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

REDUCED = {
    "gradient_flow": """
hidden = 12
limit = 192
steps = 400
learning_rate = 0.1
seed = 1
""",
    "hidden_symmetries": """
points = 300
steps = 12
step = 0.05
seed = 0
""",
    "noether": """
width = 0.0625
epochs = 2
limit = 192
learning_rate = 0.03
momentum = 0.9
weight_decay = 1e-4
seed = 1
""",
    "relu_equivariance": """
width = 0.03125
limit = 60
epochs = 2
own_steps = 20
seed = 0
""",
    "teleportation": """
starts = 2
seed = 0
""",
    "your_model": """
steps = 400
batch = 64
learning_rate = 0.1
momentum = 0.9
adam_rate = 0.003
seed = 0
""",
}

# notebook -> number -> largest value, whatever the notebook itself allows
LARGEST = {
    "gradient_flow": {
        "ReLU: logits moved by the flow": 1e-13,
        "ReLU: <grad L, M theta>, largest": 1e-13,
        "linear: <grad L, M theta> of all of gl(h)": 1e-12,
        "digits: exact law of the drift": 1e-8,
        "valley: loss changed": 1e-12,
        "valley: Q missed": 1e-12,
        "scalar: sharpness from the first Q": 1e-6,
    },
    "hidden_symmetries": {
        "slope": 1e-13,
        "walk: function changed": 1e-8,
    },
    "noether": {
        "logits moved by the flow": 1e-12,
        "<g, q> / |g||q|, largest": 1e-12,
        "exact law, every filter at every step": 1e-4,
        "exact law, every unit at every step": 1e-4,
        "exact law, every translation at every step": 1e-4,
        "exact law, fixed arm": 1e-4,
        "attention: exact law": 1e-12,
    },
    "relu_equivariance": {
        "VGG11: the mirror of the mirror": 1e-5,
        "VGG11: function moved by the matching": 1e-5,
        "VGG11: invariance of the matched": 1e-4,
        "VGG11: invariance of the repaired": 1e-4,
        "own: the mirror of the mirror": 1e-5,
        "own: function moved by the matching": 1e-5,
        "own: invariance of the matched": 1e-5,
        "own: invariance of the repaired": 1e-4,
    },
    "teleportation": {
        "Booth: squared gradient over 36 L, minus 1": 1e-13,
        "Rosenbrock: function moved by a jump": 1e-11,
        "Booth: function moved by a jump": 1e-13,
        "leaky ReLU: function moved by a jump": 1e-13,
        "linear: function moved by a jump": 1e-13,
        "Rosenbrock: loss with jumps over loss without": 1e-20,
        "Booth: loss with jumps over loss without": 1e-3,
        "leaky ReLU: loss with jumps over loss without": 0.98,
        "linear: loss with jumps over loss without": 0.9,
    },
    "your_model": {
        "outputs moved by permute": 1e-12,
        "outputs moved by rescale": 1e-12,
        "outputs moved by flip": 1e-12,
        "outputs moved by mix": 1e-11,
        "SGD, linear/query: law": 1e-11,
        "SGD, scalings/all: law": 1e-11,
        "SGD, shifts/value: first order": 1e-11,
        "Adam, linear/value: residual": 1e-12,
        "Adam, scalings/embed: law": 1e-11,
    },
}


@pytest.fixture(autouse=True)
def compile_quickly(monkeypatch: pytest.MonkeyPatch, quick_compilation: str) -> None:
    """Compiling is nearly all of a reduced run's time, and what it computes is small."""
    monkeypatch.setenv("XLA_FLAGS", quick_compilation)


def _parameters(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


def _names(source: str) -> list[str]:
    return [target.id for line in ast.parse(source).body for target in line.targets]


def _execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    # the checkout need not be installed, and the reader's own settings of IPython stay out
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "IPYTHONDIR": str(folder / "ipython"),
        "JAX_PLATFORMS": "cpu",
    }
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)


# half a minute and more of compiling each
RUNS = [
    pytest.param(
        path,
        id=path.stem,
        marks=[pytest.mark.slow]
        * (path.stem in {"gradient_flow", "noether", "relu_equivariance", "teleportation", "your_model"}),
    )
    for path in NOTEBOOKS
]


@pytest.mark.parametrize("path", RUNS)
def test_notebook_runs_and_its_numbers_hold(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = _parameters(notebook)
    assert path.stem in REDUCED, f"{path.name} has no reduced parameters in {Path(__file__).name}"
    assert _names(REDUCED[path.stem]) == _names(parameters.source)
    parameters.source = REDUCED[path.stem]
    notebook.cells.append(nbformat.v4.new_code_cell("import json; print(json.dumps(measured))"))

    _execute(notebook, tmp_path)

    measured = json.loads(notebook.cells[-1].outputs[0].text)
    assert all(math.isfinite(value) for value in measured.values())
    for name, largest in LARGEST[path.stem].items():
        assert measured[name] <= largest, name
    warned = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not warned


def test_a_number_out_of_bounds_stops_the_run(tmp_path: Path) -> None:
    """The last cell of the notebook refuses what an earlier cell measured."""
    notebook = nbformat.read(ROOT / "notebooks" / "noether.ipynb", as_version=4)
    last = notebook.cells[-1]
    bounds = "import numpy as np\nmeasured = dict.fromkeys(%r, 1e3)"
    tree = next(line for line in ast.parse(last.source).body if isinstance(line, ast.Assign))
    names = [ast.literal_eval(key) for key in tree.value.keys]
    notebook.cells = [nbformat.v4.new_code_cell(bounds % names), last]
    with pytest.raises(CellExecutionError, match="logits moved by the flow"):
        _execute(notebook, tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook_is_a_clean_run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < 400_000
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert str(Path.home()) not in path.read_text() and "/tmp" not in path.read_text()


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
