"""`ssl-faces bench scale`: two processes of one thread each beside one, on one machine's CPU."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import SIDE, whole
from ssl_faces.common.children import end_with_parent

PROCESSES = 2
MATRIX = 1024  # side of the products that tell the machine's own ceiling
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bucket views": {"gradient_as_bucket_view": True},
    "bucket views, static graph": {"gradient_as_bucket_view": True, "static_graph": True},
    "bucket views, one bucket": {"gradient_as_bucket_view": True, "bucket_cap_mb": 1000},
    "bucket views, bf16 gradients": {"gradient_as_bucket_view": True, "bf16_gradients": True},
}
"""What is tried of DistributedDataParallel. `ssl-faces fit` takes `ssl_faces.training.fit.DDP`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=("paper", "small"), default="paper", help="of stage 1")
    parser.add_argument("--input-size", type=SIDE, default=64, help="side of the pictures")
    parser.add_argument("--pairs", type=whole(1), default=2, help="a step, in each process")
    parser.add_argument(
        "--precision", choices=("32", "bf16", "both"), default="both", help="of the step"
    )
    parser.add_argument("--rounds", type=whole(1), default=5)


class Step(nn.Module):
    """A training step of stage 1 as a forward pass, for DistributedDataParallel."""

    def __init__(self, size: str, input_size: int, precision: str) -> None:
        super().__init__()
        from ssl_faces.methods.facecycle_motion import FaceCycleMotion

        torch.manual_seed(0)
        self.method = FaceCycleMotion(
            size,  # type: ignore[arg-type]
            input_size,
            trunk_weights="random",
            trunk_training="frozen" if size == "paper" else "joint",
        )
        self.method.to(memory_format=torch.channels_last)
        self.precision = precision

    def forward(self, pairs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, self.precision == "bf16"):
            return self.method.training_step({"pairs": pairs}, 0)


def _step(settings: dict[str, Any], precision: str, ddp: str | None) -> Callable[[], object]:
    step = Step(settings["size"], settings["input_size"], precision)
    optimizer = step.method.configure_optimizers()["optimizer"]
    network: nn.Module = step
    if ddp is not None:
        options = dict(SETTINGS[ddp])
        compress = options.pop("bf16_gradients", False)
        network = DistributedDataParallel(step, **options)
        if compress:
            from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

            network.register_comm_hook(None, default_hooks.bf16_compress_hook)
    side = settings["input_size"]
    pairs = torch.rand(settings["pairs"], 2, 3, side, side)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(pairs).backward()
        optimizer.step()

    return call


def _matmul(precision: str) -> Callable[[], object]:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.randn(MATRIX, MATRIX).to(dtype)
    b = torch.randn(MATRIX, MATRIX).to(dtype)

    def call() -> None:
        for _ in range(16):
            a @ b

    return call


def _serve(rank: int, store: str, settings: dict[str, Any], pipe: Connection) -> None:
    """A process: it does what it is told and says how long that took."""
    end_with_parent()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    candidates: dict[tuple[str, str, str | None], Callable[[], object]] = {}
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=PROCESSES,
            timeout=timedelta(hours=1),
        )
        while (told := pipe.recv()) is not None:
            what, precision, ddp = told
            if told not in candidates:
                if what == "matmul":
                    candidates[told] = _matmul(precision)
                else:
                    candidates[told] = _step(settings, precision, ddp)
            started, used = time.perf_counter(), time.process_time()
            candidates[told]()
            pipe.send((time.perf_counter() - started, time.process_time() - used))
        dist.destroy_process_group()
    except BaseException:
        pipe.send(traceback.format_exc())
        raise


@contextmanager
def _processes(settings: dict[str, Any]) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(PROCESSES):
            here, there = context.Pipe()
            store = str(Path(folder) / "store")
            process = context.Process(
                target=_serve, args=(rank, store, settings, there), daemon=True
            )
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        try:
            yield pipes
            for pipe in pipes:
                pipe.send(None)
            for process in processes:
                process.join()
        finally:
            for process in processes:
                process.kill()


class Took(NamedTuple):
    """Seconds of a call: by the slowest process's clock, and the most CPU time of a process."""

    wall: float
    cpu: float


def _ask(pipes: list[Connection], told: tuple[str, str, str | None]) -> Took:
    """Have these processes do it, all at once."""
    for pipe in pipes:
        pipe.send(told)
    found = []
    for pipe in pipes:
        answer = pipe.recv()
        if isinstance(answer, str):
            raise RuntimeError(f"a process failed:\n{answer}")
        found.append(answer)
    return Took(*(max(values) for values in zip(*found, strict=True)))


def measure(arguments: argparse.Namespace) -> Result:
    """Pictures a second of one process and of two, round by round in turn.

    Raises:
        InputError: a number that can't be.
    """
    settings = {name: getattr(arguments, name) for name in ("size", "input_size", "pairs")}
    precisions = ("32", "bf16") if arguments.precision == "both" else (arguments.precision,)
    rows: list[dict[str, Value]] = []
    details: dict[str, Any] = {}
    for precision in precisions:
        # Anew for each: the candidates of one fit in memory where those of all may not.
        with _processes(settings) as pipes:
            seconds = _rounds(pipes, precision, arguments.rounds)
        details[precision] = seconds
        rows += _rows(seconds, precision, 2 * arguments.pairs)
    return Result(
        "scale",
        {**settings, "precision": arguments.precision, "rounds": arguments.rounds},
        rows,
        _notes(),
        details,
    )


Seconds = dict[str, dict[str, list[Took]]]


def _rounds(pipes: list[Connection], precision: str, rounds: int) -> Seconds:
    """Seconds by candidate, of `one` process and of `two`, in the same rounds."""
    asked: dict[str, tuple[str, str | None]] = {
        f"matrix products of {MATRIX}": ("matmul", None),
        "step, no exchange": ("step", None),
        **{f"step, DDP: {name}": ("step", name) for name in SETTINGS},
    }
    seconds: Seconds = {name: {"one": [], "two": []} for name in asked}
    for number in range(rounds + 1):
        for name, (what, ddp) in asked.items():
            found = {"two": _ask(pipes, (what, precision, ddp))}
            if ddp is None:
                found["one"] = _ask(pipes[:1], (what, precision, None))
            if number:  # the first is the warm-up
                for who, value in found.items():
                    seconds[name][who].append(value)
    for name, (_, ddp) in asked.items():
        if ddp is not None:
            seconds[name]["one"] = seconds["step, no exchange"]["one"]
    return seconds


def _rows(seconds: Seconds, precision: str, pictures: int) -> list[dict[str, Value]]:
    """The table of one precision; a row's gain is the median over rounds of their ratios."""
    rows: list[dict[str, Value]] = []
    for name, of in seconds.items():
        pairs = list(zip(of["one"], of["two"], strict=True))
        row: dict[str, Value] = {"what": name, "precision": precision}
        if name.startswith("step"):
            one, two = (median(took.wall for took in of[who]) for who in ("one", "two"))
            row["one process pictures/s"] = pictures / one
            row["two processes pictures/s"] = PROCESSES * pictures / two
        row["gain of two, times"] = median(PROCESSES * a.wall / b.wall for a, b in pairs)
        row["by CPU time, times"] = median(PROCESSES * a.cpu / b.cpu for a, b in pairs)
        rows.append(row)
    return rows


def _notes() -> list[str]:
    notes = [
        "",
        "One thread a process. 'Two' are done when the slower one is. The matrix products show "
        "what the machine's cores give two processes that share nothing; 'no exchange' what they "
        "give two training runs that know nothing of each other. 'By CPU time' is the gain where "
        "each process had a core to itself: what other programs take doesn't count, nor does "
        "waiting.",
    ]
    siblings = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    if siblings.exists():
        shared = siblings.read_text().strip()
        notes.append(
            f"Core 0 shares its arithmetic units with hardware threads {shared}."
            if "," in shared or "-" in shared
            else "As the system tells it, each core is one hardware thread."
        )
    return notes
