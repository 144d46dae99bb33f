"""Pretrained weights of a ResNet-50, from files that hold arrays and nothing else, or from a finished training."""

import zipfile
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
    if path.suffix in (".pth", ".pt", ".pkl", ".pickle", ".bin"):
        raise UserError(
            f"{path} is a pickle, which may run any program when it is opened: convert it to safetensors where it "
            "comes from (`safetensors.torch.save_file(torch.load(...), ...)`)"
        )
    layout = {".safetensors": "torchvision", ".npz": "keras"}.get(path.suffix)
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
    stem, dense = ("conv1.weight", "fc.weight") if layout == "torchvision" else ("conv1/kernel", "fc1000/kernel")
    if missing := [name for name in (stem, dense) if name not in arrays]:
        raise UserError(f"{path} has no array {missing[0]}: it is no ResNet-50 in the layout of {layout}")
    out = 0 if layout == "torchvision" else -1
    return ResNet50(arrays[dense].shape[out], arrays[stem].shape[out] / 64, layout)


def _fitted(path: Path, model: ResNet50, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The file's arrays at the network's leaves, in their shapes."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), image)
    flat, structure = jax.tree_util.tree_flatten_with_path(shapes)
    name_of = torchvision_names if model.layout == "torchvision" else keras_names
    wanted = {name_of(tuple(entry.key for entry in place)): leaf.shape for place, leaf in flat}
    # torchvision counts the batches that its statistics have seen
    found = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    if model.layout == "torchvision":
        found = {name: _from_torch(array) for name, array in found.items()}
    differences = [f"{name} is missing" for name in wanted if name not in found]
    differences += [f"{name} is not of the network" for name in found if name not in wanted]
    differences += [
        f"{name} has shape {found[name].shape}, not {shape}"
        for name, shape in wanted.items()
        if name in found and found[name].shape != shape
    ]
    differences += [f"{name} is not finite" for name in wanted if name in found and not np.isfinite(found[name]).all()]
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise UserError(f"{path} does not fit a ResNet-50 ({model.layout}): {'; '.join(differences[:SHOWN])}{more}")
    return jax.tree.unflatten(structure, [np.asarray(found[name], np.float32) for name in wanted])


def _from_torch(array: np.ndarray) -> np.ndarray:
    """Kernels (out, in, height, width) as (height, width, in, out), (out, in) as (in, out); vectors as they are."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
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
