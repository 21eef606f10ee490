"""Sources of videos: rendered clips, the YouTube keypoints, a user's folders of clips."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path

import numpy as np

from linear_probe.experiments.video.sequences import NO_FACE, Sequences
from linear_probe.tasks import MissingData
from linear_probe.tasks.own_data import OwnData
from linear_probe.tasks.task import in_test_part
from ssl_faces import InputError
from ssl_faces.common.ranges import ImageSide, PositiveFloat, PositiveInt, Seed, check_ranges
from ssl_faces.data import (
    EXPRESSIONS,
    Part,
    Skipped,
    YouTubeKeypoints,
    default_data_root,
    find_face_sets,
)
from ssl_faces.data.sets.folder import subfolders
from ssl_faces.rendered import Nuisances, RenderedClips

_CLIP_AND_FRAME = re.compile(r"(?P<clip>.+_\d)\d\.\w+")


class VideoData(ABC):
    """Base class of a config's `data`."""

    @abstractmethod
    def sequences(self, out: Path) -> Sequences:
        """All sequences; leaks are listed in the run's folder, `out`.

        Raises:
            MissingData: the data aren't there.
            InputError: they can't be used.
        """


class RenderedVideos(VideoData):
    """The expression of `RenderedClips`, which peaks at a random time; split by person.

    Args:
        clips, people: of both parts together; a fifth of the people, about, is tested.
        frames: of a clip.
        fps: frames a second; all of a clip last `(frames - 1) / fps` seconds.
        size, nuisances, seed: as in `RenderedClips`.
    """

    def __init__(
        self,
        clips: PositiveInt = 1600,
        people: PositiveInt = 400,
        frames: PositiveInt = 8,
        fps: PositiveFloat = 3.0,
        size: ImageSide = 48,
        nuisances: Nuisances = "none",
        seed: Seed = 0,
    ) -> None:
        check_ranges(RenderedVideos.__init__, locals(), "data")
        self.clips, self.people, self.frames, self.fps = clips, people, frames, fps
        self.size, self.nuisances, self.seed = size, nuisances, seed

    def sequences(self, out: Path) -> Sequences:
        faces = RenderedClips(
            *(self.clips, self.people, self.frames, self.fps, "all"),
            *(self.size, self.seed, self.nuisances),
        )
        rows = np.arange(len(faces)).reshape(-1, self.frames)
        firsts = [faces.records[first] for first in rows[:, 0].tolist()]
        # No clip is neutral: all go from there to another expression.
        names = [name for name in EXPRESSIONS if name != "neutral"]
        expressions = faces.records.cast(rows[:, 0])[2].tolist()
        return Sequences(
            "video expression",
            faces,
            faces.split,
            list(rows),
            [first.key.rpartition("/")[0] for first in firsts],
            np.array([names.index(EXPRESSIONS[expression]) for expression in expressions]),
            names,
            np.where(in_test_part(faces)[rows[:, 0]], 0, -1),
            [first.person or "" for first in firsts],
        )


class KeypointVideos(VideoData):
    """Who is in each clip of the YouTube keypoints (closed-set identification).

    A file is `Person_<clip><frame>.jpg`, two digits; a clip has three frames. Each of a person's
    clips is tested once, by a probe of the others; people with one clip only are left out.

    Args:
        root: the set's folder, or one that holds it; None: the usual one.
        part: whose clips: `test` is the people that no pretraining sees.
    """

    def __init__(self, root: str | None = None, part: Part = "test") -> None:
        self.root, self.part = root, part

    def sequences(self, out: Path) -> Sequences:
        root = Path(self.root) if self.root is not None else default_data_root()
        if self.root is None and not root.is_dir():
            raise MissingData(f"video identity needs YouTube keypoints, and {root} is not there")
        known = [f for f in find_face_sets(root, self.part) if isinstance(f, YouTubeKeypoints)]
        if not known:
            raise MissingData(f"video identity needs YouTube keypoints, which {root} lacks")
        faces = known[0]
        clips: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for i, record in enumerate(faces.records):
            named = _CLIP_AND_FRAME.fullmatch(record.key)
            if named is None or record.person is None:
                raise InputError(
                    f"{faces.name}: {record.key} is not called Person_<clip><frame>.jpg with a "
                    "digit for each, which identifies the clip; rename it, or take it out"
                )
            clips[record.person][named["clip"]].append(i)
        people = [person for person in sorted(clips) if len(clips[person]) > 1]
        rows = [
            (person, number, place, clip)
            for number, person in enumerate(people)
            for place, clip in enumerate(sorted(clips[person]))
        ]
        return Sequences(
            "video identity",
            faces,
            f"people of the part {self.part}, each of their clips by the others",
            [np.array(clips[person][clip]) for person, _, _, clip in rows],
            [clip for *_, clip in rows],
            np.array([number for _, number, _, _ in rows], dtype=np.int64),
            people,
            np.array([place for _, _, place, _ in rows], dtype=np.int64),
            [person for person, *_ in rows],
            faces.skipped,
        )


class FolderVideos(VideoData):
    """A user's own videos as folders of face crops, `CLASS/CLIP/*.jpg`, as of AFEW and VGAF.

    Everything below a clip's folder belongs to the clip; frames are sorted by name. A clip
    without a picture is listed as a video with no face.

    Args:
        train, test: folders with the same classes.
    """

    def __init__(self, train: str, test: str) -> None:
        self.train, self.test = train, test

    def sequences(self, out: Path) -> Sequences:
        (faces,) = OwnData(train=self.train, test=self.test).face_sets(out)
        sides = {"train": Path(self.train).expanduser(), "test": Path(self.test).expanduser()}
        by_clip: dict[str, list[int]] = defaultdict(list)
        for i, record in enumerate(faces.records):
            side, category, clip, *rest = record.key.split("/")
            if not rest:
                raise InputError(
                    f"{sides[side] / category / clip} lies in no clip's folder; frames are "
                    "CLASS/CLIP/*.jpg: put it in the folder of its clip"
                )
            by_clip[f"{side}/{category}/{clip}"].append(i)
        ((label, names),) = faces.class_names.items()
        keys = list(by_clip)
        folders = (
            f"{side}/{category.name}/{clip.name}"
            for side, root in sides.items()
            for category in subfolders(root)
            for clip in subfolders(category)
        )
        empty = [
            Skipped(key, f"{NO_FACE}: its folder holds no picture")
            for key in folders
            if key not in by_clip
        ]
        return Sequences(
            "video expression" if label == "expression" else "video classes",
            faces,
            faces.split,
            [np.array(rows) for rows in by_clip.values()],
            keys,
            np.array([faces.records[rows[0]].labels[label] for rows in by_clip.values()]),
            names,
            np.array([0 if key.startswith("test/") else -1 for key in keys]),
            skipped=[*faces.skipped, *empty],
        )
