"""CPLFW: pairs of LFW's people in different poses.

Source: Zheng and Deng, "Cross-Pose LFW: A Database for Studying Cross-Pose Face Recognition in
Unconstrained Environments", Beijing Univ. of Posts and Telecommunications TR 18-01, 2018.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FacePair, FaceRecord
from ssl_faces.data.sets.folder import entry_of, images_under
from ssl_faces.data.sets.recognised import VerificationSet
from ssl_faces.data.tables import bad_line, numbered_lines

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
    signature = (PAIRS_FILE,)

    def listed(self, folder: Path) -> tuple[list[FaceRecord], list[FacePair]]:
        pairs_file = self.need(folder, PAIRS_FILE, beside="images/")
        images = entry_of(folder, "images", "aligned images") or folder
        names = images_under(images)
        records = [FaceRecord(name, images / name, self.person_of(name)) for name in names]
        return records, _read_pairs(pairs_file)

    def person_of(self, key: str) -> str:
        """`Ann_Lee` of `Ann_Lee_2.jpg`."""
        return key.rpartition("/")[2].rpartition(".")[0].rpartition("_")[0]


def _read_pairs(path: Path) -> list[FacePair]:
    lines: list[tuple[str, str, int]] = []
    for where, line in numbered_lines(path):
        match = re.fullmatch(r"(.*\S)\s+(\d+)", line, re.ASCII)
        if match is None:
            raise bad_line(where, line, "'picture mark' with a whole number for a mark")
        lines.append((where, match[1], int(match[2])))
    if len(lines) % 2 or not lines:
        raise InputError(f"{path}: {len(lines)} lines, and a pair takes two; get the official file")
    listed = []
    for (_, first, mark), (where, second, other) in zip(lines[::2], lines[1::2], strict=True):
        if mark != other or mark > FOLDS:
            raise InputError(
                f"{where}: the two lines of a pair are marked {mark} and {other}, not alike from 0 "
                f"to {FOLDS}; mend the lines or get the official file"
            )
        listed.append((first, second, mark))
    with_folds = max(mark for *_, mark in listed) > 1
    counts, seen = Counter(mark > 0 for *_, mark in listed), Counter[bool]()
    pairs = []
    for first, second, mark in listed:
        same = mark > 0
        fold = mark - 1 if same and with_folds else seen[same] * FOLDS // counts[same]
        seen[same] += 1
        pairs.append(FacePair(first, second, same, fold))
    return pairs
