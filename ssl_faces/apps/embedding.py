"""Codes of the user's own images, and their similarity."""

from __future__ import annotations

import argparse
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.apps.arguments import writable
from ssl_faces.apps.embed import columns
from ssl_faces.apps.faces import Detect, Face, FaceFinder, FaceReader
from ssl_faces.common.errors import InputError
from ssl_faces.common.finite import non_finite_rows
from ssl_faces.data.faces import Skipped
from ssl_faces.data.pictures import BadImage
from ssl_faces.encoders.encoder import FaceEncoder, load_encoder

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

Picture = str | os.PathLike[str] | np.ndarray
"""A file name, or uint8 RGB [H, W, 3]."""

Item = TypeVar("Item")

BATCH = 64


class Verification(NamedTuple):
    """How an encoder verifies people, as in its card.

    Attributes:
        space: the feature space.
        mean: of the codes, float64 [D], subtracted before comparison.
        threshold: least cosine similarity of a pair of one person.
        description: the pairs that mean and threshold were chosen on, in words.
    """

    space: str
    mean: Tensor
    threshold: float
    description: str


class Embeddings(dict[str, Tensor]):
    """Codes of N faces by feature space, float32 [N, D] each, and what is known of each face.

    Attributes:
        faces: N: key, source, box, score, and the time and frame of a video (see `Face`).
        skipped: inputs without a usable face, and the reasons.
    """

    def __init__(
        self, codes: Mapping[str, Tensor], faces: list[Face], skipped: Sequence[Skipped] = ()
    ) -> None:
        super().__init__(codes)
        self.faces = faces
        self.skipped = list(skipped)

    def frame(self) -> pd.DataFrame:
        """One row a face: `key`, the codes of each space (float32 [D]), `source`, the box `left`,
        `top`, `right` and `bottom` in pixels of the image (NaN for images taken whole), the
        detector's `score` from 0 to 1, `time` in seconds (-1 in images) and `frame`."""
        import pandas as pd

        keys = [writable(face.key) for face in self.faces]
        codes = {space: list(values.numpy()) for space, values in self.items()}
        return pd.DataFrame({"key": keys, **codes, **columns(self.faces)})


def embed(
    encoder: FaceEncoder | str | os.PathLike[str],
    sources: Picture | Sequence[Picture],
    *,
    detect: Detect = "auto",
    detector: str = "mtcnn",
    largest: bool = False,
    fps: float = 1.0,
    strict: bool = False,
    spaces: Collection[str] | None = None,
    batch_size: int = BATCH,
) -> Embeddings:
    """Codes of all faces of images and videos, as `ssl-faces embed` gives them.

    Faces are detected and cropped as by `ssl-faces prepare`, like training faces. They come in the
    order of the sources; within a folder in the order of keys, within an image the largest first.

    Args:
        encoder: from `load_encoder`, or a name or folder for it.
        sources: images, videos and folders of them: file names, or images as arrays, uint8 RGB
            [H, W, 3]. The key of an array is `image` and its number.
        detect: `always` detects faces; `never` takes the centre square of every image as a face;
            `auto` does so with images of at most 128 pixels a side.
        detector: `mtcnn`, or `yunet:FILE.onnx`.
        largest: only the largest face of each image and frame.
        fps: frames per second of videos to read, 0 to 1000; 0 skips videos.
        strict: raise an error for an input without a usable face, instead of skipping it. With
            `largest`, image i then has row i.
        spaces: feature spaces; None is all.
        batch_size: faces per batch.

    Returns:
        float32 [N, D] by feature space, with `faces`, `skipped` and `frame()`.

    Raises:
        InputError: no face in any source, a source that does not exist, or an unknown space.
    """
    if not isinstance(encoder, FaceEncoder):
        encoder = load_encoder(encoder)
    named = [sources] if isinstance(sources, str | os.PathLike | np.ndarray) else list(sources)
    finder = FaceFinder(encoder.input_size, detect, detector)
    reader = _ManySources(named, finder, strict, largest=largest, fps=fps, quiet=True)
    faces: list[Face] = []

    def crops() -> Iterator[np.ndarray]:
        for face in reader:
            faces.append(face.without_pixels())
            yield face.pixels

    parts = list(codes_of(encoder, crops(), spaces, batch_size))
    if not parts:
        first = "; ".join(f"{skipped.key}: {skipped.reason}" for skipped in reader.skipped[:3])
        raise InputError(f"embed: no face in {len(named)} sources ({first})")
    if reader.skipped:
        _log.warning("skipped %d files; see `skipped` for the reasons", len(reader.skipped))
    codes = {space: torch.cat([part[space] for part in parts]) for space in parts[0]}
    return Embeddings(codes, faces, reader.skipped)


class _ManySources:
    """The faces of files, folders and images in memory, in the given order.

    Args:
        sources: file names or arrays.
        strict: raise an error at the first file without a usable face.
        options: of `FaceReader`.

    Raises:
        InputError: a source does not exist, or is an array that is no image.
    """

    def __init__(
        self, sources: Sequence[Picture], finder: FaceFinder, strict: bool, **options: Any
    ) -> None:
        if not sources:
            raise InputError("embed: no source; give at least one image, video or folder")
        self.finder, self.strict, self.largest = finder, strict, options["largest"]
        self.skipped: list[Skipped] = []
        self._sources: list[tuple[str, FaceReader | np.ndarray]] = []
        paths = [None if isinstance(s, np.ndarray) else Path(os.fsdecode(s)) for s in sources]
        names = Counter(path.resolve().name for path in paths if path is not None)
        for i, (source, path) in enumerate(zip(sources, paths, strict=True)):
            if path is None:
                name = f"image {i}"
                self._sources.append((name, _checked(np.asarray(source), name)))
            else:
                # Files that share a name have their path in the key.
                before = f"{path.parent.as_posix()}/" if names[path.resolve().name] > 1 else ""
                self._sources.append((before, FaceReader([path], finder, **options)))

    def __iter__(self) -> Iterator[Face]:
        for name, source in self._sources:
            if isinstance(source, np.ndarray):
                yield from self._of_image(name, source)
                continue
            for face in source:
                self._check(name, source.skipped)
                yield replace(face, key=name + face.key, source=name + face.source)
            self._check(name, source.skipped)
            self.skipped += [Skipped(name + key, reason) for key, reason in source.skipped]

    def _of_image(self, name: str, pixels: np.ndarray) -> Iterator[Face]:
        try:
            crops = self.finder(pixels)
        except BadImage as error:
            self._check("", [Skipped(name, str(error))])
            self.skipped.append(Skipped(name, str(error)))
            return
        for i, crop in enumerate(crops[:1] if self.largest else crops):
            yield Face(f"{name}#{i}" if i else name, name, crop.pixels, crop.box, crop.score)

    def _check(self, name: str, skipped: Sequence[Skipped]) -> None:
        if self.strict and skipped:
            raise InputError(f"{name}{skipped[0].key}: {skipped[0].reason}")


def _checked(pixels: np.ndarray, name: str) -> np.ndarray:
    """An image given as an array; InputError if it isn't uint8 RGB."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        kind = f"{pixels.dtype} {list(pixels.shape)}"
        raise InputError(f"{name}: {kind}; give uint8 RGB [H, W, 3], or the file's name")
    return pixels


def open_reader(options: argparse.Namespace, **settings: Any) -> tuple[FaceEncoder, FaceReader]:
    """The encoder of a command line, and a reader of its sources at the encoder's input size."""
    encoder = load_encoder(options.encoder)
    finder = FaceFinder(encoder.input_size, options.detect, options.detector)
    reader = FaceReader(options.sources, finder, fps=options.fps, out=options.out, **settings)
    return encoder, reader


def read_codes(
    encoder: FaceEncoder,
    reader: FaceReader,
    spaces: Collection[str] | None,
    see: Callable[[Face], object] = lambda face: None,
) -> tuple[list[Face], dict[str, Tensor]]:
    """The faces of a reader, without pixels, and their codes, float32 [N, D] by feature space.

    Args:
        see: called with each face while it has its pixels.

    Raises:
        InputError: no face, or as `codes_of`.
    """
    faces: list[Face] = []
    parts: list[dict[str, Tensor]] = []
    for batch, codes in coded_batches(encoder, reader, spaces):
        for face in batch:
            see(face)
            faces.append(face.without_pixels())
        parts.append(codes)
    if not parts:
        raise reader.nothing()
    return faces, {space: torch.cat([part[space] for part in parts]) for space in parts[0]}


def coded_batches(
    encoder: FaceEncoder, faces: Iterable[Face], spaces: Collection[str] | None
) -> Iterator[tuple[list[Face], dict[str, Tensor]]]:
    """Batches of faces, and their codes by feature space; errors as in `codes_of`."""
    _check_spaces(encoder, spaces)
    for batch in batches(faces, BATCH):
        (codes,) = codes_of(encoder, [face.pixels for face in batch], spaces)
        yield batch, codes


def _check_spaces(encoder: FaceEncoder, spaces: Collection[str] | None) -> None:
    for space in spaces or ():
        if space not in encoder.feature_dims:
            raise InputError(
                f"the encoder has no space '{space}'; it has {', '.join(encoder.feature_dims)}"
            )


def codes_of(
    encoder: FaceEncoder,
    crops: Iterable[np.ndarray],
    spaces: Collection[str] | None = None,
    batch_size: int = BATCH,
) -> Iterator[dict[str, Tensor]]:
    """Codes of face crops uint8 [S, S, 3] in batches: float32 [B, D] by feature space.

    Raises:
        InputError: the encoder has no such space, or codes are NaN or infinite.
    """
    _check_spaces(encoder, spaces)
    device = encoder.mean.device
    for batch in batches(crops, batch_size):
        with torch.no_grad():
            outputs = encoder(as_images(batch).to(device), spaces)
        codes = {space: values.float().cpu() for space, values in outputs.items()}
        for space, values in codes.items():
            bad = len(non_finite_rows(values))
            if bad:
                raise InputError(
                    f"the encoder's {space} codes of {bad} of {len(values)} faces are NaN or "
                    "infinite; check its weights, or give another encoder"
                )
        yield codes


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to `size` items each."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def as_images(crops: Sequence[np.ndarray]) -> Tensor:
    """Crops uint8 [S, S, 3] as the input of encoders and methods: float [N, 3, S, S] in [0, 1]."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def as_crops(images: Tensor) -> np.ndarray:
    """Images float [N, 3, S, S] in [0, 1] as uint8 [N, S, S, 3]; NaN raises InputError."""
    if bool(images.isnan().any()):
        raise InputError("the method's images hold NaN; check its weights, or give another run")
    rounded = (images.detach().float().clamp(0, 1) * 255).round().byte()
    return rounded.permute(0, 2, 3, 1).cpu().numpy()


def verification_of(encoder: FaceEncoder, space: str | None = None) -> Verification | None:
    """How an encoder verifies people, from its card; None if the card has nothing.

    Args:
        space: only if it is by this feature space.

    Raises:
        InputError: the entry is broken.
    """
    entry = encoder.card.get("verification")
    if entry is None:
        return None
    try:
        verification = Verification(
            str(entry["space"]),
            torch.tensor(entry["mean"], dtype=torch.float64),
            float(entry["threshold"]),
            str(entry["told"]),
        )
        if list(verification.mean.shape) != [encoder.feature_dims[verification.space]]:
            raise ValueError("a mean of another length")
        if not (verification.mean.isfinite().all() and math.isfinite(verification.threshold)):
            raise ValueError("numbers that are not finite")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the encoder's card: 'verification' can't be used ({error}); make it again with "
            "linear-probe threshold"
        ) from error
    return verification if space in (None, verification.space) else None


class Identification(NamedTuple):
    """How an encoder finds people among many, as in its card.

    Attributes:
        space: the feature space.
        mean: of the codes, float64 [D], subtracted before comparison.
        threshold: least cosine similarity of a match.
        distance: groups of faces are merged up to this mean cosine distance between them.
        description: the images that the three were chosen on, in words.
        rates: measured on other people: rows with `gallery` (its number of people), `rank_1`,
            `rank_5`, `tpir` and `fpir` (true and false positives at the threshold), each value, low
            and high in percent, and `n`.
    """

    space: str
    mean: Tensor
    threshold: float
    distance: float
    description: str
    rates: list[dict[str, Any]]


def identification_of(encoder: FaceEncoder) -> Identification | None:
    """How an encoder finds people, by its card; None if the card has no such entry.

    Raises:
        InputError: the card's entry can't be used.
    """
    entry = encoder.card.get("identification")
    if entry is None:
        return None
    try:
        space = str(entry["space"])
        mean = torch.tensor(entry["mean"], dtype=torch.float64)
        threshold, distance = float(entry["threshold"]), float(entry["distance"])
        if mean.shape != (encoder.feature_dims[space],):
            raise ValueError(f"a mean of {list(mean.shape)} numbers")
        if not (mean.isfinite().all() and math.isfinite(threshold + distance)):
            raise ValueError("numbers that are not finite")
        return Identification(
            *(space, mean, threshold, distance, str(entry["chosen_on"])), list(entry["rates"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the encoder's card: 'identification' can't be used ({error}); make it again with "
            "linear-probe threshold"
        ) from error


def similarity(encoder: FaceEncoder, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cosine similarities between all faces, float64 [N, N] in [-1, 1] by feature space.

    The mean in the encoder's card is subtracted first in the space that verifies people, as it was
    when the card's threshold was chosen.

    Args:
        encoder: from `load_encoder`.
        codes: of this encoder, from `embed`: [N, D] by feature space.
    """
    means = {}
    if (verification := verification_of(encoder)) is not None:
        means[verification.space] = verification.mean
    return {space: cosines(values, values, means.get(space)) for space, values in codes.items()}


def cosines(first: Tensor, second: Tensor, mean: Tensor | None = None) -> Tensor:
    """Cosine similarities float64 [N, M] of codes [N, D] and [M, D], minus a mean [D] if given."""
    a, b = first.double(), second.double()
    if mean is not None:
        a, b = a - mean, b - mean
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
