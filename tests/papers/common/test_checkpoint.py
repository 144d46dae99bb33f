"""Checkpoints return to the bit, and damage of every kind is noticed and walked around."""

import errno
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.common import checkpoint, manifest
from papers.common.checkpoint import Checkpoints
from papers.common.errors import UserError


class State(NamedTuple):
    step: jax.Array
    params: dict
    optimiser: optax.OptState
    key: jax.Array


def state(scale=1.0):
    params = {"conv": {"kernel": scale * jnp.arange(6.0).reshape(2, 3)}, "bias/odd.name": jnp.full((), scale)}
    optimiser = optax.chain(optax.add_decayed_weights(1e-3), optax.trace(0.9), optax.scale_by_learning_rate(0.1))
    return State(jnp.int32(scale), params, optimiser.init(params), jax.random.PRNGKey(3))


def identical(one, other):
    """Same structure, types, shapes, dtypes and bytes."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert type(left) is type(right)
        if hasattr(left, "dtype") and jax.dtypes.issubdtype(left.dtype, jax.dtypes.prng_key):
            assert left.dtype == right.dtype
            left, right = jax.random.key_data(left), jax.random.key_data(right)
        left, right = np.asarray(left), np.asarray(right)
        assert (left.shape, left.dtype, left.tobytes()) == (right.shape, right.dtype, right.tobytes())
    return True


@pytest.fixture
def two_steps(tmp_path):
    """A directory with the steps 5 and 7."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(5, state(5.0))
        checkpoints.save(7, state(7.0))
    return tmp_path / "checkpoints"


def walks_back(directory, reason):
    """Step 7 is skipped for a reason and set aside, 5 restored, and the run goes on saving."""
    with Checkpoints(directory) as checkpoints:
        step, tree, _, skipped = checkpoints.restore(state())
        assert step == 5 and identical(tree, state(5.0))
        assert len(skipped) == 1 and skipped[0].step == 7 and reason in skipped[0].reason, skipped
        assert (directory / "bad-7").is_dir() and not (directory / "7").exists()
        checkpoints.save(6, state(6.0))
        checkpoints.save(7, state(7.5))
        assert checkpoints.steps() == [6, 7]
    step, tree, _, skipped = Checkpoints(directory).restore(state())
    assert step == 7 and identical(tree, state(7.5)) and skipped == []


def test_a_training_state_returns(two_steps):
    step, tree, _, skipped = Checkpoints(two_steps).restore(state())
    assert step == 7 and identical(tree, state(7.0)) and skipped == []
    shapes = jax.eval_shape(lambda: state())
    assert identical(Checkpoints(two_steps).restore(shapes).tree, state(7.0))


def test_every_dtype_returns(tmp_path):
    names = (
        "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
    )
    tree = {name: np.array([[0, 1, 3]]).astype(jnp.dtype(name)) for name in names.split()}
    tree |= {f"{name} without axes": array[0, 2] for name, array in tree.items()}
    tree |= {"array without axes": np.array(1.5, np.float32), "empty": np.zeros((0, 3), np.float32)}
    tree |= {"big": np.array([1.0, 2.0], ">f4").astype("=f4"), "nan": np.array([np.nan, -0.0, np.inf])}
    tree |= {"int": 3, "float": 0.1, "flag": True, "count": np.int64(2**40), "none": None, "nothing": ()}
    tree |= {
        "jax": jnp.ones(2, jnp.bfloat16),
        "typed key": jax.random.key(1),
        "keys": jax.random.split(jax.random.key(2)),
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, tree)
        assert identical(checkpoints.restore(tree).tree, tree)


def test_float64_returns_under_x64_and_is_refused_without(tmp_path):
    with jax.enable_x64(True):
        tree = {"x": jnp.array([0.1])}
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(0, tree)
            assert checkpoints.restore(tree).tree["x"].dtype == jnp.float64
    with pytest.raises(ValueError, match="jax_enable_x64"):
        Checkpoints(tmp_path).restore(tree)


@settings(max_examples=5, deadline=None)
@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8))
def test_any_bits_return(tmp_path_factory, bits):
    array = np.array(bits, np.uint32).view(np.float32)
    with Checkpoints(tmp_path_factory.mktemp("bits")) as checkpoints:
        checkpoints.save(1, [array])
        assert checkpoints.restore([array]).tree[0].tobytes() == array.tobytes()


def test_only_the_newest_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 10):
            checkpoints.save(step, state(step))
        assert checkpoints.steps() == [3, 10]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["10", "3", "manifest-10.json", "manifest-3.json"]


def largest(directory):
    return max(
        (item for item in (directory / "default").rglob("*") if item.is_file()), key=lambda item: item.stat().st_size
    )


def test_a_flipped_bit_of_an_array(two_steps):
    """Wherever a bit flips in the file that holds the arrays, the tree is never wrong: step 7 intact, or step 5."""
    data = largest(two_steps / "7")
    content = data.read_bytes()
    outcomes = set()
    for position in range(0, len(content), max(1, len(content) // 12)):
        shutil.rmtree(two_steps.with_name("copy"), ignore_errors=True)
        copy = shutil.copytree(two_steps, two_steps.with_name("copy"))
        changed = bytearray(content)
        changed[position] ^= 1
        (copy / data.relative_to(two_steps)).write_bytes(changed)
        step, tree, *_ = Checkpoints(copy).restore(state())
        assert identical(tree, state(float(step)))
        outcomes.add(int(step))
    assert 5 in outcomes


def test_changed_values_under_an_intact_container(two_steps):
    """What orbax itself would restore without a word: one bit of a value."""
    arrays, _ = manifest.take_apart(state(7.0))
    arrays = {name: array.copy() for name, array in arrays.items()}
    arrays["leaf_00002"].view(np.uint8)[0, 0] ^= 1
    rewrite(two_steps / "7", arrays)
    walks_back(two_steps, "the SHA-256 of .params['conv']['kernel']")


def rewrite(folder, arrays):
    shutil.rmtree(folder / "default")
    with ocp.StandardCheckpointer() as writer:
        writer.save(folder / "default", arrays)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda array: array.astype(np.float64), "is float64[2, 3] instead of float32[2, 3]"),
        (lambda array: array.reshape(3, 2), "is float32[3, 2] instead of float32[2, 3]"),
        (lambda array: array[0, 0], "is float32[] instead of float32[2, 3]"),
    ],
)
def test_a_changed_dtype_or_shape(two_steps, change, reason):
    arrays, _ = manifest.take_apart(state(7.0))
    arrays["leaf_00002"] = np.asarray(change(arrays["leaf_00002"]))
    rewrite(two_steps / "7", arrays)
    walks_back(two_steps, reason)


def test_a_truncated_file(two_steps):
    data = largest(two_steps / "7")
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    walks_back(two_steps, "it cannot be read")


def test_a_missing_leaf(two_steps):
    arrays, _ = manifest.take_apart(state(7.0))
    del arrays["leaf_00002"]
    rewrite(two_steps / "7", arrays)
    walks_back(two_steps, "it cannot be read")


def test_a_missing_manifest(two_steps):
    (two_steps / "manifest-7.json").unlink()
    walks_back(two_steps, "its manifest is missing")


@pytest.mark.parametrize(
    "change", ["cut", "edited", "renamed", "null", "list", "number", "no json", "binary", "of another run"]
)
def test_a_damaged_manifest(two_steps, change):
    file = two_steps / "manifest-7.json"
    if change == "cut":
        file.write_text(file.read_text()[:-40])
    elif change == "edited":
        body = json.loads(file.read_text())
        body["leaves"][0]["dtype"] = "int16"
        file.write_text(json.dumps(body))
    elif change == "renamed":
        shutil.copy(two_steps / "manifest-5.json", file)
    elif change == "of another run":
        file.write_bytes(manifest.encode(7, "another", manifest.decode(7, "", file.read_bytes())))
    else:
        file.write_bytes(
            {"null": b"null", "list": b"[]", "number": b"7", "no json": b"{", "binary": b"\xff\x00"}[change]
        )
    walks_back(two_steps, "its manifest is damaged")


def test_an_empty_numeric_folder(two_steps):
    shutil.rmtree(two_steps / "7")
    (two_steps / "7").mkdir()
    walks_back(two_steps, "its folder is empty")


def test_an_empty_numeric_folder_does_not_stop_saving(two_steps):
    (two_steps / "900").mkdir()
    with Checkpoints(two_steps) as checkpoints:
        checkpoints.save(8, state(8.0))
        assert checkpoints.steps() == [7, 8]
    assert (two_steps / "bad-900").is_dir()


def test_an_empty_folder_that_appears_later_does_not_stop_saving(two_steps):
    with Checkpoints(two_steps) as checkpoints:
        checkpoints.save(8, state(8.0))
        (two_steps / "9").mkdir()
        checkpoints.save(9, state(9.0))
    assert (two_steps / "bad-9").is_dir()
    assert Checkpoints(two_steps).restore(state()).step == 9


def test_the_answer_of_orbax_is_asserted(two_steps, monkeypatch):
    monkeypatch.setattr(ocp.CheckpointManager, "save", lambda *arguments, **keywords: False)
    with Checkpoints(two_steps) as checkpoints, pytest.raises(RuntimeError, match="step 8 was not written"):
        checkpoints.save(8, state(8.0))
    assert not (two_steps / "manifest-8.json").exists()


def test_what_a_killed_save_leaves(two_steps):
    shutil.copytree(two_steps / "7", two_steps / "8.orbax-checkpoint-tmp-1")
    (two_steps / "manifest-8.json").write_text("{}")
    (two_steps / "9" / "default").mkdir(parents=True)
    with Checkpoints(two_steps) as checkpoints:
        step, tree, _, skipped = checkpoints.restore(state())
        assert step == 7 and identical(tree, state(7.0)) and [item.step for item in skipped] == [9]
        checkpoints.save(8, state(8.0))
    assert Checkpoints(two_steps).restore(state()).step == 8


def test_a_save_that_is_really_killed(tmp_path):
    """Killed when orbax has written its files and is about to give the step its name."""
    script = textwrap.dedent(
        """
        import os, signal, sys
        import numpy as np
        from papers.common.checkpoint import Checkpoints
        checkpoints = Checkpoints(sys.argv[1])
        checkpoints.save(1, {"x": np.ones(3)})
        os.rename = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        checkpoints.save(2, {"x": np.zeros(3)})
        """
    )
    root = Path(checkpoint.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -9, done.stderr
    assert any(item.name.startswith("2.orbax-checkpoint-tmp") for item in tmp_path.iterdir())
    with Checkpoints(tmp_path) as checkpoints:
        step, tree, *_ = checkpoints.restore({"x": np.zeros(3)})
        assert step == 1 and tree["x"].tolist() == [1.0, 1.0, 1.0]
        checkpoints.save(2, {"x": np.zeros(3)})
        assert checkpoints.restore({"x": np.zeros(3)}).step == 2


FILLED = """
import resource, sys
import numpy as np
from papers.common.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1], "run")
noise = np.random.default_rng(0).normal(size=200_000)
checkpoints.save(1, {"x": noise}, {"history": noise[:100]})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(2, {"x": noise + 1}, {"history": noise[:100]})
except OSError as error:
    print("OSError", error.errno, error.strerror)
"""


def test_a_disk_that_is_really_full(tmp_path):
    """No file may grow beyond 100 kB: an error with the number of a full disk, and the step before is whole."""
    root = Path(checkpoint.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FILLED, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith("OSError ") and int(done.stdout.split()[1]) in (errno.ENOSPC, errno.EFBIG), done
    restored = Checkpoints(tmp_path, "run").restore({"x": np.zeros(200_000)})
    assert restored.step == 1 and restored.beside["history"].shape == (100,)
    assert not (tmp_path / "manifest-2.json").exists() and not (tmp_path / "beside-2.npz").exists()


def test_a_full_disk_is_known_by_whatever_wraps_it():
    def wrapped(error, cause):
        error.__cause__ = cause
        return error

    full = OSError(errno.ENOSPC, "No space left on device")
    assert checkpoint.no_room(full) == errno.ENOSPC
    assert checkpoint.no_room(wrapped(RuntimeError("while saving"), full)) == errno.ENOSPC
    assert checkpoint.no_room(ValueError("INTERNAL: writing: No space left on device [errno 28]")) == errno.ENOSPC
    assert checkpoint.no_room(OSError(errno.EACCES, "Permission denied")) is None


def test_what_lies_beside_a_step_belongs_to_it_and_to_its_run(tmp_path):
    with Checkpoints(tmp_path, "mine") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, {"x": np.zeros(3)}, {"history": np.arange(step)})
    restored = Checkpoints(tmp_path, "mine").restore({"x": np.zeros(3)})
    assert restored.step == 2 and list(restored.beside["history"]) == [0, 1]
    (tmp_path / "beside-2.npz").write_bytes((tmp_path / "beside-1.npz").read_bytes())
    restored = Checkpoints(tmp_path, "mine").restore({"x": np.zeros(3)})
    assert restored.step == 1 and "beside-2.npz" in restored.skipped[0].reason
    with pytest.raises(UserError, match="its run is mine, not another"):
        Checkpoints(tmp_path, "another").restore({"x": np.zeros(3)})


def test_nothing_to_restore(tmp_path, two_steps):
    with pytest.raises(UserError, match="there is none"):
        Checkpoints(tmp_path / "absent").restore(state())
    for step in (5, 7):
        (two_steps / f"manifest-{step}.json").unlink()
    with pytest.raises(UserError, match=r"step 7: its manifest is missing; step 5: its manifest is missing"):
        Checkpoints(two_steps).restore(state())


def test_another_model_is_refused_and_nothing_moved(two_steps):
    before = sorted(item.name for item in two_steps.iterdir())
    other = state()._replace(params={"conv": {"kernel": jnp.zeros((2, 4))}, "new": jnp.zeros(())})
    with pytest.raises(UserError) as error:
        Checkpoints(two_steps).restore(other)
    assert ".params['conv']['kernel'] float32[2, 3] -> float32[2, 4]" in str(error.value)
    assert sorted(item.name for item in two_steps.iterdir()) == before


def test_saving_twice(two_steps):
    with Checkpoints(two_steps) as checkpoints:
        checkpoints.save(7, state(7.0))
        with pytest.raises(RuntimeError, match="other content"):
            checkpoints.save(7, state(8.0))
        with pytest.raises(RuntimeError, match="not written"):
            checkpoints.save(6, state(6.0))
        assert checkpoints.restore(state()).step == 7
    assert not (two_steps / "manifest-6.json").exists()


def test_leaves_that_are_no_numbers_are_refused(tmp_path):
    for leaf in ("text", np.array([object()]), np.array(["a"])):
        with pytest.raises(TypeError, match=r"\['x'\] is .* must be"):
            Checkpoints(tmp_path).save(0, {"x": leaf})
    with pytest.raises(ValueError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)
