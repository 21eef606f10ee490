"""Face samples and face sets: where every picture of the workbench comes from.

A face set lists the pictures of one data set on its owner's layout and decodes them one at a
time. Pretraining packs several of them (`packing.py`); probes read them with their labels.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.csv_files import CsvWriter, unescaped
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.data.pictures import SHORTEST_SIDE, BadImage, content_hash, decode_image

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""Class order of expression labels in the workbench (FER-2013's order is alphabetical too, bar
`neutral`); what a set has beside them comes after them."""

Part = Literal["train", "test", "all"]
"""`test` is what probes score on, `train` is everything else, `all` is both."""

TEST_SHARE = 0.2
"""Share of people (or pictures) in `test` where the data set's owner fixed no split."""


NEUTRAL_KEY = "/neutral"
"""End of the key of the neutral frontal face of the images whose keys differ from it only there."""


class FaceSample(TypedDict, total=False):
    """One face with the labels that exist for it, and no others."""

    image: Tensor  # uint8 [3, H, W], RGB
    key: str  # unique within the face set
    person: int  # index into the set's `people`
    expression: int  # index into the set's `class_names`: EXPRESSIONS, by default
    category: int  # index into the set's `categories`, where classes are a user's own
    exogenous: int  # what shapes a picture and is none of its `category`, on test beds
    pose: Tensor  # float32 [3]: yaw, pitch, roll in degrees
    landmarks: Tensor  # float32 [68, 2 or 3], pixels of `image`, iBUG order
    age: float  # years
    gender: int
    race: int
    valence: float  # -1 to 1
    arousal: float  # -1 to 1
    # Of rendered faces, see `RenderedFaces`:
    intensity: float  # of the expression, 0 to 1
    units: Tensor  # float32 [15], FACS action units, 0 to 1
    landmarks_3d: Tensor  # float32 [68, 3], the head's frame
    visible: Tensor  # bool [68], which landmarks can be seen
    skin_tone: int
    age_band: int
    glasses: int
    light: Tensor  # float32 [3]: azimuth and elevation in degrees, ambient share
    scale: float  # pixels of half a head's height
    clip: int
    frame: int  # of the clip
    counterparts: dict[str, Tensor]  # by kind, uint8 [3, H, W]


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One listed picture: where its bytes are and what is known of it, before decoding."""

    key: str
    source: Path | bytes | np.ndarray
    """A picture file, its encoded bytes, or decoded uint8 pixels [H, W] or [H, W, 3]."""
    person: str | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    box: tuple[int, int, int, int] | None = None
    """Where the face is, if not everywhere: left, top, right, bottom in pixels of the picture; may
    stick out."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A tensor goes to a spawned loader process as an open file of its own, and some thousand
        # of them are more than a process may have; arrays go by value.
        labels = {k: v.numpy() if isinstance(v, Tensor) else v for k, v in self.labels.items()}
        return _record_of_arrays, (self.key, self.source, self.person, labels, self.box)


def _record_of_arrays(
    key: str,
    source: Path | bytes | np.ndarray,
    person: str | None,
    labels: dict[str, Any],
    box: tuple[int, int, int, int] | None,
) -> FaceRecord:
    tensors = {k: torch.from_numpy(v) for k, v in labels.items() if isinstance(v, np.ndarray)}
    return FaceRecord(key, source, person, labels | tensors, box)


class Skipped(NamedTuple):
    """A picture that was passed over, and why."""

    key: str
    reason: str


def write_skipped(path: Path, skipped: Sequence[tuple[str, Skipped]]) -> None:
    """Write (face set's name, picture) of what was skipped as CSV: set, picture, reason.

    Raises:
        InputError: the file can't be written, or the disk is full.
    """
    text = io.StringIO()
    writer = CsvWriter(text)
    writer.writerow(("set", "picture", "reason"))
    writer.writerows((name, item.key, item.reason) for name, item in skipped)
    # File names may hold bytes that are no text.
    replace_file(path, text.getvalue().encode(errors="backslashreplace"))


def read_skipped(path: Path) -> list[tuple[str, Skipped]]:
    """The rows of a file of `write_skipped`, as they are written there; none where it is no such
    file."""
    try:
        with path.open(newline="") as stream:
            rows = [[unescaped(cell) for cell in row] for row in csv.reader(stream)]
    except (OSError, csv.Error, UnicodeDecodeError):
        return []
    return [(row[0], Skipped(*row[1:])) for row in rows[1:] if len(row) == 3]


class FacePair(NamedTuple):
    """Two pictures to verify: whether they show one person."""

    first: str  # keys of the set's records
    second: str
    same: bool
    fold: int  # from 0; people are never shared between folds


def distinct_pairs(pairs: Iterable[FacePair], title: str) -> list[FacePair]:
    """Pairs without those that were listed before, in either order of the two images.

    Args:
        title: whose pairs they are, for the error.

    Raises:
        InputError: a pair is listed both as one person and as two.
    """
    first_of: dict[frozenset[str], FacePair] = {}
    for pair in pairs:
        earlier = first_of.setdefault(frozenset(pair[:2]), pair)
        if earlier.same != pair.same:
            raise InputError(
                f"{title}: the pair of {pair.first} and {pair.second} is listed both as one person "
                "and as two people; delete one of its lines, or get the official file"
            )
    return list(first_of.values())


class EmptyPart(InputError):
    """A face set has no image in the part."""


Shrink = Callable[[np.ndarray], np.ndarray]


def whole(pixels: np.ndarray) -> np.ndarray:
    """The image as it is."""
    return pixels


def in_test_share(name: str, share: float = TEST_SHARE) -> bool:
    """Whether `name` (a person, or a file where no person is known) falls in the test part.

    Decided by SHA-256 of the name alone, so that it never changes with what else is in the folder.
    """
    return (
        int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "big")
        < share * 2**64
    )


class FaceSet:
    """A list of faces of one data set; `face_set[i]` decodes face i to a `FaceSample`.

    Args:
        name: the name of the set in tables and cards.
        part: which part the records are.
        records: the listed pictures.
        held_out_people: people whose pictures no pretraining may see, whatever set they come
            from (the test people of this set).
        skipped: what the listing passed over.
        test: makes the set's part `test`, where probes score on it.
        folds: int [records], for sets that are scored by cross-validation: each fold is the test
            part once, learnt on the others.
        empty: allow a part without a picture, as the part `train` of a set that is all test.
        people: the records' people, sorted, where it is known without going through them.

    Attributes:
        title: how readers know the set.
        split: how the parts `train` and `test` are split, in words.
        class_names: by label, what its numbers mean.
        place: the folder that was recognised as this set by its contents.
        pose_truth: what the label `pose` rests on, in words.
        same_images_as: the name of the set whose images it has, with other labels or pairs.
        learns_from: the name of the set to train on, for a set that is all test.
        near_copies: whether it is of photographs whose people are mostly unknown, such as those of
            the web, so that its training part may have near-copies of test images.
        identity_labels: whether its people are known by labels of real people's identity.
        no_test: why `test_part` gives none although probes score on the set.
        official_pairs: how many pairs and folds the official protocol has, if any is known.

    Raises:
        InputError: from `__init__` of the subclasses, for folders or labels that can't be used.
        BadImage: from `read` and `__getitem__`, for a picture that can't be decoded.
    """

    name: str = ""
    title: str = ""
    split: str = ""
    place: Path | None = None
    pose_truth: str = "pose as given"
    same_images_as: ClassVar[str] = ""
    learns_from: ClassVar[str] = ""
    near_copies: bool = False
    identity_labels: ClassVar[bool] = True
    official_pairs: ClassVar[tuple[int, int] | None] = None
    class_names: Mapping[str, Sequence[str]] = MappingProxyType({"expression": EXPRESSIONS})

    def __init__(
        self,
        name: str,
        part: Part,
        records: Sequence[FaceRecord],
        *,
        held_out_people: frozenset[str] = frozenset(),
        skipped: list[Skipped] | None = None,
        test: Callable[[], FaceSet] | None = None,
        folds: np.ndarray | None = None,
        empty: bool = False,
        people: Sequence[str] | None = None,
    ) -> None:
        if not records and not empty:
            raise EmptyPart(f"{name}: no picture in its part '{part}'; check the folder's layout")
        self.name = name
        self.title = self.title or name
        self.part = part
        self.records = records
        self.held_out_people = held_out_people
        self.skipped = skipped or []
        self._test = test
        self._test_set: FaceSet | None = None
        self.no_test = ""
        self.folds = folds
        if people is None:
            people = sorted({r.person for r in records if r.person is not None})
        self.people = list(people)
        self._person_index = {person: i for i, person in enumerate(self.people)}

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[FaceSample]:
        return (self[i] for i in range(len(self)))

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        """Decode face `index` to uint8 RGB [H, W, 3].

        Args:
            at_least: allow a cheaper decode at reduced size, both sides at least this long.

        Raises:
            BadImage: the bytes are not a picture that can be used.
        """
        source, box = self.records[index].source, self.records[index].box
        if isinstance(source, np.ndarray):
            pixels = np.repeat(source[..., None], 3, axis=2) if source.ndim == 2 else source
        else:
            # Boxes are in pixels of the whole picture.
            pixels = decode_image(source, at_least=at_least if box is None else None)
        if box is None:
            return pixels
        left, top, right, bottom = (max(0, side) for side in box)
        face = pixels[top:bottom, left:right]
        if min(face.shape[:2]) < SHORTEST_SIDE:
            raise BadImage(f"its box {box} lies outside, or has a side below {SHORTEST_SIDE}")
        return face

    def content_hash(self, index: int) -> bytes:
        """SHA-256 of the stored bytes of face `index`: equal for byte-identical copies, whatever
        box of them is the face."""
        source = self.records[index].source
        if isinstance(source, Path):
            return content_hash(source)
        data = source.tobytes() if isinstance(source, np.ndarray) else source
        return hashlib.sha256(data).digest()

    def hash_if_readable(self, index: int) -> bytes:
        """`content_hash`, or nothing where the image can't be read."""
        try:
            return self.content_hash(index)
        except BadImage:
            return b""

    def read_many(
        self,
        indices: Sequence[int],
        at_least: int | None = None,
        workers: int = 4,
        shrink: Shrink = whole,
    ) -> list[np.ndarray | BadImage]:
        """`read` of several faces at once; a bad picture is given as its error.

        Args:
            shrink: what to keep of each image. It is called as soon as an image is decoded, so
                that no more than `workers` whole images are in memory.
        """

        def read(index: int) -> np.ndarray | BadImage:
            try:
                return shrink(self.read(index, at_least))
            except BadImage as error:
                return error

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(read, indices))

    def version(self, index: int) -> bytes:
        """Something that changes when the stored bytes of face `index` or its box do, without
        reading them."""
        source = self.records[index].source
        if isinstance(source, Path):
            try:
                stat = source.stat()
            except OSError:
                return b"missing"
            box = self.records[index].box
            return f"{stat.st_size} {stat.st_mtime_ns} {box or ''}".rstrip().encode()
        return self.content_hash(index)

    @property
    def has_test_part(self) -> bool:
        """Whether probes score on the set; its part `test` is not listed for it."""
        return self._test is not None

    def test_part(self) -> FaceSet | None:
        """The set's part `test`; None where no probe scores on the set, or none of it is there."""
        if self._test_set is None and self._test is not None and not self.no_test:
            try:
                self._test_set = self._test()
            except EmptyPart as error:
                self.no_test = str(error)
        return self._test_set

    def __getitem__(self, index: int) -> FaceSample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        record = self.records[index]
        image = torch.from_numpy(np.ascontiguousarray(self.read(index).transpose(2, 0, 1)))
        sample = cast(FaceSample, {"image": image, "key": record.key, **record.labels})
        if record.person is not None:
            sample["person"] = self._person_index[record.person]
        return sample
