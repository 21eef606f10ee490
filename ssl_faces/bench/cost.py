"""`ssl-faces bench cost`: the arithmetic of one training step of any method, counted, not timed.

What is counted are the multiplications and additions of convolutions and matrix products, forward
and backward, as the step runs them: passes without gradients count once, frozen weights have no
gradients to compute. Of networks these are nearly all; normalisations, activations, warps, the
optimiser and the augmentation of the batch are left out.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
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

from ssl_faces.bench.result import Result
from ssl_faces.callbacks.first_step import StartClock
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.data.pairs.module import FaceDataModule
from ssl_faces.data.pairs.pairing import PairBatch
from ssl_faces.training.checkpoints import CheckpointFiles
from ssl_faces.training.fit import FaceCLI, build
from ssl_faces.training.launch import world_size
from ssl_faces.training.run_record import CHECKPOINT

PASSES_ON = True
"""What this bench doesn't know are settings of `ssl-faces fit`."""

_FEW = (2, 4, 6, 8)
"""Pairs of the batches that larger batches are worked out from."""


@dataclass(frozen=True)
class Cost:
    """What one training step takes, on each device.

    Attributes:
        method: its name.
        flop: multiplications and additions.
        pairs: that it trains on, of two pictures each.
        devices: on how many at once the run's settings train.
        parameters: of all networks of the method.
        trained: of these, those that are trained.
    """

    method: str
    flop: int
    pairs: int
    devices: int
    parameters: int
    trained: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssl-faces bench cost [--out FILE.json] -c CONFIG [-c CONFIG ...] [--KEY VALUE]"
    parser.epilog = "All else is as for `ssl-faces fit`; no faces are read, and nothing is trained."


def measure(arguments: argparse.Namespace) -> Result:
    """Count one step of the method that the settings come to.

    Raises:
        InputError: bad settings, as `ssl-faces fit` tells them.
    """
    if not arguments.settings:
        raise InputError("bench cost: nothing to count; give a method's config with -c")
    cost = count(arguments.settings)
    gflop, pictures = cost.flop / 1e9, 2 * cost.pairs
    result = Result("cost", {"settings": " ".join(arguments.settings)})
    result.rows = [
        {
            "method": cost.method,
            "GFLOP a step": gflop,
            "GFLOP a picture": gflop / pictures,
            "pictures a step": pictures,
            "devices": cost.devices,
            "parameters": cost.parameters,
            "trained parameters": cost.trained,
        }
    ]
    result.notes = [
        "",
        "Multiplications and additions of convolutions and matrix products, forward and backward, "
        "of one step on one device.",
    ]
    result.details = asdict(cost)
    return result


def count(settings: Sequence[str], keep: Path | None = None, precision: str = "32-true") -> Cost:
    """The cost of one step of the run that `ssl-faces fit` would make of these arguments.

    It is counted on the CPU, on made-up pictures. Of a large batch it is worked out from the costs
    of four small ones, where these lie on one polynomial of degree two, as sums over pictures and
    over pairs of them do: then it is exact.

    Args:
        settings: `-c CONFIG`, `--KEY VALUE`.
        keep: a folder for what a later stage of the method builds on: the checkpoint of the
            method, all but untrained, and its networks beside the encoder.
        precision: of the arithmetic; what is counted doesn't depend on it.

    Raises:
        InputError: bad settings.
    """
    with tempfile.TemporaryDirectory() as nowhere, _without_a_word():
        _CountCLI.clock = StartClock(time.perf_counter())
        arguments = [*settings, "--out", nowhere, "--trainer.logger", "false"]
        cli = build(
            _CountCLI,
            _MadeUpFaces,
            ["fit", *arguments, "--trainer.precision", precision, "--ckpt_path", "null"],
        )
        assert isinstance(cli, _CountCLI)
        if keep is not None:
            _keep(cli, keep)
    return cli.cost


def _keep(cli: FaceCLI, folder: Path) -> None:
    cli.trainer.save_checkpoint(folder / CHECKPOINT, weights_only=False)
    for name, network in cli.model.by_products().items():
        weights = {key: value.contiguous() for key, value in network.state_dict().items()}
        replace_file(folder / f"{name}.safetensors", save(weights), durable=False)


class _MadeUpFaces(FaceDataModule):
    """Pictures of noise, in batches of the sizes asked for; no face set is looked for."""

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
        pictures = torch.randint(256, shape, dtype=torch.uint8, generator=draw)
        return {"pairs": pictures, "mirrored": torch.ones(pairs, dtype=torch.bool), "seed": 0}


class _StepCounter(pl.Callback):
    """Counts each training step, from the batch as the method is given it to its end."""

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
        """Count no more; after a step that failed, too."""
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None


class _CountCLI(FaceCLI):
    """`fit` that trains a few steps on made-up pictures, and counts them."""

    cost: Cost

    def check_trainer(self, settings: Any) -> None:
        """Nothing is trained here: the settings may be those of another machine."""

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        # Nothing of a run's: no callbacks, loggers or checkpoints.
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
        """In the place of the trainer's."""
        settings = self.config_init[self.config_init.subcommand].trainer

        def counted(sizes: tuple[int, ...]) -> list[int]:
            datamodule.sizes = sizes
            counter = _StepCounter()
            self.trainer = self._trainer(counter)
            try:
                # Fused attention on a CPU is not known to the counter; as plain products it is.
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
    """What a batch costs, counted or worked out from small ones.

    Args:
        counted: the costs of batches of so many pairs.
    """
    if pairs > max(_FEW):
        differences = [counted(_FEW)]
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
def _without_a_word() -> Iterator[None]:
    """Without Lightning's lines about a trainer that trains nothing."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.fabric")]
    loggers += [logging.getLogger("lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
