"""Rendered clips: from neutral to an expression and back, with a moving head."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from pydantic import PlainValidator
from torch import Tensor

from ssl_faces.common.arguments import number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import ImageSide, Seed, check_ranges
from ssl_faces.data.faces import EXPRESSIONS, NEUTRAL_KEY, Part
from ssl_faces.rendered.face_set import MAX_COUNT, Count, Indices, RenderedSet
from ssl_faces.rendered.factors import ACTION_UNITS, FACTORS, counterpart
from ssl_faces.rendered.labels import labels_of
from ssl_faces.rendered.records import RenderedRecords, person_name
from ssl_faces.rendered.sampling import Drawn, Nuisances, sample_factors, uniform

SHORTEST, LONGEST = 2 / 3, 4.0
"""Seconds that a felt expression lasts (Ekman & Friesen, "Felt, false, and miserable smiles",
Journal of Nonverbal Behavior 6(4), 1982)."""

LEAST_INTENSITY = 0.2
"""Frames of a weaker expression are labelled neutral."""

SWAYS = {"yaw": 18.0, "pitch": 9.0, "roll": 7.0, "gaze": 0.12}
"""Largest deviation from the clip's own value, in degrees (gaze: its own unit)."""

HeadMotion = Literal["sway", "turn"]
"""Head motion in a clip: `sway` stays near the clip's pose (`SWAYS`), `turn` goes through three
independent poses of the whole range of `Nuisances`."""

_CLASSES = [i for i, name in enumerate(EXPRESSIONS) if name != "neutral"]
_MAX_FRAMES = 10_000
Frames = Annotated[int, PlainValidator(whole(4, _MAX_FRAMES))]
FrameRate = Annotated[float, PlainValidator(number(0.1, 1000))]


def minimum_jerk(at: np.ndarray) -> np.ndarray:
    """The path from 0 to 1 with the least jerk, at rest at both ends.

    Args:
        at: share of the time; clipped to 0 to 1.

    Source: Flash & Hogan, "The coordination of arm movements", Journal of Neuroscience 5(7), 1985.
    """
    at = np.clip(at, 0, 1)
    return at**3 * (10 - 15 * at + 6 * at**2)


class Timing:
    """Begin, peak and end of the expressions of clips, in seconds from each clip's start.

    The onset takes a fifth to a third of an expression, the offset a third to a half (chosen, not
    measured), and the apex the rest. The first and last frame of a clip are neutral.

    Args:
        seed, person, clip: int, int [N], int [N]: the source of randomness.
        seconds: from a clip's first to its last frame.
    """

    def __init__(self, seed: int, person: np.ndarray, clip: np.ndarray, seconds: float) -> None:
        def draw(name: str) -> np.ndarray:
            return uniform(seed, zlib.crc32(f"clip {name}".encode()), person, clip)

        longest = min(LONGEST, seconds)
        shortest = min(SHORTEST, longest)
        lasts = shortest + (longest - shortest) * draw("lasts")
        self.start = (seconds - lasts) * draw("start")
        self.apex = self.start + lasts * (1 / 5 + (1 / 3 - 1 / 5) * draw("onset"))
        self.end = self.start + lasts
        self.fade = self.end - lasts * (1 / 3 + (1 / 2 - 1 / 3) * draw("offset"))

    def strength(self, time: np.ndarray) -> np.ndarray:
        """Share of the full expression at times [N], 0 to 1."""
        rising = minimum_jerk((time - self.start) / (self.apex - self.start))
        falling = minimum_jerk((time - self.fade) / (self.end - self.fade))
        return rising * (1 - falling)


def sample_clip_factors(
    seed: int,
    person: np.ndarray,
    clip: np.ndarray,
    expression: np.ndarray,
    frame: np.ndarray,
    *,
    frames: int,
    fps: float,
    nuisances: Nuisances = "mild",
    head: HeadMotion = "sway",
) -> Drawn:
    """Sample frames of clips; person, light, background and camera are constant within a clip.

    Args:
        seed: another seed gives other people.
        person, clip: int [N], the person, and the number of the person's clip.
        expression: int [N], an index into `EXPRESSIONS`, shown at the apex.
        frame: int [N], from 0 to `frames - 1`.
        frames, fps: per clip, and per second.
        nuisances, head: see `Nuisances` and `HeadMotion`.
    """
    drawn = sample_factors(seed, person, clip, expression, nuisances)
    factors = dict(drawn.factors)
    seconds = (frames - 1) / fps
    time = frame / fps
    strength = torch.from_numpy(Timing(seed, person, clip, seconds).strength(time)).float()
    for unit in ACTION_UNITS:
        factors[unit] = factors[unit] * strength
    half = 2 * time / seconds
    turned: list[dict[str, Tensor]] = [{}]
    if head == "turn":
        # Poses of clip numbers beyond those of any set.
        turned = [
            {name: other.factors[name] for name in ("yaw", "pitch", "roll")}
            for other in (
                sample_factors(seed, person, clip + i * MAX_COUNT, expression, nuisances)
                for i in (1, 2, 3)
            )
        ]
    for name, sway in SWAYS.items():
        # From one place through a second to a third, as deviations from the clip's own.
        places = [
            sway * (2 * uniform(seed, zlib.crc32(f"clip {name} {i}".encode()), person, clip) - 1)
            for i in range(3)
        ]
        if name in turned[0]:
            places = [(pose[name] - factors[name]).numpy() for pose in turned]
        moved = places[0] + (places[1] - places[0]) * minimum_jerk(half)
        moved += (places[2] - places[1]) * minimum_jerk(half - 1)
        factor = FACTORS[name]
        value = factors[name] + torch.from_numpy(moved).float()
        factors[name] = value.clamp(factor.low, factor.high)
    # Noise differs between frames.
    offset = uniform(seed, zlib.crc32(b"clip noise"), person, clip * _MAX_FRAMES + frame)
    factors["noise_offset"] = torch.from_numpy(offset).float()
    return Drawn(factors, drawn.intensity * strength)


class ClipRecords(RenderedRecords):
    """Records of frames; `numbers` are the clips, each with `frames` successive records, and one of
    the neutral frontal face if `neutral`."""

    def __init__(
        self,
        numbers: range | np.ndarray,
        people: int,
        seed: int,
        size: int,
        nuisances: Nuisances,
        frames: int,
        fps: float,
        head: HeadMotion = "sway",
        neutral: bool = False,
    ) -> None:
        super().__init__(numbers, people, seed, size, nuisances)
        self.frames, self.fps, self.head = frames, fps, head
        self.images = frames + neutral  # of a clip

    def __len__(self) -> int:
        return len(self.numbers) * self.images

    def cast(self, indices: Indices) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Person, number of the person's clip, and the clip's expression; see the base class."""
        clips = self._places(indices) // self.images
        person, clip = self._whose(clips)
        first = uniform(self.seed, zlib.crc32(b"clip expression"), person, 0 * person)
        turn = (clip + (first * len(_CLASSES)).astype(np.int64)) % len(_CLASSES)
        return person, clip, np.array(_CLASSES)[turn]

    def drawn(self, indices: Indices) -> Drawn:
        frame = self._places(indices) % self.images
        drawn = sample_clip_factors(
            self.seed,
            *self.cast(indices),
            np.minimum(frame, self.frames - 1),
            frames=self.frames,
            fps=self.fps,
            nuisances=self.nuisances,
            head=self.head,
        )
        if self.images == self.frames:
            return drawn
        neutral = torch.from_numpy(frame == self.frames)
        frontal = counterpart(drawn.factors, "neutral_frontal") | {"gaze": 0 * drawn.intensity}
        factors = {
            name: torch.where(neutral, frontal[name], value)
            for name, value in drawn.factors.items()
        }
        return Drawn(factors, drawn.intensity * ~neutral)

    def _keys_at(self, places: np.ndarray) -> tuple[list[str], list[str]]:
        person, clip, _ = self.cast(places)
        people = [person_name(self.seed, who) for who in person.tolist()]
        parts = zip(people, clip.tolist(), (places % self.images).tolist(), strict=True)
        # The key is part of the recipe, so other images need other keys.
        kind = "turnclip" if self.head == "turn" else "clip"
        keys = [
            f"{who}/{kind}{number:03d}" + (f"/{frame:04d}" if frame < self.frames else NEUTRAL_KEY)
            for who, number, frame in parts
        ]
        return keys, people

    def _labels_at(self, places: np.ndarray) -> list[dict[str, Any]]:
        expression = self.cast(places)[2]
        drawn = self.drawn(places)
        labels = labels_of(drawn, expression, self.size)
        shown = np.where(
            drawn.intensity.numpy() < LEAST_INTENSITY, EXPRESSIONS.index("neutral"), expression
        )
        for known, seen, place in zip(labels, shown.tolist(), places.tolist(), strict=True):
            clip, frame = divmod(place, self.images)
            known |= {"expression": seen, "clip": clip, "frame": frame}
        return labels


class RenderedClips(RenderedSet):
    """Frames of rendered clips, one clip after another: neutral, an expression, neutral again.

    Within a clip, only expression, pose, gaze and noise change (`Timing`, `SWAYS`). Labels are
    those of `RenderedFaces`, and `clip` and `frame`, numbers from 0. With as many people as clips,
    pairs of one person are frames of one clip. People and parts are those of `RenderedFaces`.

    Args:
        clips, people: in the part `all`; clip i there shows person `i % people`.
        frames: per clip, at least 4.
        fps: frames per second.
        part, size, seed, nuisances, counterparts: as in `RenderedFaces`.
        head: see `HeadMotion`.
        neutral: each clip has one more image, the person's neutral frontal face in the clip's
            light, whose key ends in `/neutral` and whose frame number is `frames`.

    Raises:
        InputError: an argument out of range, or a part without people.
    """

    title = "rendered clips"
    split = "by person"

    def __init__(
        self,
        clips: Count = 256,
        people: Count = 256,
        frames: Frames = 32,
        fps: FrameRate = 12.5,
        part: Part = "train",
        size: ImageSide = 64,
        seed: Seed = 0,
        nuisances: Nuisances = "mild",
        counterparts: Sequence[str] = (),
        head: HeadMotion = "sway",
        neutral: bool = False,
    ) -> None:
        check_ranges(RenderedClips.__init__, locals(), "rendered")
        if head not in get_args(HeadMotion):
            raise InputError(f"rendered: head must be sway or turn, not {head!r}")
        self.frames, self.fps = frames, fps
        shared = (people, part, size, seed, nuisances, counterparts)
        numbers, held_out, names = self._set_up("clip", clips, *shared)
        super().__init__(
            "rendered_clips",
            part,
            ClipRecords(numbers, people, seed, size, nuisances, frames, fps, head, neutral),
            held_out_people=held_out,
            test=partial(
                RenderedClips,
                *(clips, people, frames, fps, "test", size, seed, nuisances),
                head=head,
                neutral=neutral,
            ),
            people=names,
        )
