"""`embed` in Python: the codes of all faces of images, folders and videos."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ssl_faces.apps.arguments import writable
from ssl_faces.apps.embed import columns
from ssl_faces.apps.embedding import BATCH, codes_of
from ssl_faces.apps.faces import Detect, Face, FaceFinder, FaceReader
from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import Skipped
from ssl_faces.data.pictures import BadImage
from ssl_faces.encoders.encoder import FaceEncoder, load_encoder

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

Image = str | os.PathLike[str] | np.ndarray
"""A file name, or uint8 RGB [H, W, 3]."""


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
        self, sources: Sequence[Image], finder: FaceFinder, strict: bool, **options: Any
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
