"""Hashes of the images that an encoder was trained on, in a file beside its weights.

They tell whether a test image was trained on, byte for byte or as a near-copy, and whether a named
test person was. An image takes `BYTES` bytes. It can't be made again from them, but whoever has an
image can find out whether it was trained on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from ssl_faces.common.arguments import Parser, existing
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file
from ssl_faces.data.near_copies import SIDE, Described, describe
from ssl_faces.data.pictures import square
from ssl_faces.data.store.held_out import NEAR_COPIES, number_of
from ssl_faces.encoders.encoder import HASHES, TRAINED_FILE, check_hash, read_card
from ssl_faces.encoders.places import find_encoder, saved_encoder
from ssl_faces.encoders.start import STARTED_FROM

if TYPE_CHECKING:  # Lightning takes seconds to import
    from ssl_faces.data.faces import FaceSet
    from ssl_faces.data.store.stored_faces import StoredFaces
    from ssl_faces.pairs.module import FaceData

EXACT_BYTES = 8
"""Of the SHA-256 of an image's stored bytes."""

BITS = 256
"""Signs of projections of an image's standardised HOG descriptor."""

BYTES = EXACT_BYTES + BITS // 8 + 1

MOST_BITS = 61
"""Most bits in which near-copies differ. Of FER-2013's and UTKFace's test images this finds 96 and
98 % of those whose cosine with a training image is 0.75 or more, 76 and 72 % of those with 0.6 or
more, and none of the 5,530 below 0.5."""

_SAMPLE = 2_000  # most images of a face set that its descriptors are standardised by
_BATCH = 1024
_NONE = np.zeros((0, 3, SIDE, SIDE), np.uint8)


@dataclass(frozen=True)
class Overlap:
    """How many of the test images an encoder was trained on.

    Attributes:
        images: the test images.
        identical: those that were trained on, byte for byte.
        near: those of which only a near-copy was.
        of_people: those of a person, by name, of whom any image was.
    """

    images: int
    identical: int
    near: int
    of_people: int


@dataclass(frozen=True)
class TrainedImages:
    """The hashes of N training images.

    Attributes:
        exact: uint8 [N, EXACT_BYTES], first bytes of SHA-256, sorted.
        bits: uint8 [N, BITS / 8], of the HOG descriptors.
        sets: uint8 [N], the number of each image's face set.
        people: int64 [P], sorted: `number_of` the name of each person.
        mean, scale: float32 [sets, D], by which descriptors are standardised: of each face set by
            its own, as images of one set are more alike than those of several.
    """

    exact: np.ndarray
    bits: np.ndarray
    sets: np.ndarray
    people: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def joined(self, other: TrainedImages) -> TrainedImages:
        """These images and those of another file."""
        columns = [
            np.concatenate((x.exact, x.bits, (x.sets + first).astype(np.uint8)[:, None]), axis=1)
            for x, first in ((self, 0), (other, len(self.mean)))
        ]
        table = np.unique(np.concatenate(columns), axis=0)
        return TrainedImages(
            table[:, :EXACT_BYTES],
            table[:, EXACT_BYTES:-1],
            table[:, -1],
            np.unique(np.concatenate((self.people, other.people))),
            np.concatenate((self.mean, other.mean)),
            np.concatenate((self.scale, other.scale)),
        )

    def overlap(self, test: Described) -> Overlap:
        """How many of these images were trained on. Images that can't be decoded count only if
        they are byte-identical."""
        readable = test.hashes.any(axis=1)
        identical = np.isin(_whole(test.hashes[:, :EXACT_BYTES]), _whole(self.exact)) & readable
        near = np.zeros(len(test), bool)
        descriptors, places = test.descriptors
        for some in (descriptors, test.mirrored):
            near[places] |= self._near(some.numpy())
        names = [test.faces.records[row].person for row in test.rows.tolist()]
        numbers = np.array([-1 if name is None else number_of(name) for name in names], np.int64)
        trained = np.isin(numbers, self.people)
        counts = (identical, near & ~identical, trained)
        return Overlap(len(test), *(int(which.sum()) for which in counts))

    def _near(self, descriptors: np.ndarray) -> np.ndarray:
        """bool [M]: which descriptors [M, D] have a training image's nearly equal bits."""
        near = np.zeros(len(descriptors), bool)
        for number, (mean, scale) in enumerate(zip(self.mean, self.scale, strict=True)):
            queries = _as_signs(_bits(descriptors, mean, scale))
            trained = _as_signs(self.bits[self.sets == number])
            for start in range(0, len(trained), _BATCH):
                # Products of signs: the number of equal bits less that of the others.
                alike = queries @ trained[start : start + _BATCH].T
                near |= (alike >= BITS - 2 * MOST_BITS).any(axis=1)
        return near


def hashes_of(data: FaceData) -> TrainedImages:
    """The hashes of all images that a data module trains on. Raises InputError: its shards are
    streamed."""
    if data.streamed:
        raise InputError("training images are streamed, so that no hashes of them are kept")
    faces = data.faces
    assert faces is not None
    sample: list[list[np.ndarray]] = [[] for _ in faces.set_names]
    for images, numbers in _shards(faces):
        for number in np.unique(faces.sets[numbers]).tolist():
            # Packs are in random order, so that the first images are a sample.
            lacking = _SAMPLE - sum(map(len, sample[number]))
            sample[number].append(_described(images[faces.sets[numbers] == number][:lacking]))
    statistics = [_statistics(np.concatenate([_described(_NONE), *some])) for some in sample]
    mean, scale = (np.stack(columns) for columns in zip(*statistics, strict=True))
    hashes = np.concatenate([pack.index.images.hashes for pack in data.packs])
    rows = []
    for images, numbers in _shards(faces):
        sets, described = faces.sets[numbers], _described(images)
        bits = np.zeros((len(images), BITS // 8), np.uint8)
        for number in np.unique(sets).tolist():
            which = sets == number
            bits[which] = _bits(described[which], mean[number], scale[number])
        columns = hashes[numbers, :EXACT_BYTES], bits, sets.astype(np.uint8)[:, None]
        rows.append(np.concatenate(columns, axis=1))
    # Sorted, so that they do not tell the order of training; copies of an image are one.
    table = np.unique(np.concatenate(rows), axis=0)
    # `faces.people` are unknown where pairs don't need them.
    known = np.concatenate([pack.index.images.people for pack in data.packs])
    people = np.unique(known[faces.kept])
    return TrainedImages(
        table[:, :EXACT_BYTES],
        table[:, EXACT_BYTES:-1],
        table[:, -1],
        people[people >= 0],
        mean,
        scale,
    )


def _shards(faces: StoredFaces) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The training images of each shard, uint8 [n, 3, S, S], and their numbers, int64 [n]."""
    for shard, start in enumerate(faces.starts[:-1].tolist()):
        rows = faces.rows(shard)
        if len(rows):
            yield faces.open(shard)[rows], start + rows


def _statistics(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale [D] of descriptors [n, D]; of none, those that change nothing."""
    if not len(descriptors):
        return np.zeros(descriptors.shape[1], np.float32), np.ones(descriptors.shape[1], np.float32)
    scale = descriptors.std(axis=0)
    scale[scale <= 1e-6] = 1.0
    return descriptors.mean(axis=0), scale


def _described(images: np.ndarray) -> np.ndarray:
    """HOG descriptors float32 [n, D] of uint8 [n, 3, S, S]."""
    resized = [square(image.transpose(1, 2, 0), SIDE) for image in images]
    parts = [
        describe(np.stack(resized[start : start + _BATCH]))
        for start in range(0, len(resized), _BATCH)
    ]
    return np.concatenate(parts or [describe(_NONE)])


def _bits(descriptors: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """uint8 [M, BITS / 8] of descriptors [M, D]."""
    length = descriptors.shape[1]
    # Fixed for all encoders: files of two of them can be compared with the same images.
    digest = hashlib.shake_256(b"near-copies").digest(length * BITS // 8)
    signs = np.unpackbits(np.frombuffer(digest, np.uint8)).reshape(length, BITS)
    projected = (descriptors - mean) / scale @ (signs.astype(np.float32) * 2 - 1)
    return np.packbits(projected > 0, axis=1)


def _as_signs(bits: np.ndarray) -> np.ndarray:
    """Packed bits [M, BITS / 8] as -1 and 1, float32 [M, BITS]."""
    return np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1


def _whole(rows: np.ndarray) -> np.ndarray:
    """uint8 [n, 8] as one number each."""
    return np.ascontiguousarray(rows).view(np.uint64)[:, 0]


def save_trained_images(directory: Path, trained: TrainedImages) -> tuple[str, str]:
    """Write the hashes beside an encoder's weights; a line for the user, and the file's SHA-256.
    Raises InputError: the folder can't be written, or the disk is full."""
    columns = {name: np.ascontiguousarray(column) for name, column in vars(trained).items()}
    data = safetensors.numpy.save(columns)
    replace_file(directory / TRAINED_FILE, data)
    line = f"hashes of {len(trained.exact):,} training images: {directory / TRAINED_FILE}"
    return f"{line} ({len(data) / 1e6:.1f} MB)", hashlib.sha256(data).hexdigest()


def load_trained_images(encoder: str | os.PathLike[str]) -> TrainedImages | None:
    """The hashes of an encoder's training images, named as in `load_encoder`; None if it has none.
    Raises InputError: no such encoder, or a broken file."""
    path = find_encoder(encoder) / TRAINED_FILE
    if not path.exists():
        return None
    check_hash(read_card(encoder), path)
    try:
        trained = TrainedImages(**safetensors.numpy.load(regular(path).read_bytes()))
        count = len(trained.exact)
        shapes = trained.exact.shape, trained.bits.shape, trained.sets.shape, trained.mean.shape
        if shapes != ((count, EXACT_BYTES), (count, BITS // 8), (count,), trained.scale.shape):
            raise ValueError("other columns")
    except Exception as error:  # the error of safetensors is not a ValueError
        raise InputError(
            f"{path}: no whole file of hashes ({error}); make it again: ssl-faces trained-images "
            f"{os.fsdecode(encoder)}"
        ) from error
    return trained


def with_start(
    trained: TrainedImages, start: str | os.PathLike[str] | None
) -> TrainedImages | None:
    """The hashes of training images together with those of the encoder that training started from.
    None if it is not known or has no hashes: some of the images are not known then."""
    earlier = None if start is None else load_trained_images(start)
    return None if earlier is None else trained.joined(earlier)


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces trained-images`; bad input raises InputError."""
    parser = Parser(
        prog="ssl-faces trained-images",
        description="Save hashes of the images that an encoder was trained on beside its weights, "
        "from the data sets that its card names. `ssl-faces fit` does so for new encoders.",
    )
    add = parser.add_argument
    names = "folder of a run or encoder, or a released name"
    add("encoder", type=saved_encoder, metavar="ENCODER", help=names)
    add(
        "--data",
        type=existing,
        metavar="DIR",
        help="folder with the data sets; default: as data.root",
    )
    add("--config", "-c", type=existing, metavar="FILE", help="with data.sets: RUN/config.yaml")
    add("--cache", type=Path, metavar="DIR", help="folder of packed faces")
    options = parser.parse_args(arguments)
    print(make_trained_images(options.encoder, options.data, options.cache, options.config))


def _sets_of(config: Path) -> list[FaceSet]:
    """The face sets in `data.sets` of a config."""
    from ssl_faces.common.class_paths import restrict_class_paths
    from ssl_faces.common.settings_parser import SettingsErrors
    from ssl_faces.common.yaml_settings import read_yaml
    from ssl_faces.data.faces import FaceSet

    restrict_class_paths()
    reader = SettingsErrors(prog="ssl-faces trained-images")
    reader.add_argument("--sets", type=list[FaceSet], required=True)
    data = read_yaml(config, "configs/data/mixed.yaml").get("data")
    given = reader.parse_object({"sets": data.get("sets") if isinstance(data, dict) else None})
    sets: list[FaceSet] = reader.instantiate(given).sets
    return sets


def make_trained_images(
    encoder: str | os.PathLike[str],
    root: Path | None = None,
    cache: Path | None = None,
    config: Path | None = None,
) -> str:
    """Save the hashes of a trained encoder's images; a line for the user. Raises InputError: the
    encoder's card does not list its data, or the folder has other images than were trained on.

    Args:
        root: folder with the data sets; default as of `FaceData`.
        cache: as of `FaceData`.
        config: of `ssl-faces fit`: its `data.sets` are read beside `root`, or alone.
    """
    from ssl_faces.encoders.encoder import update_card
    from ssl_faces.pairs.module import FaceData
    from ssl_faces.pairs.online import PICTURES

    card = read_card(encoder)
    listed = card.get("data")
    if not isinstance(listed, list) or not all(isinstance(about, dict) for about in listed):
        raise InputError(f"{encoder}: its card does not list the data that it was trained on")
    kept_back = any(about.get("left_out_for_the_online_probe") for about in listed)
    data = FaceData(
        root,
        None if config is None else _sets_of(config),
        size=SIDE,
        cache=cache,
        positives="picture",
        online_pictures=PICTURES if kept_back else None,
        leave_out_near_copies=any(NEAR_COPIES in about for about in listed),
    )
    data.prepare_data()
    data.setup()
    counts = [
        {about.get("name"): about.get("pictures") for about in of if about.get("pictures")}
        for of in (listed, data.description)
    ]
    names = {str(name) for name in (*counts[0], *counts[1])}
    other = [
        f"{name}: {counts[0].get(name, 0):,} in the card, {counts[1].get(name, 0):,} in the folder"
        for name in sorted(names)
        if counts[0].get(name) != counts[1].get(name)
    ]
    if other:
        raise InputError(
            f"{encoder}: was trained on other images than --data has ({'; '.join(other)}); give "
            "the folder that it was trained on, and -c RUN/config.yaml for its data.sets"
        )
    trained = hashes_of(data)
    if STARTED_FROM in card:
        start = card[STARTED_FROM].get("encoder")
        whole = with_start(trained, start)
        if whole is None:
            raise InputError(
                f"{encoder}: started from {start}, which has no hashes of its training images; "
                f"make them first: ssl-faces trained-images {start}"
            )
        trained = whole
    directory = find_encoder(encoder)
    line, digest = save_trained_images(directory, trained)
    hashes = {**card.get(HASHES, {}), TRAINED_FILE: digest}
    update_card(directory, **{HASHES: hashes})
    return line
