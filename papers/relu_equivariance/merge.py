"""Merge networks with their mirror images and with each other: ``python -m papers.relu_equivariance.merge``.

``--networks`` names a directory of ``papers.relu_equivariance.train``, or of one of its networks; several of them, say
of widths 1/8, 1/4 and 1/2, are compared. Both kinds of pairs go through one protocol; beside what was matched stands
what was merged without any permutation. The figure shows accuracies between the networks, the barrier under every
correction, how many channels the matching swaps in pairs, and the first filters beside their partners in the mirror;
of several trainings, these of the first one, and below them the barrier by width, and accuracy, invariance error and
cycles against it.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from papers.common.cli import check, check_count, main

PROG = "python -m papers.relu_equivariance.merge"


@dataclasses.dataclass(frozen=True)
class MergeConfig:
    """Match, merge, correct and evaluate trained networks and their mirror images."""

    place: ClassVar[str] = "relu_equivariance/merge"

    networks: tuple[Path, ...]
    """Directories of trainings, or of one network each; several differ in kind or width and saw the same images."""

    images: int = 1000
    """Training images seen, each with its mirror image, to match channels and to correct activations."""

    alphas: int = 5
    """Places on the line between two networks, ends included; an odd number has the middle."""

    curve_images: int = 1000
    """Test images of the accuracies on the line; those of the middle are of all test images."""

    data_dir: Path | None = None
    """Folder with the published archive or its unpacked folder of the data that the networks were trained on."""

    cache_dir: Path | None = None
    """Folder of the prepared data; ~/.cache/symjax-papers by default."""

    out: Path | None = None
    """Run directory, new or empty, or of this very run unfinished, which then goes on; by default a new one."""

    resume: bool = False
    """Continue the run in the directory; without --out the newest unfinished run."""

    reduced: ClassVar[bool] = True  # of whatever size the networks are: judge() asks them

    def validate(self) -> None:
        """Refuse what no merging can be."""
        different = len({*self.networks}) == len(self.networks) > 0
        check(different, "networks", " ".join(map(str, self.networks)), "different directories, one or more")
        for field, least in (("images", 2), ("curve_images", 1)):
            check_count(field, getattr(self, field), least)
        check_count("alphas", self.alphas, 3, 1001)
        check(self.alphas % 2 == 1, "alphas", self.alphas, "odd, so that the middle is one of the places")


def entry(config: MergeConfig) -> None:
    """Merge, draw, judge."""
    from papers.common.compilation import use_compilation_cache
    from papers.common.experiment import into_directory
    from papers.relu_equivariance.merging import EXPERIMENT

    into_directory(
        EXPERIMENT, config, "papers.relu_equivariance.merge", "merging", lambda c: use_compilation_cache(c.cache_dir)
    )


if __name__ == "__main__":
    main(entry, MergeConfig, PROG)
