"""Labels of rendered faces."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_faces.data.faces import EXPRESSIONS
from ssl_faces.rendered.factors import ACTION_UNITS
from ssl_faces.rendered.landmarks import landmarks_3d, project_landmarks, visible_landmarks
from ssl_faces.rendered.sampling import Drawn

AFFECT: dict[str, tuple[float, float]] = {
    "angry": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "happy": (0.81, 0.51),
    "neutral": (0.0, 0.0),
    "sad": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
}
"""Valence and arousal of each class at full intensity, -1 to 1.

Source: mean ratings of pleasure and arousal of the terms angry, disgusted, fearful, happy, sad and
surprised in Russell & Mehrabian, "Evidence for a three-factor theory of emotions", Journal of
Research in Personality 11, 1977; neutral is the scales' middle.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "gender": ("feminine", "masculine"),
    "skin_tone": ("light", "medium", "dark"),
    "age_band": ("18 to 34", "35 to 54", "55 to 80"),
    "glasses": ("without", "with"),
}
"""Names of the groups of faces: how they are rendered, not what people are."""


def affect(expression: np.ndarray | Tensor, intensity: Tensor) -> tuple[Tensor, Tensor]:
    """Valence and arousal [N] of expressions (int [N]) at intensities [N] in [0, 1], linear from
    neutral to the full expression (`AFFECT`)."""
    table = torch.tensor([AFFECT[name] for name in EXPRESSIONS], device=intensity.device)
    full = table[torch.as_tensor(expression, device=intensity.device)]
    return full[:, 0] * intensity, full[:, 1] * intensity


def groups(factors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The groups (`GROUPS`) of faces of complete factors: int64 [N] each."""
    edges = torch.tensor([35.0, 55.0], device=factors["age"].device)
    tones = torch.tensor([1 / 3, 2 / 3], device=factors["age"].device)
    return {
        "gender": (factors["masculinity"] > 0.5).long(),
        "skin_tone": torch.bucketize(factors["melanin"], tones, right=True),
        "age_band": torch.bucketize(factors["age"], edges, right=True),
        "glasses": (factors["glasses"] > 0.5).long(),
    }


def labels_of(drawn: Drawn, expression: np.ndarray, size: int) -> list[dict[str, Any]]:
    """The labels of each of N drawn faces, as `RenderedFaces` lists them."""
    f = drawn.factors
    valence, arousal = affect(expression, drawn.intensity)
    columns: dict[str, list[Any]] = {
        "expression": expression.tolist(),
        "intensity": drawn.intensity.tolist(),
        "units": _rows(torch.stack([f[unit] for unit in ACTION_UNITS], dim=1)),
        "valence": valence.tolist(),
        "arousal": arousal.tolist(),
        "pose": _rows(torch.stack([f["yaw"], f["pitch"], f["roll"]], dim=1)),
        "landmarks": _rows(project_landmarks(f, size)),
        "landmarks_3d": _rows(landmarks_3d(f)),
        "visible": _rows(visible_landmarks(f)),
        "age": f["age"].tolist(),
        **{name: value.tolist() for name, value in groups(f).items()},
        "light": _rows(
            torch.stack([f[k] for k in ("light_azimuth", "light_elevation", "ambient")], dim=1)
        ),
        "scale": (f["zoom"] * (size / 2)).tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _rows(values: Tensor) -> list[Tensor]:
    # Copies, since a view would keep all rows in memory.
    return [row.clone() for row in values.unbind()]
