"""`ssl-faces bench render`: faces rendered per second."""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median

import torch

from ssl_faces.bench.options import add_compute, add_rounds, use_compute
from ssl_faces.bench.result import Result
from ssl_faces.bench.timing import side_by_side
from ssl_faces.common.arguments import SIDE, whole
from ssl_faces.rendered import Nuisances, RenderedFaces

LEVELS: tuple[Nuisances, ...] = ("none", "mild", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=whole(1), default=1024, help="faces per round (1024)")
    parser.add_argument("--size", type=SIDE, default=64, help="side of the images (64)")
    add_rounds(parser)
    add_compute(parser)


def measure(arguments: argparse.Namespace) -> Result:
    """Time sampling and rendering of the same people at each level of nuisances, in turns; on the
    CPU with all threads and with one.

    Raises:
        InputError: a GPU that isn't there.
    """
    device = use_compute(arguments)
    most, count, size = torch.get_num_threads(), arguments.count, arguments.size
    people = max(1, count // 8)
    sets = {level: RenderedFaces(count, people, "all", size, 0, level) for level in LEVELS}

    def render(level: Nuisances, threads: int) -> None:
        torch.set_num_threads(threads)
        sets[level].render_batch(range(count), device)

    cases = {
        f"{level}, {threads} threads": (level, threads)
        for threads in (sorted({1, most}) if device == "cpu" else [most])
        for level in LEVELS
    }
    seconds = side_by_side(
        {name: partial(render, *case) for name, case in cases.items()}, arguments.rounds
    )
    torch.set_num_threads(most)
    sampling = side_by_side({"": lambda: sets["mild"].factors(range(count))}, arguments.rounds)[""]
    share = median(sampling) / median(seconds[f"mild, {most} threads"])
    settings = {"faces": count, "side": size, "rounds": arguments.rounds}
    return Result(
        "render",
        {**settings, "device": device, "threads": most},
        [
            {
                "nuisances": level,
                "threads": threads,
                "faces/s": count / median(seconds[name]),
                "best round faces/s": count / min(seconds[name]),
                "ms a face": 1000 * median(seconds[name]) / count,
            }
            for name, (level, threads) in cases.items()
        ],
        ["", f"Sampling the factors takes {100 * share:.1f} % of the time."],
        {"seconds": seconds, "drawing": sampling},
    )
