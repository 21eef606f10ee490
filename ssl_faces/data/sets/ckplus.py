"""CK+: short sequences of posed expressions, from neutral to apex, filmed in a laboratory.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR 2010 workshops.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import regular
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, existing_folder, is_picture_name, subfolders
from ssl_faces.data.sets.sequences import folds_by_person, neutral_and_apex

LABELS = {1: "angry", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
"""What the owner's labels mean; 0 is neutral and never given, 2 is contempt and left out."""

CONTEMPT = 2
FOLDS = 10

_PERSON = re.compile(r"S\d{3}")


class CKPlus(FaceSet):
    """CK+ with `person` and `expression` labels, scored by cross-validation over people.

    `root` holds `cohn-kanade-images/S005/001/S005_001_00000001.png` and
    `Emotion/S005/001/S005_001_00000011_emotion.txt`. Of a sequence with a label the last
    `APEX_FRAMES` frames are taken for it and the first one for neutral. Sequences of contempt are
    left out, listed in `skipped` and counted in `left_out`.

    The `folds` are the usual ten: people in order of their number, every tenth together. Everyone
    is tested in one of them, so that `test` is all labelled pictures, and `train` (what
    pretraining may see) is people none of whose sequences has a label; it may be empty.

    Attributes:
        left_out: how many sequences of contempt.

    Raises:
        InputError: a folder is missing, or a label can't be read.
    """

    title = "CK+"
    split = f"{FOLDS} folds by person"

    left_out: dict[str, int]

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "ckplus")
        images, emotions = places_in(folder)
        if images is None or emotions is None:
            missing = "cohn-kanade-images/" if images is None else "Emotion/"
            raise InputError(
                f"ckplus: {folder} has no {missing}; "
                "give the folder that holds cohn-kanade-images/ and Emotion/"
            )
        labelled: list[FaceRecord] = []
        unlabelled: list[FaceRecord] = []
        skipped: list[Skipped] = []
        contempt = 0
        tested: set[str] = set()
        for person_folder in filter(_is_person, subfolders(images)):
            person = f"ckplus_{person_folder.name}"
            for sequence in subfolders(person_folder):
                place = f"{person_folder.name}/{sequence.name}"
                frames = sorted(p for p in sequence.iterdir() if is_picture_name(p.name))
                label = _label_of(emotions / place)
                of: list[tuple[Path, int | None]] = [(frame, None) for frame in frames]
                if label == CONTEMPT:
                    contempt += 1
                    tested.add(person)
                    skipped.append(Skipped(place, "contempt: none of the seven expressions"))
                    continue
                if label is not None and frames:
                    tested.add(person)
                    of = [*neutral_and_apex(frames, EXPRESSIONS.index(LABELS[label]))]
                for frame, expression in of:
                    key = f"{place}/{frame.name}"
                    if expression is None:
                        unlabelled.append(FaceRecord(key, frame, person))
                    else:
                        labels = {"expression": expression}
                        labelled.append(FaceRecord(key, frame, person, labels))
        never = [record for record in unlabelled if record.person not in tested]
        records = {"test": labelled, "train": never, "all": [*labelled, *never]}[part]
        super().__init__(
            "ckplus",
            part,
            records,
            held_out_people=frozenset(tested),
            skipped=skipped,
            test=partial(CKPlus, root, "test"),
            folds=folds_by_person(records, labelled, FOLDS),
            empty=part == "train",
        )
        self.left_out = {"contempt": contempt}


def places_in(folder: Path) -> tuple[Path | None, Path | None]:
    """The folders of pictures and of labels, each None where it isn't there."""
    images = entry_of(folder, "cohn-kanade-images", "extended-cohn-kanade-images")
    emotions = entry_of(folder, "Emotion", "Emotion_labels")
    # The owner's archives hold a folder of the same kind of name.
    for _ in range(2):
        if images is not None:
            images = entry_of(images, "cohn-kanade-images") or images
        if emotions is not None:
            emotions = entry_of(emotions, "Emotion") or emotions
    return images, emotions


def is_layout(folder: Path) -> bool:
    images, emotions = places_in(folder)
    return (
        images is not None
        and emotions is not None
        and images.is_dir()
        and any(map(_is_person, subfolders(images)))
    )


def _is_person(folder: Path) -> bool:
    return _PERSON.fullmatch(folder.name) is not None


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
