"""CPLFW: pairs of LFW's people in different poses.

Source: Zheng and Deng, "Cross-Pose LFW: A Database for Studying Cross-Pose Face Recognition in
Unconstrained Environments", Beijing Univ. of Posts and Telecommunications TR 18-01, 2018.
"""

from __future__ import annotations

from pathlib import Path

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import FacePair, FaceRecord
from ssl_faces.data.sets.folder import entry_of, images_under
from ssl_faces.data.sets.recognised import VerificationSet
from ssl_faces.data.tables import numbered_lines

FOLDS = 10
PAIRS_FILE = "pairs_CPLFW.txt"


class CPLFW(VerificationSet):
    """CPLFW with `person` labels and the pairs of `pairs_CPLFW.txt`.

    `root` holds `images/` (or `aligned images/`, or the images) with `Ann_Lee_2.jpg` and so on,
    and `pairs_CPLFW.txt`: two lines a pair, `image mark`, with the mark 0 where two people are
    shown. The file lists the pairs of one kind fold by fold, and folds are tenths of that list;
    where the marks of same pairs are 1 to 10, they are the folds.

    People are spelt as in LFW, whose people they are. `test` is the images of people in a pair,
    who are the `held_out_people`; `train` is the rest, and may be empty.
    """

    name = "cplfw"
    title = "CPLFW"
    pairs_source = PAIRS_FILE
    may_be_empty = ("train",)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return entry_of(folder, PAIRS_FILE) is not None

    def listed(self, folder: Path) -> tuple[list[FaceRecord], list[FacePair]]:
        pairs_file = entry_of(folder, PAIRS_FILE)
        if pairs_file is None:
            raise self.lacks(folder, PAIRS_FILE, "it and images/")
        images = entry_of(folder, "images", "aligned images") or folder
        names = images_under(images)
        records = [FaceRecord(name, images / name, self.person_of(name)) for name in names]
        return records, _read_pairs(pairs_file)

    def person_of(self, key: str) -> str:
        """`Ann_Lee` of `Ann_Lee_2.jpg`."""
        return key.rpartition("/")[2].rpartition(".")[0].rpartition("_")[0]


def _read_pairs(path: Path) -> list[FacePair]:
    marked: list[tuple[str, str, int]] = []
    for where, line in numbered_lines(path):
        name, _, text = line.rpartition(" ")
        if not name.strip() or not (text.isascii() and text.isdigit()):
            raise InputError(
                f"{where}: '{shorten(line)}' is not 'picture mark' with a whole number for a mark; "
                "mend the line or get the official file"
            )
        marked.append((where, name.strip(), int(text)))
    if len(marked) % 2 or not marked:
        raise InputError(
            f"{path}: {len(marked)} lines, and a pair takes two; get the official file"
        )
    listed: list[tuple[str, str, int]] = []
    for (_, first, mark), (where, second, other) in zip(marked[::2], marked[1::2], strict=True):
        if mark != other or mark > FOLDS:
            raise InputError(
                f"{where}: the two lines of a pair are marked {mark} and {other}, not alike from 0 "
                f"to {FOLDS}; mend the lines or get the official file"
            )
        listed.append((first, second, mark))
    with_folds = max(mark for *_, mark in listed) > 1
    counts = {same: sum((mark > 0) == same for *_, mark in listed) for same in (True, False)}
    seen = {True: 0, False: 0}
    pairs = []
    for first, second, mark in listed:
        same = mark > 0
        fold = mark - 1 if same and with_folds else seen[same] * FOLDS // counts[same]
        seen[same] += 1
        pairs.append(FacePair(first, second, same, fold))
    return pairs
