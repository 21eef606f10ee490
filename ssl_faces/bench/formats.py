"""`ssl-faces bench formats`: pictures a second from shards, beside other containers of pictures.

What a feed of pairs needs is a picture by its number: a partner is any of a person's other
pictures, and a run that is resumed goes on in the middle of a permutation. Containers that are
read in their own order only are measured so, to show what that is worth.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ssl_faces.bench.memory import synthetic_pack
from ssl_faces.bench.result import Result
from ssl_faces.bench.timing import side_by_side
from ssl_faces.common.arguments import SIDE, whole
from ssl_faces.common.safe_path import python
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.stored_faces import StoredFaces

_OURS = "shards, pread"
_BATCH = 32
_SHUFFLED = 1000  # samples that webdataset shuffles among


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=whole(_BATCH), default=10_000, help="how many (10,000)")
    parser.add_argument("--size", type=SIDE, default=64, help="side of the pictures (64)")
    parser.add_argument("--rounds", type=whole(1), default=5, help="turns of each that count (5)")


def measure(arguments: argparse.Namespace) -> Result:
    """Pictures a second by container and order of reading.

    Raises:
        InputError: bad input.
    """
    result = Result(
        "formats",
        {"pictures": arguments.pictures, "size": arguments.size, "rounds": arguments.rounds},
        notes=["One process, everything in the system's file cache."],
    )
    with tempfile.TemporaryDirectory(prefix="ssl-faces-bench-") as name:
        folder = Path(name)
        synthetic_pack(folder / "pack", arguments.pictures, arguments.size)
        stored = StoredFaces([Pack(folder / "pack", folder)])
        # Each reads so many pictures a turn that it takes about as long as the others.
        candidates: dict[tuple[str, str], tuple[Callable[[int], object], int]] = {
            (_OURS, "by number"): (partial(_pread, stored), 8192),
            ("npy, memory map", "by number"): (_memory_map(stored, folder), 8192),
        }
        for package, add in (("litdata", _litdata), ("webdataset", _webdataset)):
            if find_spec(package) is None:
                result.notes.append(f"{package} is not installed (the extra `bench` has it).")
            else:
                candidates |= add(stored, folder)
        turns = {
            " ".join(names): partial(read, count) for names, (read, count) in candidates.items()
        }
        seconds = side_by_side(turns, arguments.rounds)
    rates = {
        names: [count / s for s in seconds[" ".join(names)]]
        for names, (_, count) in candidates.items()
    }
    ours = rates[_OURS, "by number"]
    for (container, order), found in rates.items():
        result.rows.append(
            {
                "container": container,
                "read": order,
                "pictures/s": median(found),
                "shards are times as fast": median(a / b for a, b in zip(ours, found, strict=True)),
            }
        )
    return result


def _numbers(stored: StoredFaces, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, int(stored.starts[-1]), count)


def _pread(stored: StoredFaces, count: int) -> None:
    out = np.empty((_BATCH, 3 * stored.size**2), np.uint8)
    places = np.arange(_BATCH)
    for numbers in _numbers(stored, count).reshape(-1, _BATCH):
        stored.read(numbers, out, places)


def _memory_map(stored: StoredFaces, folder: Path) -> Callable[[int], object]:
    np.save(folder / "images.npy", stored.load().numpy())
    stored.memory = None
    images = np.load(folder / "images.npy", mmap_mode="r")

    def read(count: int) -> None:
        for numbers in _numbers(stored, count).reshape(-1, _BATCH):
            images[numbers]

    return read


def _litdata(
    stored: StoredFaces, folder: Path
) -> dict[tuple[str, str], tuple[Callable[[int], object], int]]:
    program = f"from ssl_faces.bench.formats import write_litdata; write_litdata({str(folder)!r})"
    done = subprocess.run(python("-c", program), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"litdata can't write:\n{done.stderr}")
    from litdata import StreamingDataset

    by_number = StreamingDataset(str(folder / "litdata"))
    in_order = _endless(StreamingDataset(str(folder / "litdata"), shuffle=True))

    def read(count: int) -> None:
        for number in _numbers(stored, count).tolist():
            by_number[number]

    return {
        ("litdata", "by number"): (read, 256),
        ("litdata", "in its order"): (partial(_next, in_order), 8192),
    }


def write_litdata(folder: str) -> None:
    """The pictures of `images.npy` as a litdata set; in a process of its own, for its output."""
    from litdata import optimize

    images = np.load(Path(folder) / "images.npy", mmap_mode="r")
    optimize(
        fn=partial(_item, folder),
        inputs=list(range(len(images))),
        output_dir=str(Path(folder) / "litdata"),
        chunk_bytes="32MB",
        num_workers=1,
    )


def _item(folder: str, number: int) -> np.ndarray:
    return np.array(np.load(Path(folder) / "images.npy", mmap_mode="r")[number])


def _webdataset(
    stored: StoredFaces, folder: Path
) -> dict[tuple[str, str], tuple[Callable[[int], object], int]]:
    from webdataset import ShardWriter, WebDataset

    images = np.load(folder / "images.npy", mmap_mode="r")
    place = folder / "webdataset"
    place.mkdir()
    with ShardWriter(f"{place}/%05d.tar", maxsize=32e6, verbose=0) as writer:
        for number, image in enumerate(images):
            writer.write({"__key__": f"{number:09d}", "bin": image.tobytes()})
    tars = sorted(str(path) for path in place.glob("*.tar"))
    shape = (3, stored.size, stored.size)
    samples = WebDataset(tars, shardshuffle=len(tars)).shuffle(_SHUFFLED)
    in_order = _endless(samples.map(partial(_pixels, shape)))
    return {("webdataset", "in its order"): (partial(_next, in_order), 2048)}


def _pixels(shape: tuple[int, ...], sample: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(sample["bin"], np.uint8).reshape(shape)


def _endless(pictures: Any) -> Iterator[Any]:
    while True:
        yield from pictures


def _next(pictures: Iterator[Any], count: int) -> None:
    for _ in range(count):
        next(pictures)
