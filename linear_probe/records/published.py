"""Figures that others report, to print beside ours, by data set, each with its protocol."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class Published(NamedTuple):
    """Figures that others report.

    Attributes:
        values: by metric, in the records' unit.
        protocol: how they were measured.
        supervised: of a network trained on the labels, not of a probe on frozen features.
    """

    name: str
    values: dict[str, float]
    protocol: str
    supervised: bool = False


_FACECYCLE = "FaceCycle (Chang et al., ICCV 2021)"
_IN_FACECYCLE = "as reported by Chang et al., ICCV 2021"
_LINEAR = "trained on VoxCeleb1 and 2; linear layer on frozen features"
_POSE = "trained on VoxCeleb1 and 2; linear regression on frozen features; other images"
_PAIRS = "frozen features; the authors' choice of pairs and crops"
_AFFECTNET = (
    "SSL-FER, BMVC 2022: one linear protocol for all on AffectNet; trained on VoxCeleb (FaceCycle "
    "on 1 and 2, the others on 1)"
)


def _linear(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy}


def _pose(yaw: float, pitch: float, roll: float) -> dict[str, float]:
    return {"MAE yaw": yaw, "MAE pitch": pitch, "MAE roll": roll}


def _affect(accuracy: float, valence: float, arousal: float) -> dict[str, float]:
    return {"accuracy": accuracy, "CCC valence": valence, "CCC arousal": arousal}


def _supervised(name: str, accuracy: float, protocol: str) -> Published:
    return Published(name, _linear(accuracy), f"supervised; {protocol}", supervised=True)


_CVT = "CVT (Ma et al., 2021)"
"""Abstract of arXiv 2103.16854."""

_OF_CVT = "networks trained on MS-Celeb-1M before (not checked against the paper)"
_SAVCHENKO = "EfficientNet-B0 (Savchenko, 2021)"
"""arXiv 2103.17107, by Papers with Code; the same in the author's repository."""

_OF_SAVCHENKO = "faces of VGGFace2 were identified before"

_EARLIER_POSES = [
    Published(f"FAb-Net, {_IN_FACECYCLE}", _pose(13.92, 13.25, 14.51), _POSE),
    Published(f"TCAE, {_IN_FACECYCLE}", _pose(21.75, 14.57, 14.83), _POSE),
    Published(f"BMVC'20, {_IN_FACECYCLE}", _pose(22.06, 13.50, 15.14), _POSE),
    Published(_FACECYCLE, _pose(11.70, 12.76, 12.94), _POSE),
]

PUBLISHED: dict[str, list[Published]] = {
    "FER-2013": [
        Published(f"FAb-Net, {_IN_FACECYCLE}", _linear(46.98), _LINEAR),
        Published(f"TCAE, {_IN_FACECYCLE}", _linear(45.05), _LINEAR),
        Published(f"BMVC'20, {_IN_FACECYCLE}", _linear(47.61), _LINEAR),
        Published(_FACECYCLE, _linear(48.76), _LINEAR),
        _supervised("Inception FER (Mollahosseini et al., WACV 2016)", 66.4, "other folds"),
    ],
    "FERPlus": [_supervised(_CVT, 88.81, _OF_CVT)],
    "RAF-DB": [
        Published(f"FAb-Net, {_IN_FACECYCLE}", _linear(66.72), _LINEAR),
        Published(f"TCAE, {_IN_FACECYCLE}", _linear(65.32), _LINEAR),
        Published(f"BMVC'20, {_IN_FACECYCLE}", _linear(58.86), _LINEAR),
        Published(_FACECYCLE, _linear(71.01), _LINEAR),
        Published("ContraWarping", _linear(79.95), "linear layer on frozen features"),
        _supervised(_CVT, 88.14, _OF_CVT),
    ],
    "YouTube keypoints": _EARLIER_POSES,
    "LFW": [
        Published(f"LBP, {_IN_FACECYCLE}", _linear(56.90), _PAIRS),
        Published(f"HoG, {_IN_FACECYCLE}", _linear(62.73), _PAIRS),
        Published(_FACECYCLE, _linear(73.72), f"trained on VoxCeleb1 and 2; {_PAIRS}"),
    ],
    "CPLFW": [
        Published(f"LBP, {_IN_FACECYCLE}", _linear(51.50), _PAIRS),
        Published(f"HoG, {_IN_FACECYCLE}", _linear(51.73), _PAIRS),
        Published(_FACECYCLE, _linear(58.52), f"trained on VoxCeleb1 and 2; {_PAIRS}"),
    ],
    "AffectNet": [
        Published("FaceCycle", _affect(49.7, 0.534, 0.436), _AFFECTNET),
        Published("BYOL", _affect(56.4, 0.560, 0.462), _AFFECTNET),
        Published("MoCo v2", _affect(56.8, 0.570, 0.486), _AFFECTNET),
        Published("SimCLR", _affect(57.7, 0.594, 0.451), _AFFECTNET),
        Published("SSL-FER's best", _affect(59.3, 0.595, 0.502), _AFFECTNET),
        _supervised(_SAVCHENKO, 65.74, _OF_SAVCHENKO),
    ],
    "AffectNet-8": [_supervised(_SAVCHENKO, 61.32, _OF_SAVCHENKO)],
}
"""By data set. Their protocols differ from ours, so they never share a column with ours."""


def published(
    data_set: str, metrics: Collection[str], supervised: Collection[bool]
) -> list[Published]:
    """What others report of these metrics on this data set, without their other metrics.

    Args:
        supervised: the kinds of figures to list, as `Published.supervised`.
    """
    reported = []
    for theirs in PUBLISHED.get(data_set, []):
        if theirs.supervised not in supervised:
            continue
        values = {k: v for k, v in theirs.values.items() if k in metrics}
        if values:
            reported.append(theirs._replace(values=values))
    return reported


def published_notes(reported: Collection[Published]) -> list[str]:
    """The notes under their table: each protocol once."""
    protocols = dict.fromkeys(theirs.protocol for theirs in reported)
    return [f"† by another protocol, for reference: {protocol}" for protocol in protocols]
