"""What an import may load, cost and touch; which way imports point; what no tracked file may contain."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path.relative_to(ROOT) for folder in ("symjax", "papers") for path in (ROOT / folder).rglob("*.py"))
LIBRARY = [path for path in SOURCES if path.parts[0] == "symjax"]
PAPERS = [path for path in SOURCES if path.parts[0] == "papers" and len(path.parts) > 2]

# Every module of the library, imported after jax; answers with what that loaded and whether it touched the backend.
EFFECTS = """
import sys, importlib, json, jax
from jax._src import xla_bridge
values, loaded = dict(jax.config.values), set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps({
    "loaded": sorted({name.split(".")[0] for name in set(sys.modules) - loaded}),
    "changed": [name for name, value in jax.config.values.items() if values.get(name) != value],
    "backends": sorted(xla_bridge._backends),
}))
"""

SECONDS = """
import sys, time, jax
start = time.process_time()
import symjax
print(time.process_time() - start)
"""


def python(program: str, *arguments: str) -> str:
    """Run a program in a fresh interpreter, warnings being errors, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def imported(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield the full name of every module that a file imports, wherever in the file it does so."""
    package = path.parts[:-1]
    for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_every_module_is_an_attribute_of_the_library() -> None:
    """`import symjax` is enough to reach `symjax.curvature`, and what is no module is an AttributeError."""
    public = {path.parts[1].removesuffix(".py") for path in LIBRARY if len(path.parts) > 1}
    hidden = {"__init__", "arguments", "contract", "groups", "magnitude"}  # bookkeeping that the others share
    program = "import symjax; print([getattr(symjax, n).__name__ for n in dir(symjax) if n[0] != '_'])"
    assert set(ast.literal_eval(python(program))) == {f"symjax.{name}" for name in public - hidden}
    assert "True" in python("import symjax; print(not hasattr(symjax, 'nothing'))")


def paper_of(module: str) -> str | None:
    """Return the folder of `papers` that a module belongs to, if any."""
    parts = module.split(".")
    return parts[1] if parts[0] == "papers" and len(parts) > 1 else None


def test_the_library_loads_nothing_but_jax_and_touches_nothing() -> None:
    """No module of symjax loads a package that jax itself has not, changes jax.config or starts a backend."""
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in LIBRARY]
    effects = json.loads(python(EFFECTS, *modules))
    foreign = set(effects["loaded"]) - sys.stdlib_module_names - {"symjax", "jax", "jaxlib", "scipy", "opt_einsum"}
    assert not foreign
    assert effects["changed"] == []
    assert effects["backends"] == [], "a device was allocated at import"


def test_importing_the_library_costs_at_most_a_tenth_of_a_second() -> None:
    """CPU time above that of `import jax`: the best of ten fresh interpreters, most of which neighbours may disturb."""
    assert any(float(python(SECONDS)) <= 0.1 for _ in range(10))


def test_symjax_imports_nothing_of_papers() -> None:
    assert LIBRARY
    assert [(str(path), name) for path in LIBRARY for name in imported(path) if name.split(".")[0] == "papers"] == []


def test_papers_import_only_themselves_and_common() -> None:
    """`papers/common` imports no paper, and no paper another; files directly in `papers` stand above them all."""
    assert PAPERS
    strangers = []
    for path in PAPERS:
        allowed = {None, "common", path.parts[1]}
        strangers += [(str(path), name) for name in imported(path) if paper_of(name) not in allowed]
    assert strangers == []


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    """The two rules above hold only if relative and late imports are read as well."""
    file = Path("symjax", "mechanics", "example.py")
    (tmp_path / file).parent.mkdir(parents=True)
    source = "import papers.noether as n\nfrom . import a\ndef f():\n    from ..b import c\n    from papers import d\n"
    (tmp_path / file).write_text(source, encoding="utf-8")
    assert set(imported(file, tmp_path)) == {"papers.noether", "symjax.mechanics.a", "symjax.b.c", "papers.d"}


def machine_paths() -> str:
    """Match the folders beside this checkout, which exist on this machine only."""
    top = ROOT.parent == Path(ROOT.anchor)
    names = "|".join(re.escape(path.name) for path in ([ROOT] if top else ROOT.parent.iterdir()))
    parent = re.escape(str(ROOT.parent).rstrip("/")) + "/"
    return rf"{parent}(?<![\w.]{parent})(?:{names})(?![\w-])"  # a literal start is found fast


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    """A clone must work anywhere: no home folder, no folder beside this checkout, no package index of one's own."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("not a git checkout, so there are no tracked files to read")
    forbidden = re.compile(
        "|".join([r"/(?:home|Users)/\w+", r"/root/(?<![\w.]/root/)", r"\bindex[-_]url\b", machine_paths()])
    )
    found = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".png", ".npz"} or not path.is_file() or path == Path(__file__).resolve():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for hit in forbidden.finditer(text):
            found.append(f"{name}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}")
    assert found == []
