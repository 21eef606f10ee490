"""`ssl-faces bench memory`: peak memory of a run's data with a small and with a large pack.

For each pack a fresh process sets up the data module and draws some hundred batches from all over
an epoch, with the pictures read from disk. What is told is the process's own peak; a forked
loader's process, and a process that has replaced another, would have the other's in `ru_maxrss`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ssl_faces.bench.result import Result
from ssl_faces.common.arguments import SIDE, several, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.safe_path import python
from ssl_faces.data.store.packs import INDEX, TESTS, HeldOut, Index, dump_held_out
from ssl_faces.data.store.shards import Columns, number_of, pictures_a_shard, write_shard

_EACH = 5  # pictures of a person


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pictures",
        type=several(whole(1)),
        default="50000,500000",
        help="pictures of the packs (50000,500000)",
    )
    parser.add_argument("--size", type=SIDE, default=16, help="side of the pictures (16)")
    parser.add_argument("--batches", type=whole(1), default=300, help="batches drawn (300)")
    parser.add_argument("--batch-size", type=whole(1), default=256, help="pairs a batch (256)")


def measure(arguments: argparse.Namespace) -> Result:
    """Peak memory by the number of pictures in the pack.

    Raises:
        InputError: bad input.
    """
    counts = arguments.pictures
    least = arguments.batch_size
    if min(counts) < least:
        raise InputError(f"--pictures: {min(counts)}; give at least a batch of {least}")
    result = Result(
        "memory",
        {
            "size": arguments.size,
            "batches": arguments.batches,
            "pairs a batch": arguments.batch_size,
        },
    )
    peaks: list[int] = []
    with tempfile.TemporaryDirectory(prefix="ssl-faces-bench-") as folder:
        for count in counts:
            place = Path(folder) / str(count)
            length = synthetic_pack(place, count, arguments.size)
            found = _run(place, arguments)
            peaks.append(found["peak"])
            result.rows.append(
                {
                    "pictures": count,
                    "pack MB": length / 1e6,
                    "imports MB": found["before"] / 1e6,
                    "peak MB": found["peak"] / 1e6,
                    "data module MB": (found["peak"] - found["before"]) / 1e6,
                    "pictures read": found["read"],
                }
            )
    growth = 100 * (peaks[-1] / peaks[0] - 1)
    result.details["growth %"] = growth
    result.notes.append(
        f"From {counts[0]:,} to {counts[-1]:,} pictures the peak grows by {growth:.1f} %. "
        "'imports' is the peak before the data module is set up, with all that a run imports."
    )
    return result


def _run(place: Path, arguments: argparse.Namespace) -> dict[str, int]:
    settings = [str(place), arguments.size, arguments.batch_size, arguments.batches]
    program = f"from ssl_faces.bench.memory import draw; draw(*{settings!r})"
    done = subprocess.run(python("-c", program), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the measured process failed:\n{done.stderr}")
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def draw(place: str, size: int, batch_size: int, batches: int) -> None:
    """In a process of its own: set up, draw, print the peaks in bytes as JSON."""
    import ssl_faces.training.fit  # noqa: F401  # as a run does
    from ssl_faces.data.pairs.module import FaceDataModule

    before = peak_memory()
    data = FaceDataModule(
        packs=place,
        size=size,
        batch_size=batch_size,
        cache=Path(place).parent / "cache",
    )
    data.prepare_data()
    data.setup()
    loader: Any = data.train_dataloader()
    pairs = loader.dataset
    read = 0
    # From all over the epoch, so that every shard is read from.
    for start in np.linspace(0, len(pairs) - 1, batches).astype(int).tolist():
        pairs.start = start
        batch = next(iter(pairs))
        read += 2 * len(batch["pairs"])
    print(json.dumps({"before": before, "peak": peak_memory(), "read": read}))


def peak_memory() -> int:
    """Most bytes that this process has had in memory."""
    status = Path("/proc/self/status")
    if status.exists():
        # `ru_maxrss` is carried over from the process that started this one.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def synthetic_pack(folder: Path, count: int, size: int) -> int:
    """A pack of random pictures, five of each person; its bytes."""
    random = np.random.default_rng(0)
    index = Index(
        size,
        [
            {
                "name": "random",
                "part": "all",
                "people": True,
                "left_out_as_copies_of_test_pictures": 0,
                "left_out_as_pictures_of_test_people": 0,
                "pictures": count,
            }
        ],
    )
    most = pictures_a_shard(size)
    for shard, start in enumerate(range(0, count, most)):
        numbers = np.arange(start, min(start + most, count))
        entry = write_shard(
            folder / f"shard-{shard:05d}.safetensors",
            random.integers(0, 256, (len(numbers), 3, size, size), np.uint8),
            Columns(
                numbers,
                np.zeros(len(numbers)),
                np.array([number_of(f"p{n // _EACH}") for n in numbers.tolist()]),
                random.integers(0, 256, (len(numbers), 32), np.uint8),
                [f"{n:09d}.jpg" for n in numbers.tolist()],
            ),
            {"passed": []},
        )
        index.shards.append(entry)
    replace_file(folder / TESTS, dump_held_out(HeldOut.of()))
    replace_file(folder / INDEX, index.dump())
    return sum(entry.bytes for entry in index.shards)
