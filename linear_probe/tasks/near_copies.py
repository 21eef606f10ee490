"""Test pictures that the training part holds too, in another crop, size or compression.

FER-2013 was gathered from the web, where one photograph is found many times: beside the copies that
are equal byte for byte, about every sixth test picture has a near-copy in the training part. An
encoder that memorises images is rewarded for it, so there are figures without them too.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from linear_probe.probes.standardise import Standardiser
from linear_probe.sources.baselines import HogSource
from ssl_faces.data import BadImage, FaceSet
from ssl_faces.data.store.packing import square

SIMILAR = 0.6
"""Cosine of standardised HOG features from which two pictures count as near-copies. On FER-2013
labels agree above it as often as annotators do, and hardly more often than by chance below 0.5."""

SIDE = 48
_BATCH = 512


def has_near_copy(faces: FaceSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Whether each test picture has a near-copy among the training pictures: bool [M].

    Args:
        faces: the set both are of.
        train: int [N], records of the training part; pictures that can't be decoded are no copies.
        test: int [M], records of the test part.
    """
    (trained, _), (tested, in_test) = _hog(faces, train), _hog(faces, test)
    copies = np.zeros(len(test), dtype=bool)
    if not len(trained) or not len(tested):
        return copies
    standardise = Standardiser.of(trained)
    bank = F.normalize(standardise(trained))
    similar = [
        (rows @ bank.T).amax(dim=1) >= SIMILAR
        for rows in F.normalize(standardise(tested)).split(_BATCH)
    ]
    copies[in_test] = torch.cat(similar).numpy()
    return copies


def _hog(faces: FaceSet, records: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """HOG features [K, D] of those records that can be decoded, and which those are, int [K]."""
    source = HogSource(SIDE)
    features = [torch.zeros(0, *source.dims.values())]
    places: list[int] = []
    for start in range(0, len(records), _BATCH):
        piece = records[start : start + _BATCH].tolist()
        pictures = []
        squares = faces.read_many(piece, at_least=SIDE, shrink=partial(square, size=SIDE))
        for place, picture in enumerate(squares, start):
            if not isinstance(picture, BadImage):
                places.append(place)
                pictures.append(picture)
        if pictures:
            features += source(torch.from_numpy(np.stack(pictures)).float() / 255).values()
    return torch.cat(features), np.array(places, dtype=np.int64)
