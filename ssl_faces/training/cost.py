"""Counts the arithmetic of one training step of any method.

Counts multiplications and additions of convolutions and matrix products, forward and backward, as
the step runs them: frozen weights and passes without gradients have no backward pass. These are
nearly all of a network's arithmetic. Normalisation, activations, warps, optimiser and augmentation
are not counted.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from safetensors.torch import save
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from ssl_faces.common.checkpoints import CheckpointFiles
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.run_record import CHECKPOINT
from ssl_faces.pairs.module import FaceData
from ssl_faces.pairs.pairing import PairBatch
from ssl_faces.training.fit import FaceCLI, build
from ssl_faces.training.launch import world_size

_FEW = (2, 4, 6, 8)
"""Batch sizes, in pairs, from which the cost of larger batches is extrapolated."""

CLI = TypeVar("CLI", bound="StepCLI")


@dataclass(frozen=True)
class Cost:
    """The cost of one training step per device."""

    method: str  # name of the method
    flop: int  # multiplications and additions
    pairs: int  # pairs of images in the step
    devices: int  # number of devices in the run's settings
    parameters: int  # of all networks of the method
    trained: int  # number of trained parameters
    saved: int  # bytes of activations that a batch keeps for its backward pass
    side: int  # of the images, in pixels


def count(settings: Sequence[str], keep: Path | None = None, precision: str = "32-true") -> Cost:
    """The cost of one step of the run that `ssl-faces fit` starts with these arguments.

    Counted on the CPU, on noise images. The cost of a large batch is extrapolated from four small
    ones if these lie on a polynomial of degree two, as sums over images and over pairs of images
    do. Then it is exact.

    Args:
        settings: `-c CONFIG`, `--KEY VALUE`.
        keep: folder for the inputs of a later stage: the checkpoint of the nearly untrained method
            and its networks beside the encoder.
        precision: of the arithmetic; the number of operations does not depend on it.

    Raises:
        InputError: bad settings.
    """
    cli = run_steps(_CountCLI, [*settings, "--trainer.precision", precision])
    if keep is not None:
        cli.trainer.save_checkpoint(keep / CHECKPOINT, weights_only=False)
        for name, network in cli.model.extra_networks().items():
            weights = {key: value.contiguous() for key, value in network.state_dict().items()}
            replace_file(keep / f"{name}.safetensors", save(weights), durable=False)
    return cli.cost


def run_steps(kind: type[CLI], settings: Sequence[str]) -> CLI:
    """Run a command line that takes the arguments of `fit`; InputError if they are bad."""
    with tempfile.TemporaryDirectory() as nowhere, _quiet():
        own = ["--out", nowhere, "--trainer.logger", "false", "--ckpt_path", "null"]
        cli = build(kind, _NoiseFaces, ["fit", *settings, *own])
    assert isinstance(cli, kind)
    return cli


class _NoiseFaces(FaceData):
    """Noise images in batches of `sizes`; no face set is read."""

    sizes: Sequence[int] = ()

    def prepare_data(self) -> None:
        pass

    def setup(self, stage: str | None = None) -> None:
        pass

    def train_dataloader(self) -> Any:
        draw = torch.Generator().manual_seed(0)
        # Lightning takes a list of batches for several loaders.
        batches = [self._batch(pairs, draw) for pairs in self.sizes]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def _batch(self, pairs: int, draw: torch.Generator) -> PairBatch:
        shape = (pairs, 2, 3, self.size, self.size)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=draw)
        # As many pairs of two images as are configured, which a method may treat differently.
        share = (
            float(self.positives == "person")
            if self.different_share is None
            else (self.different_share)
        )
        mirrored = torch.arange(pairs) >= round(share * pairs)
        people = torch.full((pairs,), -1)
        return {"pairs": images, "mirrored": mirrored, "people": people, "seed": 0}


class StepCLI(FaceCLI):
    """`fit` that runs a few training steps on noise images, without files, to measure them."""

    accelerator = "cpu"

    def check_trainer(self, settings: Any) -> None:
        """Accept settings of any machine, since nothing is trained."""

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        return self._trainer()

    @property
    def trainer_settings(self) -> Any:
        return self.config_init[self.config_init.subcommand].trainer

    def _trainer(self, *callbacks: pl.Callback) -> pl.Trainer:
        # Without the callbacks, loggers and checkpoints of a run.
        return pl.Trainer(
            accelerator=self.accelerator,
            devices=1,
            precision=self.trainer_settings.precision,
            max_epochs=1,
            logger=False,
            callbacks=list(callbacks),
            plugins=[CheckpointFiles()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def steps(self, sizes: Sequence[int], callback: pl.Callback) -> None:
        """Train on batches of these numbers of pairs."""
        self.datamodule.sizes = sizes
        self.trainer = self._trainer(callback)
        self.trainer.fit(self.model, datamodule=self.datamodule)

    def count_steps(self, sizes: Sequence[int]) -> StepCounter:
        """The counts of a training step for each batch size."""
        counter = StepCounter()
        try:
            # The counter does not know fused attention on a CPU, but plain products.
            with sdpa_kernel(SDPBackend.MATH):
                self.steps(sizes, counter)
        finally:
            counter.end()
        return counter


class StepCounter(pl.Callback):
    """Counts the arithmetic of each training step, and bytes kept for its backward pass."""

    def __init__(self) -> None:
        self.flop: list[int] = []
        self.saved: list[int] = []
        self._counting = ExitStack()

    def on_train_batch_start(self, trainer: Any, method: Any, *_: Any) -> None:
        own = {p.untyped_storage().data_ptr() for p in (*method.parameters(), *method.buffers())}
        self._kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                self._kept[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()  # an output that is kept itself would never be freed

        self._counting.enter_context(saved_tensors_hooks(keep, lambda tensor: tensor))
        self._mode = self._counting.enter_context(FlopCounterMode(display=False))

    def on_train_batch_end(self, *_: Any) -> None:
        self.flop.append(self._mode.get_total_flops())
        self.saved.append(sum(self._kept.values()))
        self.end()

    def end(self) -> None:
        """Stop counting, also after a step that failed."""
        self._counting.close()


class _CountCLI(StepCLI):
    cost: Cost

    def fit(self, model: Any, datamodule: Any, **_: Any) -> None:
        """Count instead of training."""
        saved: dict[int, int] = {}

        def counted(sizes: tuple[int, ...]) -> list[int]:
            counter = self.count_steps(sizes)
            saved.update(zip(sizes, counter.saved, strict=True))
            return counter.flop

        settings = self.trainer_settings
        batches = settings.accumulate_grad_batches
        pairs = datamodule.batch_size
        self.cost = Cost(
            method=model.name,
            flop=batches * of_batch(pairs, counted),
            pairs=batches * pairs,
            devices=world_size(settings),
            parameters=sum(p.numel() for p in model.parameters()),
            trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
            saved=_extrapolated(saved, pairs),
            side=datamodule.size,
        )


def of_batch(pairs: int, counted: Callable[[tuple[int, ...]], list[int]]) -> int:
    """The cost of a batch, counted or extrapolated from small ones.

    Args:
        counted: gives the costs of batches of these sizes.
    """
    if pairs > max(_FEW):
        try:
            differences = [counted(_FEW)]
        except InputError:  # the method takes no small batches
            return counted((pairs,))[0]
        for _ in range(3):
            last = differences[-1]
            differences.append([b - a for a, b in pairwise(last)])
        if differences[3] == [0]:
            # Newton's forward differences.
            t = Fraction(pairs - _FEW[0], 2)
            first, second, third = (of[0] for of in differences[:3])
            return round(first + t * second + t * (t - 1) / 2 * third)
    return counted((pairs,))[0]


def _extrapolated(saved: dict[int, int], pairs: int) -> int:
    """Bytes of a batch of `pairs`, which grow linearly with it, from those of other batches."""
    few, most = min(saved), max(saved)
    if pairs in saved:
        return saved[pairs]
    return saved[most] + (saved[most] - saved[few]) * (pairs - most) // (most - few)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's messages about a trainer that trains nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
