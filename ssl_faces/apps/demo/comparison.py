"""The comparison of two faces, as the arrays and numbers that the page shows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from torchvision.utils import flow_to_image

from ssl_faces.apps.editing import apply_edit, open_method
from ssl_faces.apps.embedding import as_images, codes_of, verification_of
from ssl_faces.apps.face_finder import FaceCrop, FaceFinder
from ssl_faces.apps.verify import SPACE, Similarity, compare
from ssl_faces.common.errors import InputError
from ssl_faces.data.pictures import BadImage
from ssl_faces.encoders.encoder import METHOD_FILE, FaceEncoder, load_encoder, read_card
from ssl_faces.encoders.saved_probe import SavedProbe, find_probe
from ssl_faces.methods.loading import editable
from ssl_faces.methods.method import MEAN, MOTION, NEUTRAL, Method
from ssl_faces.methods.released import REBUILD, find_released

FLOW, TRANSLATION = "flow", "translation"
PANELS = (NEUTRAL, MEAN, FLOW, TRANSLATION)
"""In display order; a method may lack some."""

BOXED_SIDE = 300
"""Pixels of the longer side of an image with a box, at most."""

Pair = tuple[np.ndarray, np.ndarray]


class Boxed(NamedTuple):
    """Which face of an image was taken.

    Attributes:
        pixels: the image, uint8 RGB [h, w, 3] with a longer side of at most `BOXED_SIDE`, and a box
            around the face.
        faces: usable faces of the image; 0 if it was taken whole.
    """

    pixels: np.ndarray
    faces: int


@dataclass(frozen=True, eq=False)
class Compared:
    """The comparison of the faces A and B.

    Attributes:
        faces: their crops at the encoder's input size, uint8 [S, S, 3].
        similarity: None if the encoder has no identity code.
        probabilities: of each expression, [2, K]; None without a probe.
        panels: by name, uint8 [S, S, 3] of A and of B. `translation` is B with the expression and
            pose of A, and A with those of B.
        pictures: the images of A and B, with the faces that were taken.
    """

    faces: Pair
    similarity: Similarity | None
    probabilities: np.ndarray | None
    panels: dict[str, Pair] = field(default_factory=dict)
    pictures: tuple[Boxed, ...] = ()


class FaceComparison:
    """Compares two faces at a time by an encoder, its probe and a method.

    Args:
        encoder: folder of a saved encoder, a run's, or a released name.
        method: run, checkpoint or released name of a method that edits faces; None is that of
            `encoder`, if it has one.
        detector: see `open_detector`.

    Attributes:
        lacking: sentences on what can't be shown, and how to get it.

    Raises:
        InputError: one of them can't be loaded.
    """

    def __init__(
        self,
        encoder: str | os.PathLike[str],
        method: str | os.PathLike[str] | None = None,
        detector: str = "mtcnn",
    ) -> None:
        self.encoder_name = os.fsdecode(encoder)
        self.encoder: FaceEncoder = load_encoder(encoder)
        self.probe: SavedProbe | None = find_probe(encoder)
        if method is None and edits_pictures(encoder):
            method = encoder
        self.method: Method | None = None if method is None else open_method(method, NEUTRAL)
        verification_of(self.encoder, SPACE)  # a broken entry is an error now
        self._detector = detector
        self._finders: dict[tuple[int, bool], FaceFinder] = {}
        self.lacking = self._lacks()

    def _lacks(self) -> list[str]:
        sentences = []
        name = self.encoder_name
        if self.method is None:
            sentences.append(
                "No neutral faces, flows and translations: give a run of FaceCycle or the hybrid "
                "by --with RUN."
            )
        elif MEAN not in self.method.edits():
            sentences.append(
                f"No mean face: {self.method.name} has none; FaceCycle's stage 2 has (--with RUN)."
            )
        if SPACE not in self.encoder.feature_dims:
            sentences.append(f"No similarity: {name} has no identity code; give another --encoder.")
        if self.probe is None:
            sentences.append(
                f"No expressions: {name} has no probe; make one by linear-probe save-probe "
                f"--encoder {name}."
            )
        return sentences

    def _crops(self, picture: np.ndarray, name: str, side: int, whole: bool) -> list[FaceCrop]:
        """The faces of an image, `side` pixels a side; InputError without a usable one."""
        key = (side, whole)
        if key not in self._finders:
            self._finders[key] = FaceFinder(side, "never" if whole else "auto", self._detector)
        try:
            return self._finders[key](picture)
        except BadImage as error:
            # The page has a checkbox instead of the command line's option.
            reason = str(error).partition(" (--detect")[0]
            raise InputError(
                f"{name}: {reason}; give a photograph with a face, or tick that it is a face crop"
            ) from error

    def __call__(
        self, first: np.ndarray, second: np.ndarray, *, whole: bool = False, seed: int = 0
    ) -> Compared:
        """Compare the largest faces of two images, uint8 RGB [H, W, 3].

        Args:
            whole: they are face crops.
            seed: of rendering noise.

        Raises:
            InputError: no face in one of them.
        """
        named = {"face A": first, "face B": second}

        def crops(side: int) -> list[list[FaceCrop]]:
            return [self._crops(picture, name, side, whole) for name, picture in named.items()]

        size = self.encoder.input_size
        of_images = crops(size)
        faces = [crops[0].pixels for crops in of_images]
        spaces = {SPACE, *([self.probe.space] if self.probe else [])} & {*self.encoder.feature_dims}
        codes = next(iter(codes_of(self.encoder, faces, spaces))) if spaces else {}
        panels = {}
        if self.method is not None:
            side = self.method.picture_size
            enlarged = faces if side == size else [crops[0].pixels for crops in crops(side)]
            panels = _panels(self.method, enlarged, seed)
        return Compared(
            (faces[0], faces[1]),
            compare(self.encoder, codes[SPACE]) if SPACE in codes else None,
            None if self.probe is None else self.probe(codes[self.probe.space]).numpy(),
            panels,
            tuple(map(boxed, named.values(), of_images)),
        )


def boxed(picture: np.ndarray, faces: Sequence[FaceCrop]) -> Boxed:
    """An image uint8 RGB [H, W, 3] with a box around the first of its faces."""
    image = Image.fromarray(picture)
    shrink = min(1.0, BOXED_SIDE / max(image.size))
    width, height = (max(1, round(side * shrink)) for side in image.size)
    image = image.resize((width, height))
    box = faces[0].box
    if box is None:
        return Boxed(np.asarray(image), 0)
    draw = ImageDraw.Draw(image)
    # White within black stands out from any image.
    for grow, colour, line in ((2, "black", 4), (1, "white", 2)):
        left, top, right, bottom = (value * shrink for value in box)
        draw.rectangle((left - grow, top - grow, right + grow, bottom + grow), None, colour, line)
    return Boxed(np.asarray(image), len(faces))


def _panels(method: Method, crops: list[np.ndarray], seed: int) -> dict[str, Pair]:
    panels = {}
    for name in PANELS:
        edit = MOTION if name == TRANSLATION else name
        images = None
        if name == FLOW:
            flow = method.flow_of(as_images(crops))
            if flow is not None:
                # The hue is the direction, the saturation the length, relative to the longest.
                images = flow_to_image(flow.float().cpu()).permute(0, 2, 3, 1).numpy()
        elif edit in method.edits():
            images = apply_edit(method, edit, crops, crops[::-1], seed)
        if images is not None:
            panels[name] = (images[0], images[1])
    return panels


def edits_pictures(encoder: str | os.PathLike[str]) -> bool:
    """Whether a release or a run has networks that edit faces."""
    released = find_released(encoder)
    if released is not None:
        return REBUILD in read_card(released) and (released / METHOD_FILE).is_file()
    checkpoint = Path(encoder) / "checkpoints" / "last.ckpt"
    return checkpoint.is_file() and editable(checkpoint)
