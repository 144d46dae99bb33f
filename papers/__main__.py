"""``python -m papers``: the papers, and how to ask each for its figures."""

import ast
from pathlib import Path

from papers.common.cli import show


def papers_map() -> str:
    """One line a paper: its command and the first line of its package; the package itself is not imported."""
    lines = []
    for claims in sorted(Path(__file__).parent.glob("*/claims.py")):
        if claims.parent.name != "common":
            package = ast.parse((claims.parent / "__init__.py").read_text(encoding="utf-8"))
            lines.append(f"python -m papers.{claims.parent.name}\n    {ast.get_docstring(package).splitlines()[0]}")
    return "\n".join([*lines, "python -m papers.report\n    What reproduced, of all of them."])


if __name__ == "__main__":
    show(papers_map())
