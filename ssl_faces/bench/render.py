"""`ssl-faces bench render`: faces rendered a second, and memory by the size of the set."""

from __future__ import annotations

import argparse
import tracemalloc
from statistics import median
from typing import Any

import torch

from ssl_faces.bench.result import Result
from ssl_faces.bench.timing import Seconds, side_by_side
from ssl_faces.common.arguments import SIDE, whole
from ssl_faces.common.errors import InputError
from ssl_faces.rendered import Nuisances, RenderedFaces

LEVELS: tuple[Nuisances, ...] = ("none", "mild", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=whole(1), default=1024, help="faces a round")
    parser.add_argument("--size", type=SIDE, default=64, help="side of the pictures")
    parser.add_argument(
        "--set-size", type=whole(1), default=1_000_000, help="of the set held in memory"
    )
    parser.add_argument("--rounds", type=whole(1), default=5)
    parser.add_argument("--threads", type=whole(1, 1024), help="of the CPU; all cores by default")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")


def measure(arguments: argparse.Namespace) -> Result:
    """Time drawing and rendering of the same people with each level of nuisances, in turn; on the
    CPU with all threads and with one.

    Raises:
        InputError: a number out of range, or a GPU that isn't there.
    """
    device = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no GPU that PyTorch can use; leave it out")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = arguments.threads or torch.get_num_threads()
    count = arguments.count
    sets = {
        level: RenderedFaces(count, max(1, count // 8), "all", arguments.size, 0, level)
        for level in LEVELS
    }

    def draw_and_render(level: Nuisances, threads: int) -> None:
        torch.set_num_threads(threads)
        sets[level].render_batch(range(count), device)

    together = sorted({1, threads}) if device == "cpu" else [threads]
    seconds = side_by_side(
        {
            f"{level}, {n} threads": lambda level=level, n=n: draw_and_render(level, n)  # type: ignore[misc]
            for n in together
            for level in LEVELS
        },
        arguments.rounds,
    )
    torch.set_num_threads(threads)
    drawing = side_by_side({"draw": lambda: sets["mild"].factors(range(count))}, arguments.rounds)
    result = Result(
        "render",
        {
            "faces": count,
            "side": arguments.size,
            "rounds": arguments.rounds,
            "device": device,
            "threads": threads,
        },
    )
    result.rows = [_row(level, n, seconds, count) for n in together for level in LEVELS]
    share = median(drawing["draw"]) / median(seconds[f"mild, {threads} threads"])
    result.notes = [
        "",
        f"Drawing the factors is {100 * share:.1f} % of it.",
        *(
            f"A set of {faces:,} faces of {people:,} people holds {_set_bytes(faces, people):,.1f} "
            "MiB, some of its records read."
            for faces, people in _held(arguments.set_size)
        ),
    ]
    result.details = {"seconds": seconds, "drawing": drawing}
    return result


def _row(level: str, threads: int, seconds: Seconds, count: int) -> dict[str, Any]:
    taken = seconds[f"{level}, {threads} threads"]
    return {
        "nuisances": level,
        "threads": threads,
        "faces/s": count / median(taken),
        "best round faces/s": count / min(taken),
        "ms a face": 1000 * median(taken) / count,
    }


def _held(largest: int) -> list[tuple[int, int]]:
    """Sets (faces, people): a small one, one of many faces, and one of many people too."""
    few = min(1_000, max(50, largest // 10))
    return [
        (max(few, largest // 100), few),
        (max(few, largest), few),
        (max(few, largest), max(few, largest // 10)),
    ]


def _set_bytes(faces: int, people: int) -> float:
    """MiB that a listing holds, once some of its records were made."""
    tracemalloc.start()
    try:
        listed = RenderedFaces(faces, people, "train")
        for i in range(0, len(listed), max(1, len(listed) // 20)):
            listed.records[i]
        return tracemalloc.get_traced_memory()[0] / 2**20
    finally:
        tracemalloc.stop()
