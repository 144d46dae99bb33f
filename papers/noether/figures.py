"""Draw the paper's panels and the toy figures: ``python -m papers.noether.figures``.

A panel runs every setting in both arms and all seeds, one directory a run, and draws when the last is finished.
Finished runs are kept, stopped ones continued; the same command started twice shares the work, each process taking runs
that no other has.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from papers.common.cli import check, check_count, main
from papers.common.data import Name
from papers.common.flags import say_next
from papers.noether.networks.config import TrainConfig, check_range
from papers.noether.panels.definitions import PANELS, PanelName

PROG = "python -m papers.noether.figures"

MOST_RUNS = 1000


@dataclasses.dataclass(frozen=True)
class FiguresConfig:
    """Panels A to D of the paper, and the figures of its theory."""

    place: ClassVar[str] = "noether/figures"

    panel: PanelName | Literal["norms", "toys"] = "toys"
    """a: learning rate; b: momentum; c: weight decay; d: initial norm; norms: of the one finished run that --runs
    names; toys: figures of the theory, without data."""

    values: tuple[float, ...] = ()
    """Values of what the panel varies; the panel's own grid by default."""

    seeds: int | None = None
    """Seeds of every setting of a panel, 3 by default, which claims need; the toys have five random starts."""

    data: Name = "digits"
    """Data set; the paper's is tiny_imagenet."""

    size: Literal[32, 64] | None = None
    """Side of the images in pixels; digits are enlarged to it (32 by default), the others reduced by area averaging."""

    classes: int | None = None
    """Keep the first so many classes only."""

    limit: int | None = None
    """Keep so many images of each split only."""

    width: float = 0.125
    """Multiplies the number of channels and hidden units; 1 is the paper's."""

    epochs: int = 15
    """Epochs of every run; the paper's runs are about 100 long."""

    batch_size: int = 128
    """Images a step."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Inputs of convolutions and dense layers."""

    record_every: int = 50
    """Steps between two stored records of the charges."""

    checkpoint_epochs: int = 1
    """Epochs between two checkpoints of a run; 0: only at its end, the fastest where a run takes a minute."""

    data_dir: Path | None = None
    """Folder with the published archive or its unpacked folder."""

    cache_dir: Path | None = None
    """Folder of the prepared data."""

    runs: Path | None = None
    """Folder of finished runs to draw, wherever they were made: nothing is run. With --panel norms, of one run."""

    out: Path | None = None
    """Folder of a panel's runs, and of the figures in a folder each; what is finished in it is used, what was stopped
    continued. By default a new one under runs/noether/figures, named after the time."""

    resume: bool = False
    """Continue what was stopped: with --out there, without it the newest unfinished run of this panel."""

    def validate(self) -> None:
        """Refuse what no panel can be."""
        if self.seeds is not None:
            check_count("seeds", self.seeds, most=MOST_RUNS)
        self.base().validate()
        shown = " ".join(map(str, self.values))
        check(self.panel != "norms" or self.runs is not None, "runs", self.runs, "a finished run with --panel norms")
        if self.panel == "toys" or self.runs is not None:
            why = "left out with --panel toys" if self.panel == "toys" else "left out with --runs, which has its own"
            check(self.panel != "toys" or self.runs is None, "runs", self.runs, why)
            check(self.seeds is None, "seeds", self.seeds, why)
            check(not self.values, "values", shown, why)
            return
        check(len(set(self.values)) == len(self.values), "values", shown, "all different")
        panel, given = PANELS[self.panel], len(self.values)
        enough = f"at least {panel.least}: the panel compares them"
        check(not given or given >= panel.least, "values", shown, enough)
        if panel.needs is not None and given:
            check(panel.needs in self.values, "values", shown, f"a list with {panel.needs:g}, to compare with")
        for value in self.values:
            check_range(panel.field, value, "values")

    @property
    def inside(self) -> str:
        """The folder of the figure in ``out``."""
        return self.panel if self.panel in ("norms", "toys") else f"panel-{self.panel}"

    def base(self) -> TrainConfig:
        """What all runs of a panel share."""
        shared = {field.name for field in dataclasses.fields(TrainConfig)} - {"out", "seed", "resume"}
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name in shared}
        return TrainConfig(**own)


def entry(config: FiguresConfig) -> None:
    """Draw one panel, running first what it still needs, or the toys."""
    from papers.common.compilation import use_compilation_cache
    from papers.common.runs import RunDirectory

    config = RunDirectory.take_up(config)
    RunDirectory.refuse(config)
    if config.panel in PANELS and config.runs is None:
        config.base().load()  # refuses what the data does not allow, before seconds of importing jax
    use_compilation_cache(config.cache_dir)
    from papers.common.environment import command_line

    command = command_line("papers.noether.figures")
    if config.panel == "toys":
        _draw_toys(config, command)
    elif config.panel == "norms":
        _draw_norms(config, command)
    else:
        _draw_panel(config, command)


def _draw_toys(config: FiguresConfig, command: str) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    from papers.common.claims import format_claims
    from papers.common.runs import RunDirectory
    from papers.noether import toys

    with RunDirectory.open(config, command) as directory:
        claims = toys.draw_all(directory, command=command)
        directory.write_claims(claims)
        directory.finish()
    print(format_claims(claims))
    print(f"figures, arrays and claims are in {directory.path}")
    say_next("a panel of the paper", f"{PROG} --panel a")


def _draw_norms(config: FiguresConfig, command: str) -> None:
    from papers.common.runs import RunDirectory
    from papers.noether.networks.finished import read_run
    from papers.noether.norm_dynamics import publish

    run, arrays = read_run(config.runs)
    with RunDirectory.open(config, command) as directory:
        publish(directory, arrays, run, command)
        directory.finish()
    print(f"figures, arrays and claims are in {directory.path}")
    say_next("read it as a page", f"python -m papers.report {directory.path}")


def _draw_panel(config: FiguresConfig, command: str) -> None:
    from papers.common.claims import format_claims
    from papers.common.runs import MAY_DIFFER_ON_RESUME, RunDirectory
    from papers.noether.panels import publish
    from papers.noether.panels.measure import measure, read_finished, wanted_runs

    with RunDirectory.open(config, command) as begun:  # not locked while other processes may share the runs
        path, again = begun.path, begun.again
    if config.runs is None:
        wanted = wanted_runs(config.panel, config.base(), config.values, config.seeds or 3, path.parent)
        runs = measure(wanted, command, again)
    else:
        runs = read_finished(config.panel, config.runs)
    if runs is None:
        return
    with RunDirectory.resume(path, config, MAY_DIFFER_ON_RESUME) as directory:
        claims = publish(config.panel, runs, directory, command)
        directory.finish()
    print(format_claims(claims))
    print(f"figures, arrays and claims are in {path}")
    say_next("read it as a page", f"python -m papers.report {path}")


if __name__ == "__main__":
    main(entry, FiguresConfig, PROG)
