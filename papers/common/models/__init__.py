"""The networks of the papers, as Flax modules, with their initialisation and their hidden channels."""

from papers.common.models.initialisation import initialise
from papers.common.models.mlp import MLP
from papers.common.models.vgg import VGG11, vgg11_channels

__all__ = ["MLP", "VGG11", "initialise", "vgg11_channels"]
