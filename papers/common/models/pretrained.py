"""Pretrained weights of a ResNet-50, from files that hold arrays and nothing else, or from a finished training."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.errors import UserError
from papers.common.finished import load_json
from papers.common.models.resnet50 import Layout, ResNet50, keras_names, torchvision_names
from papers.common.network import NETWORK, load
from papers.common.paths import user_path

SHOWN = 5
"""So many differences between a file and the network are listed."""

PICKLES = frozenset((".pth", ".pt", ".pkl", ".pickle", ".bin", ".ckpt"))
"""Endings of files that run programs when they are opened."""


class Preparation(NamedTuple):
    """What a network's images must be like.

    Attributes:
        layout: of the weights.
        scale: by which values 0 to 255 are multiplied.
        mean: of each channel, subtracted after that, in the order of the channels.
        std: of each channel, divided by.
        reverse: whether the channels are blue, green, red.
    """

    layout: Layout
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    reverse: bool


PREPARATIONS = {
    "torchvision": Preparation("torchvision", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False),
    "keras": Preparation("keras", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True),
}


class Pretrained(NamedTuple):
    """A pretrained network: the module, its variables, what its images must be like, and what it is in words."""

    model: ResNet50
    variables: dict[str, Any]
    preparation: Preparation
    words: str


def read_resnet50(path: str | Path) -> Pretrained:
    """Read a ResNet-50 from safetensors with torchvision's names, from an npz with those of Keras, or from a run.

    Args:
        path: the file, whose ending tells what it holds, ``.safetensors`` or ``.npz``; or the directory of a finished
            ``papers.relu_equivariance.train_resnet50``.

    Returns:
        The network; the number of classes and the width are those of its arrays.

    Raises:
        UserError: no such file, a pickle, or arrays whose names or shapes do not fit (the first differences are shown).
    """
    path = user_path(path)
    if path.is_dir():
        return _from_run(path)
    if not path.is_file():
        raise UserError(
            f"{path} is no file: --weights takes a .safetensors or .npz file of a ResNet-50, or the directory of a "
            "finished training of one"
        )
    layout = {".safetensors": "torchvision", ".npz": "keras"}.get(path.suffix.lower())
    if layout is None and not PICKLES.isdisjoint(suffix.lower() for suffix in path.suffixes):
        raise UserError(
            f"{path} is a pickle, which may run any program when it is opened: convert it to safetensors where it "
            "comes from (`safetensors.torch.save_file(torch.load(...), ...)`)"
        )
    if layout is None:
        raise UserError(f"{path} ends in {path.suffix or 'nothing'}: --weights takes a .safetensors or .npz file")
    arrays = _safetensors(path) if layout == "torchvision" else _npz(path)
    model = _model(path, arrays, layout)
    words = f"ResNet-50, {model.classes} classes, pretrained ({layout} layout, {path.name})"
    return Pretrained(model, _fitted(path, model, arrays), PREPARATIONS[layout], words)


def _from_run(path: Path) -> Pretrained:
    """The network of a finished training, whatever it was trained on."""
    network = load(path)
    options = load_json(network.path, f"{NETWORK}.json")["options"]
    if sorted(options) != ["classes", "layout", "width"]:
        raise UserError(f"the run in {path} left no ResNet-50: name one of papers.relu_equivariance.train_resnet50")
    model = ResNet50(**options)
    words = load_json(network.path, "summary.json")["words"]
    return Pretrained(model, network.variables, PREPARATIONS[model.layout], words)


def _model(path: Path, arrays: dict[str, np.ndarray], layout: Layout) -> ResNet50:
    """The network whose last and first layers have the file's shapes."""
    ends = {"conv1.weight": 4, "fc.weight": 2} if layout == "torchvision" else {"conv1/kernel": 4, "fc1000/kernel": 2}
    for name, axes in ends.items():
        if name not in arrays:
            raise UserError(f"{path} has no array {name}: it is no ResNet-50 in the layout of {layout}")
        if arrays[name].ndim != axes or not arrays[name].size:
            raise UserError(
                f"{path} does not fit a ResNet-50 ({layout}): {name} has shape {arrays[name].shape}, not {axes} axes"
            )
    out = 0 if layout == "torchvision" else -1
    stem, dense = (arrays[name].shape[out] for name in ends)
    return ResNet50(dense, stem / 64, layout)


def _fitted(path: Path, model: ResNet50, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The file's arrays at the network's leaves, in their shapes."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), image)
    flat, structure = jax.tree_util.tree_flatten_with_path(shapes)
    name_of = torchvision_names if model.layout == "torchvision" else keras_names
    order = _TORCH if model.layout == "torchvision" else {}
    wanted = {name_of(tuple(entry.key for entry in place)): leaf.shape for place, leaf in flat}
    # torchvision counts the batches that its statistics have seen
    found = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    differences = [f"{name} is missing" for name in wanted if name not in found]
    differences += [f"{name} is not of the network" for name in found if name not in wanted]
    leaves = []
    for name, shape in wanted.items():
        if (array := found.get(name)) is None:
            continue
        axes = order.get(len(shape), tuple(range(len(shape))))
        its = tuple(shape[axis] for axis in np.argsort(axes))
        if array.shape != its:
            differences.append(f"{name} has shape {array.shape}, not {its}")
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            differences.append(f"{name} holds {array.dtype}, not floating-point numbers")
        else:
            with np.errstate(over="ignore"):  # beyond float32 is infinite, which the next line says
                leaves.append(array.astype(np.float32).transpose(axes))
            if not np.isfinite(leaves[-1]).all():
                differences.append(f"{name} is not finite")
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise UserError(f"{path} does not fit a ResNet-50 ({model.layout}): {'; '.join(differences[:SHOWN])}{more}")
    return jax.tree.unflatten(structure, leaves)


_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}
"""Axes of torchvision's kernels (out, in, height, width) and (out, in), in the order of the network's."""


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no zip archive, or one that was cut off")
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is no readable npz of arrays ({error})") from None


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError:
        raise UserError(f"{path} needs safetensors to be read: pip install 'symjax-papers[pretrained]'") from None
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no readable safetensors file ({error})") from None
    except (AttributeError, KeyError, TypeError) as error:  # how safetensors says that NumPy has no such numbers
        raise UserError(f"{path} holds numbers of a kind that cannot be read ({error}): store float32") from None
