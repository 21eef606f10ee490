"""`ssl-faces bench scale`: what plans, shards and large tables cost beside the work itself.

All is CPU time, as wall time depends on what else runs. Each figure is measured in a process of its
own, whose peak memory is shown without what it had before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from ssl_faces.bench.result import Result
from ssl_faces.common.arguments import comma_separated, whole
from ssl_faces.plan import engine as engines
from ssl_faces.plan.command import run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.steps import Step

PARTS = 10
_MIB = 2**20

Cost = tuple[float, float]
"""CPU seconds, and MiB of memory at the peak."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    few = "numbers of steps of a plan"
    add("--steps", type=comma_separated(whole(1, 10**6)), default="1000,10000", help=few)
    add("--rows", type=whole(1000, 10**8), default=1_000_000, help="rows of tables")
    add("--files", type=whole(10, 10**7), default=20_000, help="files to list")
    add("--dim", type=whole(1, 4096), default=128, help="length of a code")


def measure(arguments: argparse.Namespace) -> Result:
    """Measure each cost."""
    result = Result("scale", {"code length": arguments.dim, "parts": PARTS})

    def add(what: str, of: str, count: int, function: Callable[..., Cost], *more: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            seconds, memory = _apart(function, Path(folder), count, *more)
        result.rows.append(
            {
                "what": what,
                "of": f"{count:,} {of}",
                "CPU s": seconds,
                "µs each": 1e6 * seconds / count,
                "peak MiB": memory,
            }
        )

    for count in arguments.steps:
        add("plan", "steps", count, plan)
    add("start and end of a shard", "shards of pack", 3, shard)
    add("list and hash inputs", "files", arguments.files, listing)
    rows = arguments.rows
    add("join tables, Parquet", "rows", rows, joining, arguments.dim)
    add("manifest of prepare", "rows", rows // 10, manifest)
    add("index of a pack, written and read", "rows", rows, index)
    add("near-duplicates among as many", "hashes", rows, duplicates)
    return result


@contextmanager
def _cost() -> Iterator[list[float]]:
    """The list gets the cost of what is done within, children included."""
    cost: list[float] = []
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sum(os.times()[:4])
    yield cost
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cost += [sum(os.times()[:4]) - seconds, (after - before) * 1024 / _MIB]


def _apart(function: Callable[..., Cost], *arguments: Any) -> Cost:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


class _Nothing:
    """A process that has ended."""

    pid = 0
    about: Mapping[str, Any] = {}

    def __init__(self, *_: Any) -> None: ...

    def check(self) -> bool:
        return True

    def ask_to_end(self, number: int) -> None: ...

    def kill(self) -> None: ...


def plan(folder: Path, count: int) -> Cost:
    """A plan of steps that do nothing: order, state and notes."""
    engines.executor, engines._TICK = _Nothing, 0.0
    steps = [
        Step(
            f"step {i}",
            ["ssl-faces", "pack", "--shard", f"{i}/{count}"],
            folder / "log",
            folder / str(i),
            decides={"inputs": "0" * 64},
            note=folder / f"{i}.json",
        )
        for i in range(count)
    ]

    def work(engine: Engine) -> int:
        engine.begin()
        engine.run(steps)
        return 0

    with _cost() as cost, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        run_plan(["ssl-faces", "pack"], folder / "plan", work, jobs=100, by_memory=False)
    return cost[0], cost[1]


def shard(folder: Path, count: int) -> Cost:
    """Shards that find nothing to do: one image is packed by the last of many."""
    from PIL import Image

    from ssl_faces.plan.processes import Command

    (folder / "in").mkdir()
    Image.new("RGB", (32, 32)).save(folder / "in/a.png")
    words = ["ssl-faces", "pack", str(folder / "in"), "--out", str(folder / "pack")]
    with _cost() as cost, open(folder / "lock", "w") as lock:
        for _ in range(count):
            process = Command([*words, "--shard", "1/2"], folder / "log", lock.fileno())
            while not process.check():
                time.sleep(0.1)
    return cost[0], cost[1]


def listing(folder: Path, count: int) -> Cost:
    """What the head does before shards run, and each shard again."""
    from ssl_faces.plan.shards import content_of

    for i in range(count):
        place = folder / "in" / str(i // 1000)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.jpg").touch()
    with _cost() as cost:
        content_of([str(folder / "in")], folder / "out")
    return cost[0], cost[1]


def joining(folder: Path, count: int, dim: int) -> Cost:
    """Tables of `embed` with one space."""
    import pyarrow
    from pyarrow import parquet

    from ssl_faces.data.joining import join

    each = count // PARTS
    values = pyarrow.array(np.random.default_rng(0).random(each * dim, np.float32))
    codes = pyarrow.FixedSizeListArray.from_arrays(values, dim)
    keys = pyarrow.array([f"album/{i // 1000}/{i:09}.jpg" for i in range(each)])
    table = pyarrow.table({"key": keys, "pooled": codes, "__source": keys})
    parts = [folder / f"{i}.parquet" for i in range(PARTS)]
    for part in parts:
        parquet.write_table(table, part)
    del values, codes, keys, table
    with _cost() as cost:
        join(parts, folder / "all.parquet")
    return cost[0], cost[1]


def manifest(folder: Path, count: int) -> Cost:
    """One face a file: read what was kept of each file, mark near-duplicates, write the rows."""
    from ssl_faces.prepare.manifest import write_manifest
    from ssl_faces.prepare.reading import FaceRow, SourceFaces
    from ssl_faces.prepare.store import Store

    store, box = Store(folder / "sources"), [10.0, 20.0, 90.0, 110.0]
    crops, hashes = np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 32), np.uint8)
    files = min(count, 2000)  # read again and again
    for i in range(files):
        row = FaceRow("", f"album/{i}.jpg#0", 0, -1.0, 0, box, [[1.0, 2.0]] * 5, 0.99, 0.5)
        store.write(f"album/{i}.jpg", "1 1", SourceFaces("picture", [row], crops, hashes))
    with _cost() as cost:
        known = (store.read(f"album/{i % files}.jpg") for i in range(count))
        results = [("album/a.jpg", one[1]) for one in known if one is not None]
        write_manifest(folder, results)
    return cost[0], cost[1]


def index(folder: Path, count: int) -> Cost:
    """The table of a pack's images."""
    from ssl_faces.data.store.index import Images, Index

    draw = np.random.default_rng(0)
    numbers = draw.integers(0, 2**62, count)
    keys = [f"album/{i // 1000}/{i:09}.jpg#0" for i in range(count)]
    hashes: Sequence[bytes] = [number.tobytes() * 4 for number in numbers]
    with _cost() as cost:
        images = Images.of(numbers, np.zeros(count), np.full(count, -1), hashes, keys)
        Index(64, images=images).write(folder)
        Index.read(folder)
    return cost[0], cost[1]


def duplicates(folder: Path, count: int) -> Cost:
    """Comparisons of faces with all `count` hashes before them; the cost of all, one by one, is
    half of that of `count` faces at the end."""
    from ssl_faces.prepare.quality import HASH_BITS, NearDuplicates

    draw, faces = np.random.default_rng(0), 100
    seen = NearDuplicates(32)
    seen._words = draw.integers(0, 2**63, (count + faces, HASH_BITS // 64), dtype=np.uint64)
    seen._keys = [""] * count
    with _cost() as cost:
        for _ in range(faces):
            seen.add(draw.integers(0, 2, HASH_BITS, dtype=np.uint8), "")
    return cost[0] / faces * count / 2, cost[1]
