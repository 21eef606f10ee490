"""Two faces compared: what the page shows of them, as arrays and numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torchvision.utils import flow_to_image

from ssl_faces.apps.editing import edited, open_method
from ssl_faces.apps.embedding import as_images, codes_of, cosines, verification_of
from ssl_faces.apps.faces import FaceFinder
from ssl_faces.apps.verify import SPACE, Reliability, reliability
from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import METHOD_FILE, FaceEncoder, load_encoder, read_card
from ssl_faces.encoders.saved_probe import SavedProbe, load_probe
from ssl_faces.methods.loading import editable
from ssl_faces.methods.method import MEAN, MOTION, NEUTRAL, Method
from ssl_faces.methods.released import REBUILD, find_released

FLOW, TRANSLATION = "flow", "translation"
PANELS = (NEUTRAL, MEAN, FLOW, TRANSLATION)
"""In the order that they are shown; a method may lack some."""


@dataclass(frozen=True)
class Similarity:
    """How alike two faces' identity codes are.

    Attributes:
        value: cosine, -1 to 1.
        threshold: from which on a pair counts as one person's; None where the encoder's card has
            none.
        reliability: how often that is right; None where the card doesn't say.
    """

    value: float
    threshold: float | None
    reliability: Reliability | None


@dataclass(frozen=True, eq=False)
class Compared:
    """What was found of the faces A and B.

    Attributes:
        faces: their crops as the encoder sees them, uint8 [S, S, 3].
        similarity: None where the encoder has no identity code.
        probabilities: of each expression, [2, K]; None without a probe.
        panels: by name, uint8 [S, S, 3] of A and of B. `translation` is B with the expression and
            pose of A, and A with those of B.
    """

    faces: tuple[np.ndarray, np.ndarray]
    similarity: Similarity | None
    probabilities: np.ndarray | None
    panels: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


class FaceComparison:
    """An encoder, its probe and a method, loaded once, that compare two faces at a time.

    Args:
        encoder: folder of a saved encoder, a run's, or a released name.
        method: run, checkpoint or released name of what edits pictures; None takes it of `encoder`
            where that has it.
        detector: see `open_detector`.

    Attributes:
        lacking: sentences on what can't be shown, and what to give for it.

    Raises:
        InputError: one of them can't be had.
    """

    def __init__(
        self,
        encoder: str | os.PathLike[str],
        method: str | os.PathLike[str] | None = None,
        detector: str = "mtcnn",
    ) -> None:
        self.encoder_name = os.fsdecode(encoder)
        self.encoder: FaceEncoder = load_encoder(encoder)
        self.probe: SavedProbe | None = load_probe(encoder)
        if method is None and edits_pictures(encoder):
            method = encoder
        self.method: Method | None = None if method is None else open_method(method, NEUTRAL)
        self._verification = verification_of(self.encoder)
        self._detector = detector
        self._finders: dict[tuple[int, bool], FaceFinder] = {}
        self.lacking = list(self._lacks())

    def _lacks(self) -> list[str]:
        said = []
        if self.method is None:
            said.append(
                "No neutral faces, flows and translations: give a run of FaceCycle or the hybrid "
                "by --with RUN."
            )
        elif MEAN not in self.method.edits():
            said.append(
                f"No mean face: {self.method.name} has none; FaceCycle's stage 2 has (--with RUN)."
            )
        if SPACE not in self.encoder.feature_dims:
            said.append(
                f"No similarity: {self.encoder_name} has no identity code; give another --encoder."
            )
        if self.probe is None:
            said.append(
                f"No expressions: {self.encoder_name} has no probe; make one by linear-probe "
                f"save-probe --encoder {self.encoder_name}."
            )
        return said

    def crops(
        self, picture: np.ndarray, name: str, whole: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The largest face of a picture uint8 RGB [H, W, 3], as the encoder and as the method take
        it.

        Args:
            name: how an error calls the picture.
            whole: the picture is a face crop, whatever its size.

        Raises:
            InputError: no face in it that can be used.
        """
        sides = [self.encoder.input_size]
        if self.method is not None:
            sides.append(self.method.picture_size)
        found = {side: self._largest(picture, name, side, whole) for side in dict.fromkeys(sides)}
        of_method = None if self.method is None else found[self.method.picture_size]
        return found[self.encoder.input_size], of_method

    def _largest(self, picture: np.ndarray, name: str, side: int, whole: bool) -> np.ndarray:
        from ssl_faces.data.pictures import BadPicture

        key = (side, whole)
        if key not in self._finders:
            self._finders[key] = FaceFinder(side, "never" if whole else "auto", self._detector)
        try:
            return self._finders[key](picture)[0].pixels
        except BadPicture as error:
            # What the command line's option is there, is a box to tick here.
            reason = str(error).partition(" (--detect")[0]
            raise InputError(
                f"{name}: {reason}; give a photograph with a face, or tick that it is a face crop"
            ) from error

    def __call__(
        self, first: np.ndarray, second: np.ndarray, *, whole: bool = False, seed: int = 0
    ) -> Compared:
        """Compare the largest faces of two pictures, uint8 RGB [H, W, 3].

        Args:
            whole: they are face crops.
            seed: of rendering noise.

        Raises:
            InputError: no face in one of them.
        """
        pair = [
            self.crops(picture, name, whole)
            for picture, name in ((first, "face A"), (second, "face B"))
        ]
        faces = [of_encoder for of_encoder, _ in pair]
        spaces = set(self.encoder.feature_dims) & {
            SPACE,
            *([self.probe.space] if self.probe else []),
        }
        codes = next(iter(codes_of(self.encoder, faces, spaces))) if spaces else {}
        probabilities = None
        if self.probe is not None:
            probabilities = self.probe(codes[self.probe.space]).numpy()
        similarity = self._similarity(codes[SPACE]) if SPACE in codes else None
        edits = [crop for _, crop in pair if crop is not None]
        panels = self._panels(edits, seed) if self.method is not None else {}
        return Compared((faces[0], faces[1]), similarity, probabilities, panels)

    def _similarity(self, codes: torch.Tensor) -> Similarity:
        kept = self._verification
        decides = kept if kept is not None and kept.space == SPACE else None
        value = cosines(codes[:1], codes[1:], decides.mean if decides else None)
        return Similarity(
            float(value), decides.threshold if decides else None, reliability(self.encoder)
        )

    def _panels(
        self, crops: list[np.ndarray], seed: int
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        assert self.method is not None
        found = {}
        for name in PANELS:
            if name == FLOW:
                made = flow_colours(self.method.flow_of(as_images(crops)))
            elif name == TRANSLATION:
                made = self._edited(MOTION, crops, seed, crops[::-1])
            else:
                made = self._edited(name, crops, seed)
            if made is not None:
                found[name] = (made[0], made[1])
        return found

    def _edited(
        self, edit: str, crops: list[np.ndarray], seed: int, people: list[np.ndarray] | None = None
    ) -> np.ndarray | None:
        assert self.method is not None
        if edit not in self.method.edits():
            return None
        return edited(self.method, edit, crops, people, seed=seed)


def flow_colours(flow: torch.Tensor | None) -> np.ndarray | None:
    """Flows [B, 2, h, w] as colours, uint8 [B, h, w, 3]: the hue is the direction, the strength of
    the colour the length, of the longest of all."""
    if flow is None:
        return None
    return flow_to_image(flow.float().cpu()).permute(0, 2, 3, 1).numpy()


def edits_pictures(encoder: str | os.PathLike[str]) -> bool:
    """Whether what an encoder is named by, a release or a run, has networks that edit pictures."""
    released = find_released(encoder)
    if released is not None:
        card = read_card(released)
        return REBUILD in card and (released / METHOD_FILE).is_file()
    checkpoint = Path(encoder) / "checkpoints" / "last.ckpt"
    return checkpoint.is_file() and editable(checkpoint)
