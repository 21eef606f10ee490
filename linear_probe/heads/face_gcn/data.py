"""Sources of moving landmarks: rendered clips, or folders of landmark files."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import PlainValidator
from torch import Tensor

from linear_probe.heads.pictures import decode_all
from ssl_faces import InputError
from ssl_faces.common.arguments import whole
from ssl_faces.common.ranges import NonNegativeFloat, PositiveFloat, PositiveInt, Seed, check_ranges
from ssl_faces.data import EXPRESSIONS, FaceSet, ImageFolder
from ssl_faces.data.sets.folder import subfolders
from ssl_faces.data.tables import has_columns, number_in, read_lines, read_table
from ssl_faces.rendered import Nuisances, RenderedClips

SIZE = 64
"""Side of the images that texture is taken from."""


@dataclass(frozen=True, eq=False)
class LandmarkClips:
    """N clips of moving faces, and the person of each.

    Attributes:
        title, split: of the data, as in records.
        keys: N.
        points: N times float [T, V, 3], x to the right, y up or down, z towards the viewer.
        people: N.
        folds: int [N], the fold that tests each clip, from 0; -1 for clips that are only learnt
            from. The other clips of a tested person are learnt from in that fold.
        places: N times float [T, V, 2], where they are in the picture, in shares of its side; None
            where there are no pictures.
        faces: whose records the pictures are.
        frames: N times int [T], records of `faces`.
    """

    title: str
    split: str
    keys: Sequence[str]
    points: Sequence[np.ndarray]
    people: Sequence[str]
    folds: np.ndarray
    places: Sequence[np.ndarray] | None = None
    faces: FaceSet | None = None
    frames: Sequence[np.ndarray] | None = None

    def __post_init__(self) -> None:
        counts = [clip.shape[1] for clip in self.points]
        for key, count in zip(self.keys, counts, strict=True):
            if count != counts[0]:
                raise InputError(
                    f"{self.title}: clips have {', '.join(map(str, sorted({*counts})))} landmarks "
                    f"a face, {key} another number than {self.keys[0]}; give one set of landmarks"
                )
        people, tested = np.array(self.people), int((self.folds >= 0).sum())
        known = [len(set(people[self.folds != fold])) for fold in range(self.fold_count)]
        if not tested or min(known) < 2:
            raise InputError(
                f"{self.title}: {min(known, default=len(set(people)))} people to learn from and "
                f"{tested} clips to score on; give two people or more with two clips or more each"
            )

    @property
    def fold_count(self) -> int:
        return int(self.folds.max(initial=-1)) + 1

    def images(self, clip: int) -> Tensor:
        """Pictures of a clip, float [T, 3, `SIZE`, `SIZE`] in [0, 1]. Raises InputError: there are
        none, or one can't be decoded."""
        if self.faces is None or self.frames is None:
            raise InputError(
                f"nodes: texture needs pictures, and {self.title} has landmarks only; leave it out"
            )
        return decode_all(self.faces, self.frames[clip], SIZE)


class LandmarkData(ABC):
    """Base class of a config's `data`."""

    @abstractmethod
    def clips(self) -> LandmarkClips:
        """All clips. Raises InputError: they can't be used."""


class RenderedLandmarks(LandmarkData):
    """Clips of rendered people, each with another expression; each is tested in turn, by what the
    person's other clips teach.

    Args:
        people: how many.
        clips: of each person: 2 to 6.
        frames, fps: of a clip, and a second.
        noise: standard deviation of the error of each frame's landmarks, in hundredths of the
            face's height: exact ones would give everybody away. 2 is what detectors reach. Texture
            is taken from where the erroneous landmarks lie in the image.
        bias: of an error of each landmark that stays through a clip, as detectors' do with this
            face in this light; in the same unit. Frames don't average it away.
        nuisances, seed: as in `RenderedClips`.
    """

    def __init__(
        self,
        people: PositiveInt = 100,
        clips: Annotated[int, PlainValidator(whole(2, len(EXPRESSIONS) - 1))] = 5,
        frames: PositiveInt = 20,
        fps: PositiveFloat = 8.0,
        noise: NonNegativeFloat = 2.0,
        bias: NonNegativeFloat = 0.0,
        nuisances: Nuisances = "mild",
        seed: Seed = 0,
    ) -> None:
        check_ranges(RenderedLandmarks.__init__, locals(), "data")
        self.people, self.per_person, self.frames, self.fps = people, clips, frames, fps
        self.noise, self.bias, self.nuisances, self.seed = noise, bias, nuisances, seed

    def clips(self) -> LandmarkClips:
        faces = RenderedClips(
            *(self.people * self.per_person, self.people, self.frames, self.fps, "all"),
            *(SIZE, self.seed, self.nuisances),
        )
        rows = np.arange(len(faces)).reshape(-1, self.frames)
        of = [[faces.records[i] for i in clip] for clip in rows.tolist()]
        points = [np.stack([np.asarray(r.labels["landmarks_3d"]) for r in clip]) for clip in of]
        places = [np.stack([np.asarray(r.labels["landmarks"]) for r in clip]) for clip in of]
        draw = np.random.default_rng(self.seed)
        height = float(np.mean([np.ptp(clip[0, :, 1]) for clip in points]))
        error, stays = (share / 100 * height for share in (self.noise, self.bias))
        noisy = [clip + draw.normal(0, error, clip.shape) for clip in points]
        if self.bias:
            noisy = [clip + draw.normal(0, stays, clip.shape[1:]) for clip in noisy]
        moved = [places_of(*clip) for clip in zip(points, places, noisy, strict=True)]
        people = [clip[0].person or "" for clip in of]
        return LandmarkClips(
            "rendered landmarks",
            f"{self.people} people, each of the {self.per_person} clips of each tested in turn; "
            f"landmarks with an error of {self.noise:g} % of the face's height"
            + (f", and of {self.bias:g} % that stays through a clip" if self.bias else ""),
            [clip[0].key.rpartition("/")[0] for clip in of],
            noisy,
            people,
            np.array([people[:i].count(person) for i, person in enumerate(people)]),
            [clip / SIZE for clip in moved],
            faces,
            list(rows),
        )


def places_of(points: np.ndarray, places: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Where points `noisy` [T, V, 3] lie in the images, in which the exact `points` [T, V, 3] lie
    at `places` [T, V, 2]: by each frame's affine map from points to places with the least
    squares; a face is flat enough for it."""
    ones = np.ones((*points.shape[:2], 1))
    solution = np.linalg.pinv(np.concatenate((points, ones), axis=2)) @ places  # [T, 4, 2]
    return places + (noisy - points) @ solution[:, :3]


class LandmarkFolder(LandmarkData):
    """Folders `PERSON/CLIP/FRAME`, as BU-4DFE has `F001/Angry/000`: a file of landmarks a frame.

    A file is CSV with the columns x, y, z, and perhaps u, v (where they are in the image of that
    name, in shares of its width and height), or BU-4DFE's `.bnd`: number, x, y, z in each line.

    Args:
        root: the folder.
        tested: name of the clips that are tested, such as `Surprise`; None: each person's last.
    """

    def __init__(self, root: str, tested: str | None = None) -> None:
        self.root, self.tested = Path(root).expanduser(), tested

    def clips(self) -> LandmarkClips:
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; give one of PERSON/CLIP/FRAME.csv")
        files = {
            (person.name, clip.name): sorted(frames, key=_in_order)
            for person in subfolders(self.root)
            for clip in subfolders(person)
            if (frames := [p for p in clip.iterdir() if p.suffix.lower() in (".csv", ".bnd")])
        }
        if not files:
            raise InputError(f"{self.root}: no PERSON/CLIP/FRAME.csv or .bnd in it; check the path")
        last = dict(sorted(files))
        tested = {name: name[1] == (self.tested or last[name[0]]) for name in files}
        learned = {person for (person, _), is_tested in tested.items() if not is_tested}
        kept = [name for name in files if not tested[name] or name[0] in learned]
        clips = {name: _read_clip(frames) for name, frames in files.items()}
        points = [clips[name] for name in kept]
        faces, rows = None, None
        if all(clip.shape[-1] == 5 for clip in clips.values()):
            faces, rows = self._pictures([files[name] for name in kept])
        return LandmarkClips(
            f"landmarks of {self.root.name}",
            f"clips {self.tested} tested" if self.tested else "the last clip of each is tested",
            ["/".join(name) for name in kept],
            [clip[..., :3] for clip in points],
            [person for person, _ in kept],
            np.array([tested[name] - 1 for name in kept], dtype=int),
            None if faces is None else [clip[..., 3:] for clip in points],
            faces,
            rows,
        )

    def _pictures(self, clips: list[list[Path]]) -> tuple[FaceSet | None, list[np.ndarray] | None]:
        """The pictures beside the landmarks of these clips, and their records, if there are any."""
        try:
            faces = ImageFolder(self.root)
        except InputError:
            return None, None
        row_of = {Path(record.key).with_suffix(""): i for i, record in enumerate(faces.records)}
        clips = [[p.relative_to(self.root).with_suffix("") for p in frames] for frames in clips]
        for key in chain(*clips):
            if key not in row_of:
                raise InputError(
                    f"{self.root}: {key} has u and v and no picture of that name; add it, or take "
                    "the columns out"
                )
        return faces, [np.array([row_of[key] for key in keys]) for keys in clips]


def _read_clip(frames: list[Path]) -> np.ndarray:
    """float64 [T, V, 3] or [T, V, 5]; InputError where a frame can't be read, or has other
    landmarks than the first."""
    points = [_read(path) for path in frames]
    for path, frame in zip(frames, points, strict=True):
        if frame.shape != points[0].shape:
            raise InputError(
                f"{path}: {len(frame)} landmarks of {frame.shape[1]} numbers, and "
                f"{frames[0].name} has {len(points[0])} of {points[0].shape[1]}; give the "
                "same in all frames"
            )
    return np.stack(points)


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Frames by the numbers in their names: 2 before 10."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.stem)
    ]


def _read(path: Path) -> np.ndarray:
    """float64 [V, 3] or [V, 5]; InputError where the file can't be read."""
    columns: tuple[str, ...] = ("x", "y", "z")
    table: Iterable[tuple[str, Mapping[str, str]]]
    if path.suffix.lower() == ".bnd":
        lines = enumerate(read_lines(path), start=1)
        words = ((f"{path}, line {number}", line.split()) for number, line in lines)
        table = ((where, dict(zip(columns, of[1:4], strict=False))) for where, of in words if of)
    else:
        columns += ("u", "v") if has_columns(path, "u", "v") else ()
        table = read_table(path, columns)
    rows = [[number_in(row.get(name, ""), name, where) for name in columns] for where, row in table]
    if not rows:
        raise InputError(f"{path}: holds no landmark; give a point in each line")
    return np.array(rows)
