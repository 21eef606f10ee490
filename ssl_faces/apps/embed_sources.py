"""`embed` in Python: the codes of all faces of images, folders and videos."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ssl_faces.apps.arguments import writable
from ssl_faces.apps.embed import columns
from ssl_faces.apps.embedding import BATCH, read_codes
from ssl_faces.apps.face_finder import Detect, FaceFinder
from ssl_faces.apps.faces import Face, FaceReader
from ssl_faces.common.arguments import as_place
from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import Skipped
from ssl_faces.encoders.encoder import FaceEncoder, load_encoder

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

Image = str | os.PathLike[str] | np.ndarray
"""A file name or address (`s3://bucket/a.jpg`), or uint8 RGB [H, W, 3]."""


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
    sources: Image | Sequence[Image],
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
    inputs = [sources] if isinstance(sources, str | os.PathLike | np.ndarray) else list(sources)
    if not inputs:
        raise InputError("embed: no source; give at least one image, video or folder")
    places = [s if isinstance(s, np.ndarray) else as_place(os.fsdecode(s)) for s in inputs]
    finder = FaceFinder(encoder.input_size, detect, detector)
    reader = FaceReader(places, finder, largest=largest, fps=fps, quiet=True, strict=strict)
    faces, codes = read_codes(encoder, reader, spaces, batch_size=batch_size)
    if reader.skipped:
        _log.warning("skipped %d files; see `skipped` for the reasons", len(reader.skipped))
    return Embeddings(codes, faces, reader.skipped)
