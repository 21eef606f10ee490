"""The loader of pretraining: pairs of the trainer's epoch, from where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch.utils.data import DataLoader

from ssl_faces.data.pairs import PairBatch, PairBatches
from ssl_faces.errors import InputError

if TYPE_CHECKING:
    from ssl_faces.data.module import FaceDataModule


class PairLoader(DataLoader[PairBatch]):
    """A loader whose every iteration is the trainer's current epoch, from where it stopped."""

    def __init__(self, batches: PairBatches, data: FaceDataModule) -> None:
        on_gpu = data.trainer is not None and data.trainer.strategy.root_device.type == "cuda"
        super().__init__(
            batches,
            batch_size=None,
            num_workers=data.num_workers,
            pin_memory=on_gpu and batches.gather,
        )
        self.data = data

    def __iter__(self) -> Iterator[PairBatch]:  # type: ignore[override]
        assert isinstance(self.dataset, PairBatches)
        self.dataset.epoch, self.dataset.start = self.data.position()
        return self._checked(super().__iter__())

    def _checked(self, batches: Iterator[PairBatch]) -> Iterator[PairBatch]:
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
