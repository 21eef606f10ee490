"""Tracking: link the faces of successive frames to clips of one person each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

_OVERLAP = 0.3
"""Least intersection over union of two boxes of one face."""

_SHIFT = 0.5
"""Largest motion of landmarks between frames, in sides of the box."""

_CHANGED = 76
"""Bits of 256 in which the hashes of a person's aligned faces may differ. 780 pairs of different
people in YouTube's frames differed in at least 90 (mean 120, deviation 9). Distant frames of one
person differ in 83 (median), but only successive frames are linked."""

_CUT = 0.12
"""Mean change of a thumbnail, as a share of the range, that ends a shot."""

_THUMBNAIL = (32, 18)


@dataclass
class _Clip:
    number: int
    time: float
    box: np.ndarray
    landmarks: np.ndarray
    bits: np.ndarray


class Tracker:
    """Links faces over the frames of one video.

    A face continues a clip if its box overlaps, its landmarks have hardly moved and its hash is
    similar. If that is true of several faces or several clips, new clips begin. A cut, or `gap`
    seconds without the face, ends a clip. A person may thus have several clips, but a clip should
    not have several people: of 33 clips of a film of 12 people, made of three images of each before
    the same wall, every one showed one person.
    """

    def __init__(self, gap: float) -> None:
        self.gap = gap
        self._open: list[_Clip] = []
        self._thumbnail: np.ndarray | None = None
        self._next = 0

    def step(
        self,
        time: float,
        frame: np.ndarray,
        boxes: np.ndarray,
        landmarks: np.ndarray,
        hashes: np.ndarray,
    ) -> list[int]:
        """The clip of each face of the next frame.

        Args:
            time: seconds.
            frame: uint8 RGB [H, W, 3].
            boxes, landmarks: [F, 4], [F, 5, 2].
            hashes: bool [F, 256], of the aligned faces.
        """
        if self._cut(frame):
            self._open = []
        self._open = [clip for clip in self._open if time - clip.time <= self.gap]
        may = np.zeros((len(boxes), len(self._open)), bool)
        for row, (box, points, bits) in enumerate(zip(boxes, landmarks, hashes, strict=True)):
            for column, clip in enumerate(self._open):
                may[row, column] = _one_face(clip, box, points, bits)
        clips = []
        continued = set()
        for row in range(len(boxes)):
            columns = np.flatnonzero(may[row])
            if len(columns) == 1 and may[:, columns[0]].sum() == 1:
                continued.add(int(columns[0]))
                clips.append(self._open[columns[0]].number)
            else:
                clips.append(self._next)
                self._next += 1
        # A clip with several candidates ends; otherwise anybody could continue it.
        unclear = set(np.flatnonzero(may.any(0)).tolist()) - continued
        waiting = [c for i, c in enumerate(self._open) if i not in continued | unclear]
        self._open = waiting + [
            _Clip(number, time, box, points, bits)
            for number, box, points, bits in zip(clips, boxes, landmarks, hashes, strict=True)
        ]
        return clips

    def _cut(self, frame: np.ndarray) -> bool:
        small = Image.fromarray(frame).resize(_THUMBNAIL, Image.Resampling.BOX, reducing_gap=2)
        now = np.asarray(small).astype(np.float64) / 255
        before, self._thumbnail = self._thumbnail, now
        return before is not None and float(np.abs(now - before).mean()) > _CUT


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes: left, top, right, bottom."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.clip(high - low, 0, None).prod())
    both = float((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod()) - shared
    return shared / both if both > 0 else 0.0


def _one_face(clip: _Clip, box: np.ndarray, landmarks: np.ndarray, bits: np.ndarray) -> bool:
    if overlap(clip.box, box) < _OVERLAP or (clip.bits != bits).sum() > _CHANGED:
        return False
    side = float(np.sqrt(max(1.0, (clip.box[2:] - clip.box[:2]).prod())))
    moved = np.linalg.norm(landmarks - clip.landmarks, axis=1).mean()
    return float(moved) <= _SHIFT * side
