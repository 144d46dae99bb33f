"""Merge a pretrained ResNet-50 with its mirror image: ``python -m papers.relu_equivariance.resnet50``.

``--weights FILE --images DIR...``: torchvision's weights as safetensors or Keras' as npz, and folders of photographs,
one folder for each class in them. At 224 pixels, as published, the strided operations see other pixels in the mirror;
at 225 flips are exact. Channels are matched in one pass over photographs that are not evaluated; the rest is the
paper's ImageNet table: accuracies of the network, its mirror image and what comes of merging them, stage by stage.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from papers.common.cli import check, check_count, check_seed, main

PROG = "python -m papers.relu_equivariance.resnet50"

Streams = Literal["all", "last"]

PUBLISHED_SEEN, PUBLISHED_EVALUATED = 5000, 50_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet50Config:
    """Match a pretrained ResNet-50 with its mirror image, merge, reset, REPAIR and evaluate.

    Every photograph passes through the network about 30 times at two sizes; on two quiet cores 30 pass in a second.
    """

    place: ClassVar[str] = "relu_equivariance/resnet50"

    weights: Path
    """The network: torchvision's names in a .safetensors file, those of Keras' first ResNet50 in a .npz file, or the
    directory that train_resnet50 left. A .pth file is a pickle, which may run programs, and is refused."""

    images: tuple[Path, ...]
    """Folders of photographs to evaluate on, each with a folder of JPEG or PNG files for each of its classes."""

    seen: tuple[Path, ...] = ()
    """Folders of photographs to match channels and collect statistics on; by default those of --images that are not
    evaluated."""

    classes: Path | None = None
    """A folder with a folder for every class of the network, or a text file with one name a line; the sorted names are
    numbered as the network's outputs. By default the first folder of --images or --seen that has them all."""

    evaluated: int = 1000
    """Photographs evaluated of each folder, spread evenly over its classes."""

    count: int = 1500
    """Photographs seen, of all folders together."""

    sizes: tuple[int, ...] = (224, 225)
    """Sides of the images in pixels: 224 as published, 225 where flips are exact."""

    streams: tuple[Streams, ...] = ("all", "last")
    """Where residual streams are matched: over all their blocks, or at their last ones only, as published. What is not
    the first is done at the first size only."""

    unmatched: bool = True
    """Whether the control is measured: merged without any permutation."""

    resize: int | None = None
    """Pixels of the shorter side before the central crop: 232 or 256 for photographs as they are published at 224; by
    default those of the crop, for photographs that were cropped already."""

    batch_size: int = 25
    """Photographs at a time; the published statistics are means over batches of 200."""

    seed: int = 0
    """Of the choice of photographs."""

    out: Path | None = None
    """Run directory, new or empty; by default a new one under runs, named after the time."""

    resume: bool = False
    """Continue a stopped run; without --out the newest unfinished run of this command."""

    cache_dir: Path | None = None
    """Folder of compiled programs; ~/.cache/symjax-papers by default."""

    def validate(self) -> None:
        """Refuse what cannot be."""
        check(bool(self.images), "images", self.images, "at least one folder")
        for field in ("evaluated", "count", "batch_size"):
            check_count(field, getattr(self, field), 2)
        for size in self.sizes:
            check_count("sizes", size, 32, 1024)
        check(len(set(self.sizes)) == len(self.sizes) > 0, "sizes", self.sizes, "one size or more, each once")
        for folders in (self.images, self.seen):
            check(
                len({place.name for place in folders}) == len(folders), "images", folders, "folders of different names"
            )
        check(len(set(self.streams)) == len(self.streams) > 0, "streams", self.streams, "all, last, or both")
        if self.resize is not None:
            check_count("resize", self.resize, max(self.sizes), 4096)
        check_seed("seed", self.seed)

    @property
    def reduced(self) -> bool:
        """Whether the photographs are fewer than the published ones."""
        return self.count < PUBLISHED_SEEN or self.evaluated * len(self.images) < PUBLISHED_EVALUATED


def entry(config: ResNet50Config) -> None:
    """Measure, draw and judge into a directory of its own."""
    from papers.common.compilation import use_compilation_cache
    from papers.common.experiment import into_directory
    from papers.relu_equivariance.resnet_50 import EXPERIMENT

    into_directory(
        EXPERIMENT, config, "papers.relu_equivariance.resnet50", "stages", lambda c: use_compilation_cache(c.cache_dir)
    )


if __name__ == "__main__":
    main(entry, ResNet50Config, PROG)
