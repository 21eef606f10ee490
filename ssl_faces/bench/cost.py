"""`ssl-faces bench cost`: count the arithmetic of one training step of any method.

Counts multiplications and additions of convolutions and matrix products, forward and backward, as
the step runs them: frozen weights and passes without gradients have no backward pass. These are
nearly all of a network's arithmetic. Normalisation, activations, warps, optimiser and augmentation
are not counted.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import save
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from ssl_faces.bench.result import Result, Value
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.data.pairs.module import FaceData
from ssl_faces.data.pairs.pairing import PairBatch
from ssl_faces.training.checkpoints import CheckpointFiles
from ssl_faces.training.fit import FaceCLI, build
from ssl_faces.training.launch import world_size
from ssl_faces.training.run_record import CHECKPOINT

PASSES_ON = True
"""All other arguments are settings of `ssl-faces fit`."""

_FEW = (2, 4, 6, 8)
"""Batch sizes, in pairs, from which the cost of larger batches is extrapolated."""


@dataclass(frozen=True)
class Cost:
    """The cost of one training step per device.

    Attributes:
        method: name of the method.
        flop: multiplications and additions.
        pairs: pairs of images in the step.
        devices: number of devices in the run's settings.
        parameters: of all networks of the method.
        trained: number of trained parameters.
    """

    method: str
    flop: int
    pairs: int
    devices: int
    parameters: int
    trained: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssl-faces bench cost [--out FILE.json] -c CONFIG [-c CONFIG ...] [--KEY VALUE]"
    parser.epilog = "Other arguments are as for `ssl-faces fit`. No faces are read or trained on."


def measure(arguments: argparse.Namespace) -> Result:
    """Count one step of the method in the settings.

    Raises:
        InputError: bad settings, as in `ssl-faces fit`.
    """
    if not arguments.settings:
        raise InputError("bench cost: nothing to count; give a method's config with -c")
    cost = count(arguments.settings)
    gflop, images = cost.flop / 1e9, 2 * cost.pairs
    row: dict[str, Value] = {
        "method": cost.method,
        "GFLOP a step": gflop,
        "GFLOP a picture": gflop / images,
        "pictures a step": images,
        "devices": cost.devices,
        "parameters": cost.parameters,
        "trained parameters": cost.trained,
    }
    note = (
        "Multiplications and additions of convolutions and matrix products, forward and backward, "
        "of one step on one device."
    )
    settings = {"settings": " ".join(arguments.settings)}
    return Result("cost", settings, [row], ["", note], asdict(cost))


def count(settings: Sequence[str], keep: Path | None = None, precision: str = "32-true") -> Cost:
    """The cost of one step of the run that `ssl-faces fit` starts with these arguments.

    Counted on the CPU, on noise images. The cost of a large batch is extrapolated from four small
    ones if these lie on a polynomial of degree two, as sums over images and over pairs of images
    do. Then it is exact.

    Args:
        settings: `-c CONFIG`, `--KEY VALUE`.
        keep: folder for the inputs of a later stage: the checkpoint of the nearly untrained method
            and its networks beside the encoder.
        precision: of the arithmetic; the count does not depend on it.

    Raises:
        InputError: bad settings.
    """
    with tempfile.TemporaryDirectory() as nowhere, _quiet():
        arguments = [*settings, "--out", nowhere, "--trainer.logger", "false"]
        cli = build(
            _CountCLI,
            _NoiseFaces,
            ["fit", *arguments, "--trainer.precision", precision, "--ckpt_path", "null"],
        )
        assert isinstance(cli, _CountCLI)
        if keep is not None:
            _keep(cli, keep)
    return cli.cost


def _keep(cli: FaceCLI, folder: Path) -> None:
    cli.trainer.save_checkpoint(folder / CHECKPOINT, weights_only=False)
    for name, network in cli.model.extra_networks().items():
        weights = {key: value.contiguous() for key, value in network.state_dict().items()}
        replace_file(folder / f"{name}.safetensors", save(weights), durable=False)


class _NoiseFaces(FaceData):
    """Noise images in batches of `sizes`; no face set is read."""

    sizes: tuple[int, ...] = ()

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
        return {"pairs": images, "mirrored": torch.ones(pairs, dtype=torch.bool), "seed": 0}


class _StepCounter(pl.Callback):
    """Counts each training step."""

    def __init__(self) -> None:
        self.flop: list[int] = []
        self._mode: FlopCounterMode | None = None

    def on_train_batch_start(self, *_: Any) -> None:
        self._mode = FlopCounterMode(display=False)
        self._mode.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        assert self._mode is not None
        self.flop.append(self._mode.get_total_flops())
        self.end()

    def end(self) -> None:
        """Stop counting, also after a step that failed."""
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None


class _CountCLI(FaceCLI):
    """`fit` that counts a few training steps on noise images."""

    cost: Cost

    def check_trainer(self, settings: Any) -> None:
        """Accept settings of any machine, since nothing is trained."""

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        # Without the callbacks, loggers and checkpoints of a run.
        return self._trainer(pl.Callback())

    def _trainer(self, counter: pl.Callback) -> pl.Trainer:
        settings = self.config_init[self.config_init.subcommand].trainer
        return pl.Trainer(
            accelerator="cpu",
            devices=1,
            precision=settings.precision,
            max_epochs=1,
            logger=False,
            callbacks=[counter],
            plugins=[CheckpointFiles()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def fit(self, model: Any, datamodule: Any, **_: Any) -> None:
        """Count instead of training."""
        settings = self.config_init[self.config_init.subcommand].trainer

        def counted(sizes: tuple[int, ...]) -> list[int]:
            datamodule.sizes = sizes
            counter = _StepCounter()
            self.trainer = self._trainer(counter)
            try:
                # The counter does not know fused attention on a CPU, but plain products.
                with sdpa_kernel(SDPBackend.MATH):
                    self.trainer.fit(model, datamodule=datamodule)
            finally:
                counter.end()
            return counter.flop

        batches = settings.accumulate_grad_batches
        self.cost = Cost(
            method=model.name,
            flop=batches * of_batch(datamodule.batch_size, counted),
            pairs=batches * datamodule.batch_size,
            devices=world_size(settings),
            parameters=sum(p.numel() for p in model.parameters()),
            trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
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
