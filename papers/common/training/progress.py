"""How far a run is, while it runs: a bar on a terminal, elsewhere a line every few seconds."""

import sys
import time
from typing import Any

import numpy as np

from papers.common.training.fit import Fetched


class Progress:
    """Show progress: loss, accuracy, images a second, time left.

    The first chunk waits for the compiler, so the rate is that of the steps after it, and until there are such steps no
    rate is told.

    Args:
      total_steps: of the whole run.
      batch_size: images a step.
      first_step: where this process begins.
      seconds: between two lines where there is no terminal.
    """

    def __init__(self, total_steps: int, batch_size: int, first_step: int = 0, seconds: float = 5.0) -> None:
        self._total, self._batch, self._seconds = total_steps, batch_size, seconds
        self._began = self._said = time.monotonic()
        self._compiled: int | None = None  # steps made when the first chunk came back
        self._bar: Any = None
        if first_step >= total_steps:
            return
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total_steps, initial=first_step, unit="step", dynamic_ncols=True, desc="compiling")
        else:
            print(f"compiling the first of {total_steps - first_step} steps", flush=True)

    def __call__(self, fetched: Fetched) -> None:
        """Show a chunk."""
        done, now = fetched.step + len(fetched.metrics["loss"]), time.monotonic()
        first = self._compiled is None
        if first:
            compiling, self._began, self._compiled = now - self._began, now, done
        steps, rate = done - self._compiled, 0.0
        speed = f"begun after {compiling:.0f} s of compiling" if first else ""
        if steps:
            rate = steps / max(now - self._began, 1e-9)
            speed = f"{rate * self._batch:.0f} images/s"
        loss, accuracy = (float(np.mean(fetched.metrics[name])) for name in ("loss", "accuracy"))
        if self._bar is not None:
            self._bar.set_description_str("training" if steps else "compiled")
            self._bar.set_postfix_str(f"loss {loss:.3f} accuracy {accuracy:.3f} {speed}")
            self._bar.update(done - self._bar.n)
        elif first or now - self._said > self._seconds or done >= self._total:
            self._said = now
            left = round((self._total - done) / rate) if rate else None
            ending = "" if left is None else f"  {left // 60}:{left % 60:02} left"
            print(f"step {done}/{self._total}  loss {loss:.3f}  accuracy {accuracy:.3f}  {speed}{ending}", flush=True)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
