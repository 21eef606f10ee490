"""The loader of pretraining: pairs of the trainer's epoch, from where it stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import FrameType

from torch.utils.data import DataLoader

from ssl_faces.common.errors import InputError
from ssl_faces.pairs.pairing import PairBatch, PairBatches

_GRACE = 30  # seconds


def _outlive_signals(worker: int) -> None:
    """Let loader processes live on until the run has saved its state and ends them.

    Ctrl-C and Slurm's signals reach all processes; without its loaders a run can't end its step.
    """
    del worker
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    # This one, torch ends stuck processes by: it works, but late.
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: FrameType | None) -> None:
    del number, frame
    signal.alarm(_GRACE)


class PairLoader(DataLoader[PairBatch]):
    """A loader whose every iteration is the trainer's current epoch, from where it stopped.

    Args:
        position: gives the epoch, and the batch in it that comes next.
    """

    def __init__(
        self,
        batches: PairBatches,
        workers: int,
        pin_memory: bool,
        position: Callable[[], tuple[int, int]],
    ) -> None:
        super().__init__(
            batches,
            batch_size=None,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=_outlive_signals,
        )
        self.position = position

    def __iter__(self) -> Iterator[PairBatch]:  # type: ignore[override]
        # All of this runs at the first batch: Lightning may open the loader before it has restored
        # how far training was.
        assert isinstance(self.dataset, PairBatches)
        self.dataset.epoch, self.dataset.start = self.position()
        batches = super().__iter__()
        error = None
        for batch in batches:
            error = batch.get("error")
            if error is not None:
                break
            yield batch
        # Before an error keeps it alive: its processes end well only if it is let go by itself.
        del batches
        if error is not None:
            raise InputError(error)
