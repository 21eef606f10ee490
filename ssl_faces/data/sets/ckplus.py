"""CK+: short sequences of posed expressions, from neutral to apex, filmed in a laboratory.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR 2010 workshops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import regular
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, Part, Skipped
from ssl_faces.data.sets.expressions import frames_in, sequence_records
from ssl_faces.data.sets.folder import entry_of, subfolders
from ssl_faces.data.sets.recognised import Entry, RecognisedSet

LABELS = {1: "angry", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
"""What the owner's labels mean; 0 is neutral and never given, 2 is contempt and left out."""

CONTEMPT = 2

_PERSON = re.compile(r"S\d{3}")
# The owner's archives hold folders of the same kind of name.
_IMAGES = tuple(
    name + depth * "/cohn-kanade-images"
    for name in ("cohn-kanade-images", "extended-cohn-kanade-images")
    for depth in (2, 1, 0)
)
_EMOTIONS = tuple(
    name + depth * "/Emotion" for name in ("Emotion", "Emotion_labels") for depth in (2, 1, 0)
)


class CKPlus(RecognisedSet):
    """CK+ with `person` and `expression` labels, scored by cross-validation over people.

    `root` holds `cohn-kanade-images/S005/001/S005_001_00000001.png` and
    `Emotion/S005/001/S005_001_00000011_emotion.txt`. Of a sequence with a label the last
    `APEX_FRAMES` frames are taken for it and the first one for neutral. Sequences of contempt are
    left out and listed in `skipped`.

    The `folds` are the usual ten: people in order of their number, every tenth together. Everyone
    is tested in one of them, so that `test` is all labelled images, and `train` (what
    pretraining may see) is people none of whose sequences has a label; it may be empty.
    """

    name = "ckplus"
    title = "CK+"
    labels = ("person", "expression")
    fold_count = 10
    split = f"{fold_count} folds by person"
    may_be_empty = ("train",)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        images = entry_of(folder, *_IMAGES)
        if images is None or entry_of(folder, *_EMOTIONS) is None or not images.is_dir():
            return False
        return any(_PERSON.fullmatch(place.name) for place in subfolders(images))

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        images = self.need(folder, *_IMAGES, beside="Emotion/")
        emotions = self.need(folder, *_EMOTIONS, beside="cohn-kanade-images/")
        labelled: list[FaceRecord] = []
        unlabelled: list[FaceRecord] = []
        for place in subfolders(images):
            if not _PERSON.fullmatch(place.name):
                continue
            person = f"ckplus_{place.name}"
            for sequence in subfolders(place):
                key = f"{place.name}/{sequence.name}"
                frames = frames_in(sequence)
                label = _label_of(emotions / key)
                if label == CONTEMPT:
                    self._held_out.add(person)
                    yield Skipped(key, "contempt: none of the seven expressions")
                elif label is not None and frames:
                    self._held_out.add(person)
                    expression = EXPRESSIONS.index(LABELS[label])
                    labelled += sequence_records(frames, key, person, expression)
                else:
                    unlabelled += [FaceRecord(f"{key}/{f.name}", f, person) for f in frames]
        if part != "train":
            yield from labelled
        if part != "test":
            yield from (record for record in unlabelled if record.person not in self._held_out)


def _label_of(folder: Path) -> int | None:
    """The label of a sequence; None where it has none."""
    files = sorted(folder.glob("*_emotion.txt")) if folder.is_dir() else []
    if not files:
        return None
    try:
        text = regular(files[0]).read_text(encoding="utf-8-sig").strip()
        value = float(text)
    except OSError as error:
        raise InputError(f"ckplus: {files[0]} can't be read ({error.strerror})") from error
    except ValueError:
        text, value = "text", -1.0
    if value not in {*LABELS, CONTEMPT}:
        raise InputError(
            f"ckplus: {files[0]} holds '{shorten(text, 40)}', no label from 1 to 7; "
            "get the file anew"
        )
    return int(value)
