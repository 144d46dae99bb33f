"""What a sweep is: the axes whose product are its members, checked."""

import dataclasses
import itertools
from typing import ClassVar, Literal, NamedTuple

from papers.common.cli import check
from papers.noether.networks.config import FilterNorm, Setting, check_range


class Member(NamedTuple):
    """Coordinates of one member."""

    initial_scale: float
    learning_rate: float
    momentum: float
    weight_decay: float
    filter_norm: FilterNorm
    seed: int


WIDEST = 65_536

# coordinate of a member -> the axis it is taken from
AXES = {
    "initial_scale": "initial_scales",
    "learning_rate": "learning_rates",
    "momentum": "momenta",
    "weight_decay": "weight_decays",
    "filter_norm": "filter_norms",
    "seed": "seeds",
}


@dataclasses.dataclass(frozen=True)
class SweepConfig(Setting):
    """Train every combination of the axes in one compiled program; by default 12 members of a small VGG11 on digits."""

    place: ClassVar[str] = "noether/sweep"

    model: Literal["vgg11", "mlp"] = "vgg11"
    """Network; the mlp has ReLU units and no BatchNorm, and takes no notice of width and dropout."""

    hidden: tuple[int, ...] = (64,)
    """Widths of the mlp's hidden layers."""

    width: float = 0.125
    """Multiplies the number of channels and hidden units of VGG11; 1 is the paper's."""

    epochs: int = 6
    """Epochs."""

    initial_scales: tuple[float, ...] = (1.0,)
    """Factors on the initial filters of VGG11, on every initial kernel of the mlp."""

    learning_rates: tuple[float, ...] = (0.003, 0.03)
    """Learning rates eta."""

    momenta: tuple[float, ...] = (0.9,)
    """Heavy-ball momenta beta."""

    weight_decays: tuple[float, ...] = (1e-4,)
    """Weight decays k, inside the gradient, on every parameter."""

    filter_norms: tuple[FilterNorm, ...] = ()
    """Norm rules, free and fixed; by default both, and free alone for a network without BatchNorm."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the initial parameters, the data order, the augmentation and the dropout."""

    batching: Literal["auto", "vmap", "map", "loop"] = "auto"
    """Members side by side, one after another in the program, or in a loop around it; auto picks the fastest known."""

    @property
    def normalised(self) -> bool:
        """Whether the network has filters before BatchNorm."""
        return self.model == "vgg11" and self.batch_norm

    @property
    def norm_rules(self) -> tuple[FilterNorm, ...]:
        """The norm rules of the members."""
        return self.filter_norms or (("free", "fixed") if self.normalised else ("free",))

    def members(self) -> tuple[Member, ...]:
        """The product of the axes; the seed varies fastest."""
        axes = {axis: getattr(self, axis) for axis in AXES.values()} | {"filter_norms": self.norm_rules}
        return tuple(Member(*point) for point in itertools.product(*axes.values()))

    def validate(self) -> None:
        """Refuse what no sweep can be."""
        super().validate()
        for name, axis in AXES.items():
            values = getattr(self, axis)
            shown = " ".join(map(str, values)) or "empty"
            check(len(values) > 0 or axis == "filter_norms", axis, shown, "at least one value")
            check(len(set(values)) == len(values), axis, shown, "different values, each once")
            for value in values:
                if name != "filter_norm":
                    check_range(name, value, axis)
        shown = " ".join(map(str, self.hidden))
        check(
            all(1 <= units <= WIDEST for units in self.hidden),
            "hidden",
            shown,
            f"widths of at least 1 and at most {WIDEST}",
        )
        fixed_without = "fixed" in self.filter_norms and not self.normalised
        without = "an mlp" if self.model == "mlp" else "VGG11 without BatchNorm"
        words = f"free alone for {without} (only a normalised filter's norm is a symmetry)"
        check(not fixed_without, "filter_norms", " ".join(self.filter_norms), words)
