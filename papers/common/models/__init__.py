"""The networks of the papers, as Flax modules, with their initialisation.

A model added to :data:`MODELS` is offered by every command line that takes one. Nothing heavy is imported before a
model is built, so that a command line knows the names.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from papers.common.models.initialisation import initialise
    from papers.common.models.mlp import MLP
    from papers.common.models.resnet import ResNet18
    from papers.common.models.resnet50 import ResNet50
    from papers.common.models.vgg import VGG11
    from papers.common.models.vit import ViT

__all__ = ["MLP", "MODELS", "VGG11", "ModelName", "ResNet18", "ResNet50", "ViT", "initialise"]

_HOMES = {
    **{"MLP": "mlp", "VGG11": "vgg", "ResNet18": "resnet", "ResNet50": "resnet50", "ViT": "vit"},
    "initialise": "initialisation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def _of(name: str, **options: Any) -> Callable[[int, float, Any], Any]:
    return lambda classes, width, dtype: __getattr__(name)(classes, width, dtype=dtype, **options)


MODELS: dict[str, Callable[[int, float, Any], Any]] = {
    "vgg11": _of("VGG11"),
    "resnet18": _of("ResNet18", norm="group"),
    "resnet18-bn": _of("ResNet18", norm="batch"),
    "vit": _of("ViT"),
}
"""Name -> ``build(classes, width, dtype)``, a module as :func:`initialise` takes it."""

ModelName = Literal[tuple(MODELS)]
"""The names, as a command line offers them."""
