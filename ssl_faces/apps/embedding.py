"""Codes of anybody's pictures, and how alike they are."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.apps.faces import Detect, FaceFinder, Found
from ssl_faces.common.errors import InputError
from ssl_faces.common.finite import non_finite_rows
from ssl_faces.data.pictures import BadPicture, decode_picture
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.prepare.sources import kind_of

Picture = str | os.PathLike[str] | np.ndarray
"""A file, or uint8 RGB [H, W, 3]."""

Item = TypeVar("Item")

BATCH = 64


class Verification(NamedTuple):
    """How pairs of an encoder's codes are called one person's: as its card has it.

    Attributes:
        space: the feature space.
        mean: of the codes, float64 [D], which is taken off before they are compared.
        threshold: the cosine similarity from which a pair counts as one person's.
        told: of which pairs mean and threshold are, in words.
    """

    space: str
    mean: Tensor
    threshold: float
    told: str


def embed(
    encoder: FaceEncoder,
    pictures: Sequence[Picture],
    *,
    detect: Detect = "auto",
    spaces: Collection[str] | None = None,
    batch_size: int = BATCH,
) -> dict[str, Tensor]:
    """Codes of the largest face of each picture, float32 [N, D] by feature space.

    Faces are found and cropped as `ssl-faces prepare` crops, as training faces are.

    Args:
        encoder: of `load_encoder`.
        pictures: files, or uint8 RGB [H, W, 3] each.
        detect: see `FaceFinder`; `auto` takes pictures of up to 128 pixels a side as face crops.
        spaces: those wanted; None is all.
        batch_size: faces at once.

    Raises:
        InputError: a picture can't be used or has no face; which one, and why.
    """
    finder = FaceFinder(encoder.input_size, detect)
    crops = (face_of(picture, finder, f"picture {i}").pixels for i, picture in enumerate(pictures))
    parts = list(codes_of(encoder, crops, spaces, batch_size))
    if not parts:
        raise InputError("embed: no picture; give at least one")
    return {space: torch.cat([part[space] for part in parts]) for space in parts[0]}


def face_of(picture: Picture, finder: FaceFinder, name: str = "the picture") -> Found:
    """The largest face of a picture.

    Args:
        name: how an error calls pixels.

    Raises:
        InputError: it can't be used or has no face.
    """
    try:
        if not isinstance(picture, np.ndarray):
            name = os.fsdecode(picture)
            path = Path(name).expanduser()
            if kind_of(path) != "picture":
                raise BadPicture("a video or animation; give a picture")
            return finder(decode_picture(path))[0]
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            found = f"{picture.dtype} {list(picture.shape)}"
            raise InputError(f"{name}: {found}; give uint8 RGB [H, W, 3], or the file's name")
        if not picture.size:
            raise BadPicture("it has no pixels")
        return finder(picture)[0]
    except BadPicture as error:
        raise InputError(f"{name}: {error}") from error


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
    for space in spaces or ():
        if space not in encoder.feature_dims:
            raise InputError(
                f"the encoder has no space '{space}'; it has {', '.join(encoder.feature_dims)}"
            )
    device = encoder.mean.device
    for batch in batches(crops, batch_size):
        with torch.no_grad():
            found = encoder(as_images(batch).to(device), spaces)
        codes = {space: values.float().cpu() for space, values in found.items()}
        for space, values in codes.items():
            bad = len(non_finite_rows(values))
            if bad:
                raise InputError(
                    f"the encoder's {space} codes of {bad} of {len(values)} faces are NaN or "
                    "infinite; check its weights, or take another encoder"
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
    """Crops uint8 [S, S, 3] as what encoders and methods take: float [N, 3, S, S] in [0, 1]."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def as_crops(images: Tensor) -> np.ndarray:
    """Pictures float [N, 3, S, S] in [0, 1] as uint8 [N, S, S, 3].

    Raises:
        InputError: pixels are NaN.
    """
    if bool(images.isnan().any()):
        raise InputError("the method's images hold NaN; check its weights, or take another run")
    rounded = (images.detach().float().clamp(0, 1) * 255).round().byte()
    return rounded.permute(0, 2, 3, 1).cpu().numpy()


def verification_of(encoder: FaceEncoder) -> Verification | None:
    """What an encoder's card has of deciding pairs; None where it has nothing.

    Raises:
        InputError: it has something broken.
    """
    kept = encoder.card.get("verification")
    if kept is None:
        return None
    try:
        found = Verification(
            str(kept["space"]),
            torch.tensor(kept["mean"], dtype=torch.float64),
            float(kept["threshold"]),
            str(kept["told"]),
        )
        if list(found.mean.shape) != [encoder.feature_dims[found.space]]:
            raise ValueError("a mean of another length")
        if not (found.mean.isfinite().all() and math.isfinite(found.threshold)):
            raise ValueError("numbers that are not finite")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the encoder's card: 'verification' can't be used ({error}); make it again by "
            "linear-probe threshold"
        ) from error
    return found


def similarity(encoder: FaceEncoder, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The cosine similarity of each face to each, float64 [N, N] by feature space, -1 to 1.

    Of the space that the encoder's card has a mean of (where it verifies people) the mean is taken
    off first, as it was where the card's threshold was chosen.

    Args:
        codes: of `embed`.
    """
    kept = verification_of(encoder)
    found = {}
    for space, values in codes.items():
        mean = kept.mean if kept is not None and kept.space == space else None
        found[space] = cosines(values, values, mean)
    return found


def cosines(first: Tensor, second: Tensor, mean: Tensor | None = None) -> Tensor:
    """Cosine similarities float64 [N, M] of codes [N, D] and [M, D], less a mean [D] if given."""
    one, other = first.double(), second.double()
    if mean is not None:
        one, other = one - mean, other - mean
    return F.normalize(one, dim=1) @ F.normalize(other, dim=1).T
