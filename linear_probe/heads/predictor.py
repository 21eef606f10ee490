"""`linear-probe predict`: a trained head, or a saved probe, on the user's images and films."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from linear_probe.heads.fit import HEADS_FOLDER, SETTINGS_FILE, head_outputs
from linear_probe.heads.loading import open_head
from ssl_faces.apps.expressions import ProbeOnEncoder
from ssl_faces.apps.face_finder import Detect, FaceFinder
from ssl_faces.apps.faces import FaceReader
from ssl_faces.apps.predictions import Output, Targets, write_predictions
from ssl_faces.common.errors import InputError
from ssl_faces.encoders.places import is_encoder


class HeadPredictor:
    """A trained head, see `open_head`: `predictor(crops)` gives float32 [N, columns] of crops uint8
    [S, S, 3] of side `size`; `outputs` says what the columns are."""

    def __init__(self, folder: Path) -> None:
        self._head, self._meaning, _ = open_head(folder)
        self.size = self._head.read_size
        self.outputs = [Output(part.name, part.classes) for part in self._meaning.parts]

    def __call__(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        outputs = head_outputs(self._head, images)
        columns: np.ndarray = torch.cat([*self._meaning.predicted(outputs).values()], 1).numpy()
        return columns


def predict_files(
    model: str,
    sources: Sequence[Path],
    targets: Targets,
    *,
    smooth: float,
    fps: float,
    largest: bool,
    detect: Detect,
    detector: str,
) -> str:
    """Write the predictions of each face (see `write_predictions`); what was predicted, in words.
    `model`: see `open_head`, or the folder of an encoder with a saved probe, or a released name.
    Raises InputError: the model or the images can't be used, or a file can't be written."""
    targets.check(sources)
    folder = Path(model).expanduser()
    of_head = (folder / SETTINGS_FILE).exists() or (folder / HEADS_FOLDER).is_dir()
    if not of_head and not is_encoder(model):
        raise InputError(
            f"{model}: holds neither a trained head nor an encoder; give the --out of "
            "`linear-probe head`, an encoder's folder with a saved probe, or a released name"
        )
    predictor = HeadPredictor(folder) if of_head else ProbeOnEncoder(model)
    reader = FaceReader(
        sources,
        FaceFinder(predictor.size, detect, detector),
        largest=largest,
        fps=fps,
        out=targets.table,
        tracked=True,
    )
    return write_predictions(reader, predictor, predictor.outputs, targets, smooth)
