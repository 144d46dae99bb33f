"""The network that a finished run leaves: its variables, and the function that builds its forward pass again.

``network.npz`` holds the variables, ``network.json`` the function by its name and its options, so that a run opens in
one line, without the state that it was trained from and whatever paper it is of.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from papers.common.allocation import CONFIG
from papers.common.errors import UserError
from papers.common.finished import is_finished, load_arrays, load_json, read_config
from papers.common.paths import user_path

NETWORK = "network"
HISTORY = "history.npz"
SEPARATOR = "/"

Apply = Callable[[Any, Any], Any]


class Network(NamedTuple):
    """A finished run, opened.

    Attributes:
        apply: ``apply(variables, x)``, the outputs of the network in evaluation mode, pure; x as the network saw it,
            for images normalised.
        variables: nested dicts of NumPy arrays: ``{"params": ...}``, with ``"batch_stats"`` where there are any.
        config: the run's configuration as it was recorded.
        arrays: what the run recorded on its way, by name.
        path: the run's directory.
    """

    apply: Apply
    variables: dict[str, Any]
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    path: Path


def describe(build: Callable[..., Apply], options: Mapping[str, Any]) -> dict[str, Any]:
    """Name a function of the papers' packages, at the top of its module, and the options that it takes."""
    if getattr(importlib.import_module(build.__module__), build.__qualname__, None) is not build:
        raise ValueError(f"{build} is no function at the top of a module: it could not be found again")
    return {"build": f"{build.__module__}:{build.__qualname__}", "options": dict(options)}


def flatten(variables: Mapping[str, Any], before: str = "") -> dict[str, np.ndarray]:
    """Write nested dicts of arrays as one dict, the names joined by strokes.

    >>> flatten({"params": {"dense": {"bias": np.zeros(2)}}})
    {'params/dense/bias': array([0., 0.])}
    """
    flat = {}
    for name, value in variables.items():
        if SEPARATOR in name:
            raise ValueError(f"{name!r} has a stroke, which separates the names of nested dicts")
        inner = flatten(value, f"{before}{name}{SEPARATOR}") if isinstance(value, Mapping) else None
        flat |= {f"{before}{name}": np.asarray(value)} if inner is None else inner
    return flat


def nest(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Undo :func:`flatten`."""
    nested: dict[str, Any] = {}
    for path, array in flat.items():
        *outer, last = path.split(SEPARATOR)
        place = nested
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = array
    return nested


def load(path: str | Path, name: str = NETWORK) -> Network:
    """Open a finished run of any paper: its configuration, ``apply``, variables, recorded arrays.

    Args:
        path: the run's directory; of a training of one seed, the directory above it will do.
        name: of the network, where one run left several.

    Raises:
        UserError: there is no run, it is not finished, it left no network, or a file of it is damaged.
    """
    folder = _only_network(user_path(path))
    if not is_finished(folder):
        raise UserError(f"the run in {folder} is not finished: continue it with --resume")
    if not (folder / f"{name}.json").is_file():
        several = sorted(file.stem for file in folder.glob(f"{NETWORK}*.json"))
        remedy = f"name one of {', '.join(several)}" if several else "name the directory of a training"
        raise UserError(f"the run in {folder} left no network{' of the name ' + name if several else ''}: {remedy}")
    record, variables = load_json(folder, f"{name}.json"), nest(load_arrays(folder, f"{name}.npz"))
    arrays = load_arrays(folder, HISTORY) if (folder / HISTORY).is_file() else {}
    apply = _found_again(record["build"], folder)(**record["options"])
    return Network(apply, variables, dict(read_config(folder)["config"]), arrays, folder)


def _only_network(path: Path) -> Path:
    if not (path / CONFIG).is_file():
        raise UserError(f"{path} holds no run (no {CONFIG}): name the directory of a training of the papers")
    below = sorted(file.parent for file in path.glob(f"*/{CONFIG}"))
    if (path / f"{NETWORK}.json").is_file() or not below:
        return path
    if len(below) > 1:
        names = ", ".join(folder.name for folder in below[:3]) + (", ..." if len(below) > 3 else "")
        raise UserError(f"{path} holds {len(below)} networks ({names}): name the directory of one of them")
    return below[0]


def _found_again(name: str, folder: Path) -> Callable[..., Apply]:
    module, _, function = name.partition(":")
    try:
        if module.split(".")[0] != "papers":
            raise ImportError(name)
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        raise UserError(
            f"the network of {folder} was built by {name}, which this version lacks: open it with the version that its "
            f"{CONFIG} names"
        ) from None
