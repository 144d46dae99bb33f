"""The README says what is true: its example runs, its commands and links exist."""

import contextlib
import io
import itertools
import re
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_example_finds_symmetries_and_watches_their_charges():
    example, *_ = blocks("python")
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed, jax.numpy_rank_promotion("allow"):
        exec(compile(example, "README.md", "exec"), names)
    assert "2 classes of interchangeable units, 34 continuous dimensions" in printed.getvalue()
    charges = names["state"].charges
    assert max(float(np.max(leaf)) for leaf in jax.tree.leaves(charges.error)) < 1e-5
    params = jax.tree.map(np.asarray, names["params"]["params"])
    writers = np.square(params["layers_0"]["kernel"]).sum(0) + np.square(params["layers_0"]["bias"])
    expected = (writers - np.square(params["layers_2"]["kernel"]).sum(1)) / 2
    np.testing.assert_allclose(charges.measured["scalings"]["layers_0"], expected, rtol=0, atol=1e-5)


def test_example_by_hand_runs_and_the_residual_vanishes():
    _, _, example, *_ = blocks("python")
    names: dict = {}
    # a reader's session has jax's default, which the tests make stricter
    with contextlib.redirect_stdout(io.StringIO()) as printed, jax.numpy_rank_promotion("allow"):
        exec(compile(example, "README.md", "exec"), names)
        residual = names["symmetry_residual"](names["symmetry"], names["loss"], names["params"], names["x"])
        gradient = jax.grad(names["loss"])(names["params"], names["x"])
    assert printed.getvalue().count("hidden") == 3
    assert np.abs(residual["hidden"]).max() < 1e-5 * np.abs(gradient["w"]).max()
    # a wrong degree must be seen
    wrong = names["Scaling"]("rescale", ((names["w"], 1), (names["b"], 1), (names["v"], 1)))
    channel = names["Channel"](8, (names["w"], names["b"], names["v"]), (wrong,))
    with jax.numpy_rank_promotion("allow"):
        symmetry = names["scalings"]({"hidden": channel}, "rescale")
        broken = names["symmetry_residual"](symmetry, names["loss"], names["params"], names["x"])
    assert np.abs(broken["hidden"]).max() > 1e-2


@pytest.mark.slow  # a hundred small programs; the parts have tests of their own
def test_example_merges_a_network_with_its_mirror_image():
    _, example, *_ = blocks("python")
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed, jax.numpy_rank_promotion("allow"):
        exec(compile(example, "README.md", "exec"), names)
        images, logits = names["x"], names["model"].apply
        seen, mirrored = (np.asarray(logits(names[name], images)) for name in ("partner", "mirrored"))
    np.testing.assert_allclose(seen, mirrored, rtol=0, atol=1e-6)
    assert float(printed.getvalue()) < 1e-6 < 1e-3 < np.ptp(mirrored)


def test_second_example_moves_along_the_minimum():
    *_, example, _ = blocks("python")
    names: dict = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed, jax.numpy_rank_promotion("allow"):
            exec(compile(example, "README.md", "exec"), names)
    finally:
        jax.config.update("jax_enable_x64", False)
    u, v, moved = (jax.tree.map(np.asarray, names[name]) for name in ("u", "v", "moved"))
    assert printed.getvalue().startswith("True ")
    np.testing.assert_allclose(moved.u @ moved.v, u @ v, rtol=0, atol=1e-12)
    np.testing.assert_allclose(moved.u.T @ moved.u - moved.v @ moved.v.T, 2 * (u.T @ u - v @ v.T), rtol=0, atol=1e-10)


@pytest.mark.slow  # a training, and curvature twice
def test_third_example_balances_a_trained_network():
    *_, example = blocks("python")
    names: dict = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed, jax.numpy_rank_promotion("allow"):
            exec(compile(example, "README.md", "exec"), names)
            before, after = (float(names["loss"](names[name].params)) for name in ("run", "balanced"))
    finally:
        jax.config.update("jax_enable_x64", False)
    drift, balanced = printed.getvalue().splitlines()[:2]
    assert balanced.startswith("True ") and abs(after - before) < 1e-12
    assert all(0 < float(number) < 1e-2 for number in re.findall(r"Array\(([\d.e-]+)", drift))
    for layer, reader in itertools.pairwise(names["balanced"].params):
        writers = np.square(layer.kernel).sum(0) + np.square(layer.bias)
        np.testing.assert_allclose(writers, np.square(reader.kernel).sum(1), rtol=1e-10)


def test_example_fits_fifteen_statements():
    example, *_ = blocks("python")
    code = [line for line in example.splitlines() if line.strip() and not line.startswith(("from", "import"))]
    assert len(code) <= 15


def test_both_commands_are_what_ci_runs_in_their_order():
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) == 2
    run = (ROOT / ".ci" / "run").read_text()
    assert run.index(commands[0]) < run.index(commands[1])


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_modules_named_in_commands_exist():
    modules = set(re.findall(r"python -m (papers[\w.]+)", README))
    assert modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
