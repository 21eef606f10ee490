"""What the service computes: faces of image bytes, their codes, and what these mean."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from ssl_faces.apps import search
from ssl_faces.apps.embedding import codes_of, identification_of, verification_of
from ssl_faces.apps.face_finder import Detect, FaceCrop, FaceFinder
from ssl_faces.apps.serve.schema import Match
from ssl_faces.apps.verify import SPACE
from ssl_faces.apps.web.filter import Refused
from ssl_faces.apps.web.uploads import Limits, TooLarge, check_picture
from ssl_faces.data.pictures import BadImage, decode_image
from ssl_faces.encoders.encoder import load_encoder
from ssl_faces.encoders.saved_probe import find_probe

_WHOLE = " (--detect"  # begins the remark of an error that is for the command line


class Service:
    """An encoder with its probe and threshold.

    Args:
        encoder: folder of a saved encoder, a run's, or a released name.
        detector: see `open_detector`.
        index: folder of `ssl-faces search index`, to search in.

    Raises:
        InputError: one of them can't be loaded.
    """

    def __init__(
        self,
        encoder: str | os.PathLike[str],
        detector: str = "mtcnn",
        index: Path | None = None,
    ) -> None:
        self.encoder = load_encoder(encoder)
        self.name = str(self.encoder.card.get("name") or os.path.basename(os.fsdecode(encoder)))
        self.probe = find_probe(encoder)
        verification_of(self.encoder, SPACE)  # a broken entry is an error now
        self.identification = identification_of(self.encoder)
        self.index: search.Index | None = None
        if index is not None:
            search.need_faiss()
            self.index = search.open_index(index.expanduser())
            self.index.check_encoder(encoder, index)
            self._keys = self.index.faces["key"]
        size = self.encoder.input_size
        self._finders: dict[str, FaceFinder] = {
            detect: FaceFinder(size, detect, detector) for detect in get_args(Detect)
        }
        with suppress(BadImage):  # of no face; loads the detector now, which may fail
            self._finders["always"](np.zeros((64, 64, 3), np.uint8))

    def check(self, images: Sequence[bytes], limits: Limits) -> None:
        """Check images by their first bytes and headers, without decoding them; raises Refused."""
        pixels = 0
        for i, data in enumerate(images):
            try:
                pixels += check_picture(data, limits)
            except TooLarge as error:
                raise Refused(413, f"image {i}: {error}") from error
            except BadImage as error:
                raise Refused(415, f"image {i}: {error}; give JPEG or PNG") from error
        if pixels > limits.most_pixels:
            raise Refused(
                413,
                f"{len(images)} images of {pixels:,} pixels are more than the "
                f"{limits.most_pixels:,} allowed; give fewer at once",
            )

    def faces(self, data: bytes, number: int, detect: Detect, largest: bool) -> list[FaceCrop]:
        """The faces of a checked image, the largest first; Refused if it can't be used."""
        try:
            crops = self._finders[detect](decode_image(data))
        except BadImage as error:
            reason, remark, _ = str(error).partition(_WHOLE)
            mend = "give a photograph with a face, or detect=never if it is a face crop"
            raise Refused(
                422, f"image {number}: {reason}{f'; {mend}' if remark else ''}"
            ) from error
        return crops[:1] if largest else crops

    def encode(self, crops: Sequence[np.ndarray], spaces: Collection[str]) -> dict[str, Tensor]:
        """Codes float32 [N, D] by feature space of crops uint8 [S, S, 3]."""
        parts = list(codes_of(self.encoder, crops, spaces))
        return {space: torch.cat([part[space] for part in parts]) for space in parts[0]}

    def wanted(self, spaces: str | None) -> list[str]:
        """The feature spaces of a request, comma-separated; Refused if there is no such one."""
        known = self.encoder.feature_dims
        names = [*known] if spaces is None else list(dict.fromkeys(spaces.split(",")))
        for name in names:
            if name not in known:
                raise Refused(
                    422, f"spaces: no feature space '{name[:40]}'; there is {', '.join(known)}"
                )
        return names

    def matches(self, codes: Tensor, count: int) -> list[list[Match]]:
        """The faces of the index that are most similar to each code [N, D]."""
        assert self.index is not None
        known = self.identification
        similarities, rows = self.index.nearest(codes, count)
        return [
            [
                Match(
                    key=key,
                    similarity=value,
                    above=None if known is None else value >= known.threshold,
                )
                for key, value in zip(self._keys.take(row).to_pylist(), values, strict=True)
            ]
            for row, values in zip(rows, similarities.tolist(), strict=True)
        ]
