"""The papers a report knows: their titles, and what each says in each of its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Figure(NamedTuple):
    """A figure of a paper.

    Attributes:
        says: what the paper says there.
        picture: what the names of its pictures begin with, where a run has pictures of several figures.
        headline: words of the claim that says most about it, where several decide alike.
    """

    says: str
    picture: str = ""
    headline: str = ""


class Paper(NamedTuple):
    """A paper: its title and its figures, named as the claims name them."""

    title: str
    figures: Mapping[str, Figure]


PAPERS: Mapping[str, Paper] = {
    "noether": Paper(
        "Tanaka & Kunin 2021, Noether's Learning Dynamics",
        {
            "norm dynamics": Figure(
                "filter norms follow from the symmetry that the learning rule breaks (Eq. 17)", "norms"
            ),
            "panel A": Figure(
                "free norms match fixed ones at learning rate 0.001 and win at 0.03", "panel_a", "above fixed"
            ),
            "panel B": Figure("the gap between free and fixed norms opens at high momentum", "panel_b"),
            "panel C": Figure("weight decay above 0 improves accuracy and loss with free norms", "panel_c"),
            "panel D": Figure("larger initial filters: the same loss at first, then slower learning", "panel_d"),
            "Fig. 1a": Figure("a symmetry of the potential maps motions to motions", "toy_rotated_starts"),
            "Fig. 2": Figure("a charge decays as exp(-mu t/m)", "toy_charge_decay"),
            "conserved surfaces": Figure("each symmetry confines gradient flow to a surface", "toy_conserved_surfaces"),
            "discretisation": Figure(
                "the modified equation follows SGD where gradient flow does not", "toy_discretisation"
            ),
            "valley": Figure("free norms lower the effective learning rate where gradients are large", "toy_valley"),
            "Eq. 18": Figure("a normalised network under SGD follows RMSProp", "toy_rmsprop"),
        },
    ),
    "gradient_flow": Paper(
        "Zhao et al. 2023, Symmetries, Flat Minima, and the Conserved Quantities of Gradient Flow",
        {
            "Fig. 1": Figure("minima extend along the orbits of the symmetry, and Q labels their points"),
            "Fig. 2": Figure("gradient flow keeps Q, which parametrises the minimum"),
            "Fig. 3": Figure("under gradient descent Q drifts little, in proportion to the learning rate"),
            "Fig. 4": Figure("usual starts concentrate Q, for every activation"),
            "Fig. 5": Figure("usual starts concentrate Q, for every shape"),
            "Fig. 6": Figure("larger initial scale, so another Q, converges faster"),
            "Fig. 7": Figure("radial activations: smaller Q converges faster, one curve in t/Q"),
            "Fig. 8": Figure("Q decides the rate of convergence and the sharpness of the minimum"),
            "Fig. 9": Figure("larger scale and |Q|, sharper minimum"),
            "Fig. 10": Figure("ensembles by the group's data-dependent action keep accuracy, others fall to chance"),
            "Fig. 11": Figure("group ensembles are more robust to adversarial examples"),
            "fixed function": Figure("not in the paper: what Q alone does at an unchanged function"),
            "real network (not in the paper)": Figure("not in the paper: Q in a VGG11 in training"),
            "training": Figure("Q is conserved by gradient flow; the paper watches two layers"),
        },
    ),
    "relu_equivariance": Paper(
        "Bökman & Kahl 2023, Investigating how ReLU-networks encode symmetries",
        {
            "merging": Figure("a network and its mirror image merge at a low barrier", "merging", "flipped self"),
            "Table 1": Figure("seven kinds of VGG11: the barrier falls with the invariance error", "table_1", "(i)"),
            "ImageNet": Figure(
                "a pretrained ResNet-50 and its mirror image merge at a low barrier after REPAIR", "stages", "barrier"
            ),
            "ImageNet, trained here": Figure(
                "the same of a network of a quarter of the width, trained on 1,500 photographs", "stages", "barrier"
            ),
            "identifiable": Figure(
                "a later paper's: an identifiable invariant network is equivariant layer by layer",
                "identifiable",
                "trained, identifiable",
            ),
            "groups": Figure(
                "left open: do networks merge with turned images as they do with mirror images?",
                "groups",
                "largest over",
            ),
        },
    ),
    "hidden_symmetries": Paper(
        "Grigsby, Lindsey, Rolnick 2023, Hidden Symmetries of ReLU Networks",
        {
            "Fig. 6": Figure("hidden symmetries become certain with depth and rare with width", "figure_6", "width 5"),
            "mechanisms": Figure(
                "units off or always on, and images in small subspaces, make hidden symmetries", "mechanisms"
            ),
            "sweep": Figure("hidden symmetries become rare with the input dimension", "sweep"),
            "all regions": Figure("not in the paper: exact dimensions, and what takes the rest", "all_regions"),
            "training": Figure(
                "another paper's: training lowers the dimension on the data, not on random inputs", "training"
            ),
        },
    ),
}
