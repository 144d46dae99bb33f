"""Table 1 of the paper: ``python -m papers.relu_equivariance.table1``.

Networks of every kind are trained, each is merged with its mirror image and with the network of the next seed, and
accuracy, invariance error and barrier stand side by side, with their spread over the seeds. Without options: on
scikit-learn's digits and their mirror images, at width 1/8. ``--preset two-cores`` is the table on CIFAR-10 for two CPU
cores, ``--preset published`` the paper's own.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from papers.common.cli import check, check_count, main
from papers.relu_equivariance.networks.config import Recipe, TrainConfig
from papers.relu_equivariance.networks.kinds import OF_THE_TABLE, KindName
from papers.relu_equivariance.networks.presets import presets

PROG = "python -m papers.relu_equivariance.table1"


@dataclasses.dataclass(frozen=True)
class Table1Config(Recipe):
    """Train networks of every kind, merge them with their mirror images, and print the paper's table."""

    place: ClassVar[str] = "relu_equivariance/table1"

    seeds: int = 3
    """Networks of a kind, one a seed."""

    kinds: tuple[KindName, ...] = OF_THE_TABLE
    """Rows of the table."""

    images: int = 1000
    """Training images seen, each with its mirror image, to match channels and to correct activations."""

    networks: Path | None = None
    """Folder of networks, kind/seed-N: those that are there are read, the others trained there; by default a folder of
    the run's own."""

    def validate(self) -> None:
        """Refuse what no table can be."""
        super().validate()
        different = len(set(self.kinds)) == len(self.kinds) > 0
        check(different, "kinds", " ".join(self.kinds), "different kinds, one or more")
        for kind in self.kinds:
            self.validate_kind(kind)
        check_count("images", self.images, 2)

    def training(self, kind: KindName) -> TrainConfig:
        """The training of a row."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(Recipe)}
        return TrainConfig(**shared, kind=kind)


def entry(config: Table1Config) -> None:
    """Train, merge, print, draw, judge."""
    from papers.common.compilation import use_compilation_cache
    from papers.common.experiment import into_directory
    from papers.relu_equivariance.table_1 import EXPERIMENT

    config.load(config.batch_size)
    into_directory(
        EXPERIMENT, config, "papers.relu_equivariance.table1", "table_1", lambda c: use_compilation_cache(c.cache_dir)
    )


if __name__ == "__main__":
    main(entry, Table1Config, PROG, presets=presets(Table1Config))
