"""`ssl-faces bench feed`: pairs per second of packed faces compared with a loader of image files.

The other loader is the kind that FaceCycle's authors train with: a map-style data set that opens
both images with PIL, resizes them, and crops, jitters and mirrors each with torchvision.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ssl_faces.bench.options import add_rounds
from ssl_faces.bench.result import Result, Value
from ssl_faces.bench.timing import side_by_side
from ssl_faces.common.arguments import SIDE, comma_separated, whole
from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, FaceSet
from ssl_faces.data.pairs.augment import PairAugmentation
from ssl_faces.data.pairs.pairing import PairBatches
from ssl_faces.data.pictures import BadImage
from ssl_faces.data.sets.discover import default_data_root, find_face_sets
from ssl_faces.data.sets.folder import ImageFolder
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.stored_faces import StoredFaces
from ssl_faces.rendered import RenderedFaces

_PIL = "PIL, a picture at a time"
_SHORTEST = 0.5  # least seconds of a candidate's turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", type=Path, help="folder of face sets (data.root's default, else rendered faces)")
    add("--size", type=SIDE, default=64, help="side of the images (64)")
    add("--batch-size", type=whole(1), default=16, help="pairs per batch (16)")
    add("--pictures", type=whole(1), default=4000, help="images to pack (4,000)")
    add(
        "--workers",
        type=comma_separated(whole(0, 64)),
        default="0,1,2",
        help="loader processes (0,1,2)",
    )
    add_rounds(parser)


def measure(arguments: argparse.Namespace) -> Result:
    """Pairs per second, by number of loader processes and candidate.

    Raises:
        InputError: bad input.
    """
    with tempfile.TemporaryDirectory(prefix="ssl-faces-bench-") as name:
        folder = Path(name)
        faces = _faces(arguments, folder)
        if len(faces) < arguments.batch_size:
            raise InputError(
                f"--data: {len(faces)} pictures are fewer than a batch of {arguments.batch_size}"
            )
        pack_sets([faces], folder / "pack", arguments.size)
        pack = Pack(folder / "pack", folder)
        result = Result(
            "feed",
            {
                "data": faces.name,
                "pictures": len(faces),
                "pack": f"{sum(e.bytes for e in pack.index.shards) / 1e6:.0f} MB",
                "size": arguments.size,
                "pairs a batch": arguments.batch_size,
                "rounds": arguments.rounds,
                "torch threads": torch.get_num_threads(),
            },
            notes=[
                "All files are in the system's file cache. 'batch augmentation' is the part that "
                "runs on the device of the step; the PIL loader augments in its processes."
            ],
        )
        for workers in arguments.workers:
            rates = _rates(faces, pack, arguments, workers)
            result.details[f"pairs/s, {workers} workers"] = rates
            result.rows += _rows(rates, workers, arguments.batch_size)
    return result


def _rows(rates: dict[str, list[float]], workers: int, batch_size: int) -> list[dict[str, Value]]:
    return [
        {
            "workers": workers,
            "loader": name,
            "pairs/s": median(values),
            "times PIL": median(a / b for a, b in zip(values, rates[_PIL], strict=True)),
            "ms a batch": 1000 * batch_size / median(values),
        }
        for name, values in rates.items()
    ]


def _rates(
    faces: FaceSet, pack: Pack, arguments: argparse.Namespace, workers: int
) -> dict[str, list[float]]:
    """Pairs per second in each round, by loader."""
    batch_size = arguments.batch_size
    on_disk, in_memory = StoredFaces([pack]), StoredFaces([pack])
    in_memory.load()
    augmentation = PairAugmentation(arguments.size)
    packed = _endless(PairBatches(on_disk, batch_size=batch_size), None, workers)
    loaders: dict[str, Callable[[], Any]] = {
        _PIL: _endless(PicturePairs(faces, arguments.size), batch_size, workers, shuffle=True),
        "packed, disk": packed,
        "packed, memory": _endless(PairBatches(in_memory, batch_size=batch_size), None, workers),
        "packed, disk, and batch augmentation": lambda: augmentation(packed()["pairs"]),
    }
    splits = {name: _turn(load, workers) for name, load in loaders.items()}
    seconds = side_by_side({name: turn for name, (turn, _) in splits.items()}, arguments.rounds)
    return {
        name: [splits[name][1] * batch_size / s for s in values] for name, values in seconds.items()
    }


def _turn(load: Callable[[], Any], workers: int) -> tuple[Callable[[], None], int]:
    """A call that loads enough batches to take `_SHORTEST` seconds, and the number of batches."""
    load()  # starts the processes
    count, seconds = 2 + 4 * workers, 0.0

    def turn() -> None:
        for _ in range(count):
            load()

    while seconds < _SHORTEST:
        # Few of the batches that count were prefetched before the clock started.
        count *= 2
        seconds = side_by_side({"": turn}, 1, 0)[""][0]
    return turn, count


def _endless(
    pairs: Dataset[Any], batch_size: int | None, workers: int, shuffle: bool = False
) -> Callable[[], Any]:
    """Return a function that gives the next batch, epoch after epoch, by the same processes."""

    def batches() -> Iterator[Any]:
        loader = DataLoader(
            pairs,
            batch_size,
            shuffle=shuffle if shuffle else None,
            num_workers=workers,
            drop_last=batch_size is not None,
            persistent_workers=workers > 0,
        )
        while True:
            yield from loader

    return batches().__next__


class PicturePairs(Dataset[Tensor]):
    """Pairs float [2, 3, S, S] in [0, 1], each image decoded, resized and augmented by itself."""

    def __init__(self, faces: FaceSet, size: int, flip_share: float = 0.5) -> None:
        self.sources = [record.source for record in faces.records]
        self.flip_share = flip_share
        people: dict[str, list[int]] = {}
        names = [record.person or f"/{i}" for i, record in enumerate(faces.records)]
        for i, name in enumerate(names):
            people.setdefault(name, []).append(i)
        self.partners = [people[name] for name in names]
        self.transform = transforms.Compose(
            [
                transforms.Resize((size, size)),
                transforms.RandomResizedCrop(size, scale=(0.95, 1.05), ratio=(0.95, 1.05)),
                transforms.RandomApply([transforms.ColorJitter(0.05, 0.05, 0.05, 0.01)], p=0.8),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Tensor:
        first = self._open(index)
        partners = self.partners[index]
        if len(partners) > 1 and torch.rand(()) >= self.flip_share:
            second = self._open(partners[int(torch.randint(len(partners), ()))])
        else:
            second = first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.stack((self.transform(first), self.transform(second)))

    def _open(self, index: int) -> Image.Image:
        source = self.sources[index]
        if isinstance(source, np.ndarray):
            return Image.fromarray(source).convert("RGB")
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return image.convert("RGB")


def _faces(arguments: argparse.Namespace, folder: Path) -> FaceSet:
    """Readable images, spread evenly over the requested sets."""
    root = arguments.data or default_data_root()
    count = arguments.pictures
    if arguments.data is None and not root.is_dir():
        return _rendered(folder / "rendered", count, arguments.size)
    # Whole images, without boxes: both loaders read the same.
    records = [
        FaceRecord(f"{faces.name}/{record.key}", record.source, record.person)
        for faces in find_face_sets(root)
        for record in faces.records
    ]
    records = records[:: max(1, len(records) // count)][:count]
    images = FaceSet(root.name, "all", records).read_many(
        range(len(records)), shrink=lambda image: image[:1, :1]
    )
    readable = zip(records, images, strict=True)
    return FaceSet(
        root.name, "all", [r for r, image in readable if not isinstance(image, BadImage)]
    )


def _rendered(folder: Path, count: int, size: int) -> FaceSet:
    """Rendered faces as JPEG files, one folder per person."""
    faces = RenderedFaces(count, min(count, 256), "all", max(8, size))
    for i, record in enumerate(faces.records):
        path = folder / f"{record.key}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.read(i)).save(path, quality=95)
    return ImageFolder(folder, people_from_folders=True)
