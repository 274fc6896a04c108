"""What a training shows and keeps: progress with ETA, clips/s, TensorBoard curves and sample decodes, its record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from lipread.config import TrainConfig
from lipread.files import write_text
from lipread.training.clips import Clip
from lipread.training.evaluation import Evaluation

Item = TypeVar("Item")
SAMPLES = 5
ELSEWHERE = {"data", "out", "init", "device", "threads", "workers"}  # settings that say nothing on another machine


class Report:
    """Writes to the terminal and to `config.out`/tensorboard; silent in processes that are not `active`.

    Args:
        first: steps done before; curves of a run that was interrupted go on there.
    Raises: OutputError: `config.out` cannot be written to.
    """

    def __init__(self, config: TrainConfig, *, active: bool, show: bool, first: int = 0) -> None:
        self.config = config
        self._started = self._last = time.perf_counter()
        self._clips, self._count = 0, 0
        self._loss: Tensor | float = 0.0
        self._console = Console(quiet=not (active and show))
        self._progress = Progress(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"),
            TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
            console=self._console, disable=not (active and show and self._console.is_terminal),
        )
        self._writer: Any = None
        if active:
            write_text(config.out / "config.json", config.model_dump_json(indent=1) + "\n")
            self._writer = _tensorboard(config.out, first, self._console)

    def note(self, sentence: str) -> None:
        """Show a sentence."""
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def steps(self, items: Iterable[Item], first: int) -> Iterator[Item]:
        """Pass items on under the progress bar."""
        with self._progress:
            self._task = self._progress.add_task("", total=self.config.steps, completed=first)
            yield from items

    def step(self, step: int, loss: Tensor | float, *, clips: int) -> None:
        """Take note of a finished step; its loss, a number on any device, is asked for now and then only."""
        self._clips, self._loss, self._count = self._clips + clips, self._loss + loss, self._count + 1
        if step % 50 == 0 or step == self.config.steps:
            now = time.perf_counter()
            rate, mean = self._clips / (now - self._last), float(self._loss) / self._count
            self._last, self._clips, self._loss, self._count = now, 0, 0.0, 0
            self._progress.update(self._task, description=f"loss {mean:.3f}, {rate:.1f} clips/s")
            if not self._console.is_terminal and (step % 100 == 0 or step == self.config.steps):
                self._console.print(f"step {step}: loss {mean:.3f}, {rate:.1f} clips/s, {now - self._started:.0f} s")
            if self._writer:
                self._writer.add_scalar("train/loss", mean, step)
                self._writer.add_scalar("train/clips_per_second", rate, step)
        self._progress.update(self._task, completed=step)

    def evaluation(self, step: int, figures: dict[str, Evaluation]) -> None:
        """Show rates and some decodes."""
        for name, figure in figures.items():
            self._console.print(f"step {step}: {name}: {figure}")
            pairs = list(zip(figure.references, figure.hypotheses, strict=True))
            pairs = pairs[:: max(1, len(pairs) // SAMPLES)]
            for reference, hypothesis in pairs[:2]:
                self._console.print(f"    {reference} | {hypothesis}", markup=False, highlight=False)
            if self._writer:
                for rate, value in figure.rates.items():
                    self._writer.add_scalar(f"{name}/{rate}", value, step)
                table = "\n".join(f"| {r} | {h} |" for r, h in pairs[:SAMPLES])
                self._writer.add_text(f"{name}/decodes", f"| said | read |\n|---|---|\n{table}", step)
        self._last = time.perf_counter()

    def record(self, step: int, training: list[Clip]) -> dict[str, Any]:
        """What a checkpoint keeps about its training."""
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "steps": step,
            "clips": dict(Counter(clip.source for clip in training)),
            "speakers": sorted({clip.speaker for clip in training if clip.source != "drawn"}),
            "config": self.config.model_dump(mode="json", exclude=ELSEWHERE),
        }

    def close(self) -> None:
        """Flush."""
        if self._writer:
            self._writer.close()


def _tensorboard(folder: Path, first: int, console: Console) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        sentence = "TensorBoard is not installed, so no curves are kept; pip install 'lipread[train]' brings it"
        console.print(sentence, markup=False, soft_wrap=True)
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1 if first else None)
