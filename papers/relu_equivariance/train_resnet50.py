"""Train a ResNet-50 on photographs: ``python -m papers.relu_equivariance.train_resnet50 --images DIR``.

The folder is laid out as ImageNet is, ``DIR/train/CLASS/*.jpg`` and ``DIR/val/CLASS/*.jpg``. ``--preset
imagenet`` is torchvision's first recipe, for who has ImageNet and an accelerator; without it a network of width 1/4
learns on images of 64 pixels, on two CPU cores. ``resnet50 --weights RUN`` then merges it with its mirror image.
"""

import dataclasses
import math
from pathlib import Path
from typing import ClassVar, Literal

from papers.common.cli import check, check_count, check_seed, main
from papers.common.flags import say_next
from papers.common.paths import user_path
from papers.relu_equivariance.networks.config import InvarianceOf
from papers.relu_equivariance.networks.presets import Preset

PROG = "python -m papers.relu_equivariance.train_resnet50"

Loader = Literal["threads", "grain"]

PHOTOGRAPHS = 1_281_167
"""Of ImageNet's training split."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet50Training:
    """Train a ResNet-50 with random crops, flips and an invariance loss, the rate divided by ten in every third."""

    place: ClassVar[str] = "relu_equivariance/train_resnet50"

    preset: str = "none"
    """A recipe; options given beside it replace the preset's. The help lists them."""

    images: Path | None = None
    """Folder with train/ and val/ (or test/), a folder of JPEG or PNG files for each class in them, as ImageNet's is
    laid out; classes are numbered by their sorted names."""

    size: int = 64
    """Side of the images in pixels: random crops to train on, central ones to evaluate."""

    width: float = 0.25
    """Multiplies the number of channels; 1 is the paper's."""

    flips: bool = True
    """Whether half of the training images are mirrored."""

    invariance_weight: float = 0.0
    """Weight of the invariance loss, the mean invariance error of a crop and its mirror image, which pass through the
    network in one batch; the authors' is not known."""

    invariance_of: InvarianceOf = "logits"
    """What the invariance loss compares: logits, as published, or logits less their mean over the classes (centred).
    The first falls also where a constant is added to all logits, which the softmax does not see."""

    learning_rate: float = 0.044
    """First rate; 0.1 at a batch of 256, here times the square root of the batches' ratio, which keeps the noise of an
    update."""

    momentum: float = 0.9
    """Heavy-ball momentum."""

    weight_decay: float = 1e-4
    """Weight decay inside the gradient, of every parameter."""

    epochs: int = 15
    """Epochs; after each third the rate is divided by ten."""

    batch_size: int = 50
    """Images a step; the last batch of an epoch may be smaller."""

    evaluated: int = 500
    """Test photographs on which the network is evaluated, the same share of each class; all where there are fewer."""

    loader: Loader = "threads"
    """What decodes photographs ahead of the step: threads of this process, or grain's (the extra imagenet), which give
    the same batches at the same rate."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Inputs of convolutions; parameters, statistics, momentum and logits stay float32."""

    seed: int = 0
    """Of the parameters, the data order, the crops and the flips."""

    record_every: int = 10
    """Steps between two lines of the record."""

    checkpoint_epochs: int = 1
    """Epochs between two checkpoints; one is always written at the end and on SIGINT or SIGTERM."""

    out: Path | None = None
    """Run directory, new or empty, or of this very run unfinished, which then goes on; by default a new one."""

    resume: bool = False
    """Continue the run in the directory; without --out the newest unfinished run."""

    cache_dir: Path | None = None
    """Folder of compiled programs; ~/.cache/symjax-papers by default."""

    def validate(self) -> None:
        """Refuse what no training can be; what depends on the photographs is checked once they are listed."""
        check_count("size", self.size, 32, 1024)
        check(0 < self.width <= 4, "width", self.width, "above 0 and at most 4")
        check(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "above 0 and finite")
        check(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        for field in ("weight_decay", "invariance_weight"):
            check(0 <= getattr(self, field) < math.inf, field, getattr(self, field), "at least 0 and finite")
        for field in ("epochs", "record_every", "evaluated"):
            check_count(field, getattr(self, field))
        check_count("batch_size", self.batch_size, 2)
        check_count("checkpoint_epochs", self.checkpoint_epochs, 0)
        check_seed("seed", self.seed)
        check(self.images is not None, "images", None, "a folder with train/ and val/, a folder for each class in them")

    def preflight(self) -> None:
        """Refuse what the photographs or what is installed does not allow, before seconds of importing jax."""
        from papers.common.data.crops import require_loader
        from papers.common.data.dataset import check_batch
        from papers.common.data.folder import read_listing

        require_loader(self.loader)
        check_batch(self.batch_size, len(read_listing(user_path(self.images)).labels["train"]))

    @property
    def words(self) -> str:
        """What is trained, in a line."""
        loss = f"invariance loss x {self.invariance_weight:g}" + " of centred logits" * (
            self.invariance_of == "centred"
        )
        kind = ", ".join(["flips"] * self.flips + [loss] * self.invariant)
        return (
            f"ResNet-50 of width {self.width:g} on images of {self.size} pixels from {self.images.name}, "
            f"{kind or 'without flips'}: {self.epochs} epochs of batch {self.batch_size}, rate {self.learning_rate:g}"
        )

    @property
    def invariant(self) -> bool:
        """Whether there is an invariance loss."""
        return self.invariance_weight > 0

    def reduced(self, photographs: int) -> bool:
        """Whether the training is smaller than the published one."""
        return photographs < PHOTOGRAPHS or self.size < 224 or self.width < 1 or self.epochs < 90


_IMAGENET = {
    **{"size": 224, "width": 1.0, "learning_rate": 0.1, "epochs": 90, "batch_size": 256, "evaluated": 50_000},
    **{"loader": "grain", "precision": "bfloat16", "record_every": 100},
}

PRESETS = {
    "imagenet": Preset(
        ResNet50Training(preset="imagenet", **_IMAGENET),
        "accuracy 0.761 (torchvision's first weights, one central crop); with --invariance-weight the paper's third "
        "row, whose weight is not known",
        "one accelerator and the cores that decode for it; ImageNet in a folder",
        "unmeasured: never run; 2.8 EFLOP; a core makes 700 crops a second of photographs of 224 pixels",
    )
}
"""Torchvision's first recipe: SGD 0.1 divided by ten every 30 of 90 epochs, batch 256, momentum 0.9, decay 1e-4."""


def entry(config: ResNet50Training) -> None:
    """Train one network, and leave it for the table."""
    from papers.common.runs import RunDirectory

    config = RunDirectory.take_up(config)
    RunDirectory.refuse(config)
    config.preflight()
    from papers.common.compilation import use_compilation_cache

    use_compilation_cache(config.cache_dir)
    from papers.common.environment import command_line
    from papers.relu_equivariance.resnet_50.training import page, train

    print(config.words, flush=True)
    finished = train(config, command_line("papers.relu_equivariance.train_resnet50"))
    if finished is None:
        raise KeyboardInterrupt
    path, summary = finished
    print(page(summary))
    print(f"the network is in {path}")
    say_how_to_merge(path, config)


def say_how_to_merge(path: Path, config: ResNet50Training) -> None:
    """Print the next command, where the folder says which photographs are test ones."""
    from papers.common.data.folder import TEST_FOLDERS

    test = [config.images / name for name in TEST_FOLDERS if (config.images / name).is_dir()]
    if test:
        folders = f"--images {test[0]} --seen {config.images / 'train'}"
        sides = f"--sizes {config.size} --resize {round(config.size * 256 / 224)}"
        command = f"python -m papers.relu_equivariance.resnet50 --weights {path} {folders} {sides}"
        say_next("merge it with its mirror image", command)


if __name__ == "__main__":
    main(entry, ResNet50Training, PROG, presets=PRESETS)
