"""`ssl-faces bench feed`: pairs a second of packed faces, beside a loader of picture files.

The loader beside it is the kind that FaceCycle's authors train with: a map-style data set that
opens both pictures with PIL, resizes them, and crops, jitters and mirrors each with torchvision.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ssl_faces.bench.result import Result
from ssl_faces.bench.timing import side_by_side
from ssl_faces.common.arguments import SIDE, several, whole
from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, FaceSet
from ssl_faces.data.pairs.augment import PairAugmentation
from ssl_faces.data.pairs.pairing import PairBatches
from ssl_faces.data.sets.discover import default_data_root, find_face_sets
from ssl_faces.data.sets.folder import PictureFolder
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.stored_faces import StoredFaces
from ssl_faces.rendered import RenderedFaces

_PIL = "PIL, a picture at a time"
_SHORTEST = 0.5  # seconds that one turn of a candidate takes at least


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, help="folder of face sets (default: data.root's, else rendered faces)"
    )
    parser.add_argument("--size", type=SIDE, default=64, help="side of the pictures (64)")
    parser.add_argument("--batch-size", type=whole(1), default=16, help="pairs a batch (16)")
    parser.add_argument(
        "--pictures", type=whole(1), default=4000, help="how many are packed (4,000)"
    )
    parser.add_argument(
        "--workers",
        type=several(whole(0, 64)),
        default="0,1,2",
        help="loader processes to try (0,1,2)",
    )
    parser.add_argument("--rounds", type=whole(1), default=5, help="turns of each that count (5)")


def measure(arguments: argparse.Namespace) -> Result:
    """Pairs a second, by number of loader processes and candidate.

    Raises:
        InputError: bad input.
    """
    with tempfile.TemporaryDirectory(prefix="ssl-faces-bench-") as folder:
        faces = _faces(arguments, Path(folder))
        if len(faces) < arguments.batch_size:
            raise InputError(
                f"--data: {len(faces)} pictures are fewer than a batch of {arguments.batch_size}"
            )
        pack_sets([faces], Path(folder) / "pack", arguments.size)
        pack = Pack(Path(folder) / "pack", Path(folder))
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
                "Everything lies in the system's file cache. 'batch augmentation' is what a step "
                "adds on the device it runs on; the PIL loader's processes augment each picture."
            ],
        )
        for count in arguments.workers:
            result.rows += _rows(faces, pack, arguments, count, result.details)
    return result


def _rows(
    faces: FaceSet, pack: Pack, arguments: argparse.Namespace, workers: int, details: dict[str, Any]
) -> list[dict[str, Any]]:
    batch_size = arguments.batch_size
    on_disk, in_memory = StoredFaces([pack]), StoredFaces([pack])
    in_memory.load()
    augmentation = PairAugmentation(arguments.size)
    loaders: dict[str, Callable[[], Any]] = {
        _PIL: _endless(PicturePairs(faces, arguments.size), batch_size, workers, shuffle=True),
        "packed, disk": _endless(PairBatches(on_disk, batch_size=batch_size), None, workers),
        "packed, memory": _endless(PairBatches(in_memory, batch_size=batch_size), None, workers),
    }
    packed = loaders["packed, disk"]
    loaders["packed, disk, and batch augmentation"] = lambda: augmentation(packed()["pairs"])
    kornias = _kornias_augmentation(arguments.size)
    loaders["packed, disk, and kornia's"] = lambda: kornias(packed()["pairs"])
    turns = {name: _turn(load, workers) for name, load in loaders.items()}
    seconds = side_by_side({name: turn for name, (turn, _) in turns.items()}, arguments.rounds)
    rates = {
        name: [turns[name][1] * batch_size / s for s in values] for name, values in seconds.items()
    }
    details[f"pairs/s, {workers} workers"] = rates
    return [
        {
            "workers": workers,
            "loader": name,
            "pairs/s": median(found),
            "times PIL": median(a / b for a, b in zip(found, rates[_PIL], strict=True)),
            "ms a batch": 1000 * batch_size / median(found),
        }
        for name, found in rates.items()
    ]


def _turn(load: Callable[[], Any], workers: int) -> tuple[Callable[[], None], int]:
    """A call that loads so many batches that it takes a while, and how many those are."""
    load()  # starts the processes
    count, seconds = 2 + 4 * workers, 0.0

    def turn() -> None:
        for _ in range(count):
            load()

    while seconds < _SHORTEST:
        # Batches that were made before the clock ran are few among those that count.
        count *= 2
        seconds = side_by_side({"": turn}, 1, 0)[""][0]
    return turn, count


def _endless(
    pairs: Dataset[Any], batch_size: int | None, workers: int, shuffle: bool = False
) -> Callable[[], Any]:
    """The next batch, epoch after epoch, by the same processes."""

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


def _kornias_augmentation(size: int) -> Callable[[Tensor], Tensor]:
    """The same strengths by kornia: crop a picture, jitter and flip a pair."""
    import kornia.augmentation as K

    crop = K.RandomResizedCrop(
        (size, size), scale=(0.95, 1.05), ratio=(0.95, 1.05), cropping_mode="resample"
    )
    both_frames = K.VideoSequential(
        K.ColorJitter(0.05, 0.05, 0.05, 0.01, p=0.8),
        K.RandomHorizontalFlip(p=0.5),
        data_format="BTCHW",
        same_on_frame=True,
    )

    def augment(pairs: Tensor) -> Tensor:
        floats = pairs.float() / 255
        augmented: Tensor = both_frames(crop(floats.flatten(0, 1)).view_as(floats))
        return augmented.clamp(0, 1)

    return augment


class PicturePairs(Dataset[Tensor]):
    """Pairs float [2, 3, S, S] in [0, 1], each picture decoded, resized and augmented by itself."""

    def __init__(self, faces: FaceSet, size: int, flip_share: float = 0.5) -> None:
        self.sources = [record.source for record in faces.records]
        self.flip_share = flip_share
        people: dict[str, list[int]] = {}
        for i, record in enumerate(faces.records):
            people.setdefault(record.person or f"/{i}", []).append(i)
        self.others = [people[record.person or f"/{i}"] for i, record in enumerate(faces.records)]
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
        others = self.others[index]
        if len(others) > 1 and torch.rand(()) >= self.flip_share:
            other = others[int(torch.randint(len(others), ()))]
            second = self._open(other)
        else:
            second = first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.stack((self.transform(first), self.transform(second)))

    def _open(self, index: int) -> Image.Image:
        source = self.sources[index]
        if isinstance(source, np.ndarray):
            return Image.fromarray(source).convert("RGB")
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return picture.convert("RGB")


def _faces(arguments: argparse.Namespace, folder: Path) -> FaceSet:
    """So many pictures, spread over the sets that were asked for."""
    root = arguments.data or default_data_root()
    if arguments.data is None and not root.is_dir():
        return _rendered(folder / "rendered", arguments.pictures, arguments.size)
    records: list[FaceRecord] = []
    for faces in find_face_sets(root):
        # Boxes and set-specific reading are no matter of speed: whole pictures serve both.
        whole = [r for r in faces.records if isinstance(r.source, Path | np.ndarray | bytes)]
        records += [FaceRecord(f"{faces.name}/{r.key}", r.source, r.person) for r in whole]
    step = max(1, len(records) // arguments.pictures)
    return FaceSet(root.name, "all", _readable(records[::step][: arguments.pictures]))


def _readable(records: Sequence[FaceRecord]) -> list[FaceRecord]:
    """Without those that no loader can open."""
    found = []
    for record in records:
        try:
            if not isinstance(record.source, np.ndarray):
                source = record.source
                data = io.BytesIO(source) if isinstance(source, bytes) else source
                with Image.open(data) as picture:
                    picture.load()
        except (OSError, SyntaxError, ValueError):
            continue
        found.append(record)
    return found


def _rendered(folder: Path, count: int, size: int) -> FaceSet:
    """Rendered faces as JPEG files, a folder for each person."""
    faces = RenderedFaces(count, min(count, 256), "all", max(8, size))
    for i, record in enumerate(faces.records):
        path = folder / f"{record.key}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.read(i)).save(path, quality=95)
    return PictureFolder(folder, people_from_folders=True)
