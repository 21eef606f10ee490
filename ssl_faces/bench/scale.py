"""`ssl-faces bench scale`: two processes of one thread each compared with one, on the CPU."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from ssl_faces.bench.options import add_rounds, add_step, stage1
from ssl_faces.bench.result import Result, Value
from ssl_faces.common.children import end_with_parent

PROCESSES = 2
MATRIX = 1024  # side of the matrices whose products show the ceiling of the machine
PRODUCTS, ALONE, DDP = f"matrix products of {MATRIX}", "step, no exchange", "step, DDP"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_step(parser, pairs=2)
    parser.add_argument("--precision", choices=("32", "bf16", "both"), default="both")
    add_rounds(parser)


class Step(nn.Module):
    """A training step of stage 1 as a forward pass, for DistributedDataParallel."""

    def __init__(self, size: str, input_size: int, precision: str) -> None:
        super().__init__()
        training = "frozen" if size == "paper" else "joint"
        self.method = stage1(size, input_size, trunk_training=training)
        self.method.to(memory_format=torch.channels_last)
        self.precision = precision

    def forward(self, pairs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, self.precision == "bf16"):
            loss: Tensor = self.method.training_step({"pairs": pairs}, 0)
        return loss


def _candidate(name: str, settings: dict[str, Any], precision: str) -> Callable[[], object]:
    if name == PRODUCTS:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(MATRIX, MATRIX).to(dtype) for _ in range(2))
        return lambda: [a @ b for _ in range(16)]
    from ssl_faces.training.launch import DDP as SETTINGS

    side = settings["input_size"]
    step = Step(settings["size"], side, precision)
    optimizer = step.method.configure_optimizers()["optimizer"]
    network: nn.Module = DistributedDataParallel(step, **SETTINGS) if name == DDP else step
    pairs = torch.rand(settings["pairs"], 2, 3, side, side)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(pairs).backward()
        optimizer.step()

    return call


class Took(NamedTuple):
    """Seconds of a call: wall time of the slowest process, and the most CPU time of a process."""

    wall: float
    cpu: float


Seconds = dict[str, dict[str, list[Took]]]


def _measure(rank: int, folder: str, settings: dict[str, Any], precision: str, rounds: int) -> None:
    """One of the processes: time each candidate in the first process alone and in both, in turns;
    the first process writes the seconds."""
    end_with_parent()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    dist.init_process_group(
        *("gloo", f"file://{folder}/store"),
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(hours=1),
    )
    candidates = {name: _candidate(name, settings, precision) for name in (PRODUCTS, ALONE, DDP)}
    seconds: Seconds = {name: {"one": [], "two": []} for name in candidates}
    for number in range(rounds + 1):
        for name, call in candidates.items():
            for who in ("two",) if name == DDP else ("one", "two"):
                dist.barrier()
                started, used = time.perf_counter(), time.process_time()
                if who == "two" or rank == 0:
                    call()
                took = (time.perf_counter() - started, time.process_time() - used)
                both = [took] * PROCESSES
                dist.all_gather_object(both, took)
                if number:  # the first round is the warm-up
                    slowest = (max(values) for values in zip(*both, strict=True))
                    seconds[name][who].append(Took(*slowest))
    seconds[DDP]["one"] = seconds[ALONE]["one"]
    if rank == 0:
        Path(folder, "seconds.json").write_text(json.dumps(seconds))
    dist.destroy_process_group()


def measure(arguments: argparse.Namespace) -> Result:
    """Images per second of one process and of two, in turns."""
    settings = {name: getattr(arguments, name) for name in ("size", "input_size", "pairs")}
    precisions = ("32", "bf16") if arguments.precision == "both" else (arguments.precision,)
    result = Result(
        "scale",
        {**settings, "precision": arguments.precision, "rounds": arguments.rounds},
        notes=_notes(),
    )
    for precision in precisions:
        # New processes for each: the candidates of both may not fit in memory.
        with tempfile.TemporaryDirectory() as folder:
            options = (folder, settings, precision, arguments.rounds)
            spawn(_measure, options, PROCESSES, daemon=True)
            text = Path(folder, "seconds.json").read_text()
        seconds = {
            name: {who: [Took(*took) for took in values] for who, values in times.items()}
            for name, times in json.loads(text).items()
        }
        result.details[precision] = seconds
        result.rows += _rows(seconds, precision, 2 * arguments.pairs)
    return result


def _rows(seconds: Seconds, precision: str, images: int) -> list[dict[str, Value]]:
    """Table rows of one precision; gains are medians over rounds of the ratios."""
    rows: list[dict[str, Value]] = []
    for name, times in seconds.items():
        row: dict[str, Value] = {"what": name, "precision": precision}
        if name.startswith("step"):
            one, two = (median(took.wall for took in times[who]) for who in ("one", "two"))
            row["one process pictures/s"] = images / one
            row["two processes pictures/s"] = PROCESSES * images / two
        rounds = list(zip(times["one"], times["two"], strict=True))
        row["gain of two, times"] = median(PROCESSES * a.wall / b.wall for a, b in rounds)
        row["by CPU time, times"] = median(PROCESSES * a.cpu / b.cpu for a, b in rounds)
        rows.append(row)
    return rows


def _notes() -> list[str]:
    notes = [
        "",
        "One thread per process; two processes end when the slower one does. Matrix products and "
        "'no exchange' show two processes that share nothing. 'By CPU time' excludes other "
        "programs and waiting.",
    ]
    siblings = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    if siblings.exists():
        shared = siblings.read_text().strip()
        notes.append(
            f"Core 0 shares its arithmetic units with hardware threads {shared}."
            if "," in shared or "-" in shared
            else "According to the system, each core is one hardware thread."
        )
    return notes
