"""Codes of the user's own images, and their similarity."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.apps.face_finder import FaceFinder
from ssl_faces.apps.faces import Face, FaceReader
from ssl_faces.common.errors import InputError
from ssl_faces.common.finite import non_finite_rows
from ssl_faces.encoders.encoder import FaceEncoder, load_encoder

Item = TypeVar("Item")

BATCH = 64


@dataclass(frozen=True, eq=False)
class Verification:
    """How an encoder verifies people, as in its card.

    Attributes:
        space: the feature space.
        mean: of the codes, float64 [D], subtracted before comparison.
        threshold: least cosine similarity of a pair of one person.
        description: what mean and threshold were chosen on, in words.
    """

    space: str
    mean: Tensor
    threshold: float
    description: str


@dataclass(frozen=True, eq=False)
class Identification(Verification):
    """How an encoder finds people among many, as in its card.

    Attributes:
        distance: groups of faces are merged up to this mean cosine distance between them.
        rates: measured on other people: rows with `gallery` (its number of people), `rank_1`,
            `rank_5`, `tpir` and `fpir` (true and false positives at the threshold), each value, low
            and high in percent, and `n`.
    """

    distance: float
    rates: list[dict[str, Any]]


def verification_of(encoder: FaceEncoder, space: str | None = None) -> Verification | None:
    """How an encoder verifies people, from its card; None if the card has nothing.

    Args:
        space: only if it is by this feature space.

    Raises:
        InputError: the entry is broken.
    """
    known = _known(encoder, "verification", lambda entry: (entry["told"],), Verification)
    return known if known and space in (None, known.space) else None


def identification_of(encoder: FaceEncoder) -> Identification | None:
    """How an encoder finds people, from its card; None if the card has nothing.

    Raises:
        InputError: the entry is broken.
    """
    return _known(
        encoder,
        "identification",
        lambda entry: (str(entry["chosen_on"]), float(entry["distance"]), list(entry["rates"])),
        Identification,
    )


Known = TypeVar("Known", bound=Verification)


def _known(
    encoder: FaceEncoder, name: str, more: Callable[[Any], tuple[Any, ...]], kind: type[Known]
) -> Known | None:
    entry = encoder.card.get(name)
    if entry is None:
        return None
    try:
        space = str(entry["space"])
        mean = torch.tensor(entry["mean"], dtype=torch.float64)
        known = kind(space, mean, float(entry["threshold"]), *more(entry))
        if mean.shape != (encoder.feature_dims[space],):
            raise ValueError(f"a mean of {list(mean.shape)} numbers")
        numbers = [known.threshold, getattr(known, "distance", 0.0), *mean.tolist()]
        if not all(map(math.isfinite, numbers)):
            raise ValueError("numbers that are not finite")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the encoder's card: '{name}' can't be used ({error}); make it again with "
            "linear-probe threshold"
        ) from error
    return known


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
    batch_size: int = BATCH,
    may_be_empty: bool = False,
) -> tuple[list[Face], dict[str, Tensor]]:
    """The faces of a reader, without pixels, and their codes, float32 [N, D] by feature space.

    Args:
        see: called with each face while it has its pixels.
        may_be_empty: whether there may be no face.

    Raises:
        InputError: no face, or as `codes_of`.
    """
    faces: list[Face] = []
    parts: list[dict[str, Tensor]] = []
    for batch, codes in coded_batches(encoder, reader, spaces, batch_size):
        for face in batch:
            see(face)
            faces.append(face.without_pixels())
        parts.append(codes)
    if not parts and not may_be_empty:
        raise reader.nothing()
    if not parts:
        return [], {}
    return faces, {space: torch.cat([part[space] for part in parts]) for space in parts[0]}


def coded_batches(
    encoder: FaceEncoder,
    faces: Iterable[Face],
    spaces: Collection[str] | None,
    batch_size: int = BATCH,
) -> Iterator[tuple[list[Face], dict[str, Tensor]]]:
    """Batches of faces, and their codes by feature space; errors as in `codes_of`."""
    check_spaces(encoder, spaces)
    for batch in batches(faces, batch_size):
        (codes,) = codes_of(encoder, [face.pixels for face in batch], spaces, batch_size)
        yield batch, codes


def check_spaces(encoder: FaceEncoder, spaces: Collection[str] | None) -> None:
    """Raise InputError for a feature space that an encoder lacks."""
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
    check_spaces(encoder, spaces)
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


def similarity(encoder: FaceEncoder, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cosine similarities between all faces, float64 [N, N] in [-1, 1] by feature space.

    The mean in the encoder's card is subtracted first in the space that verifies people, as it was
    when the card's threshold was chosen.

    Args:
        encoder: from `load_encoder`.
        codes: of this encoder, from `embed`: [N, D] by feature space.
    """
    known = verification_of(encoder)
    means = {known.space: known.mean} if known else {}
    return {space: cosines(values, values, means.get(space)) for space, values in codes.items()}


def cosines(first: Tensor, second: Tensor, mean: Tensor | None = None) -> Tensor:
    """Cosine similarities float64 [N, M] of codes [N, D] and [M, D], minus a mean [D] if given."""
    a, b = first.double(), second.double()
    if mean is not None:
        a, b = a - mean, b - mean
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
