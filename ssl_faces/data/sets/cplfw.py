"""CPLFW: pairs of LFW's people in different poses.

Source: Zheng and Deng, "Cross-Pose LFW: A Database for Studying Cross-Pose Face Recognition in
Unconstrained Environments", Beijing Univ. of Posts and Telecommunications TR 18-01, 2018.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import FacePair, FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, existing_folder, pictures_under
from ssl_faces.data.tables import read_lines

FOLDS = 10
PAIRS_FILE = "pairs_CPLFW.txt"


class CPLFW(FaceSet):
    """CPLFW with `person` labels and the pairs of `pairs_CPLFW.txt`.

    `root` holds `images/` (or `aligned images/`, or the pictures) with `Ann_Lee_2.jpg` and so on,
    and `pairs_CPLFW.txt`: two lines a pair, `picture mark`, with the mark 0 where two people are
    shown. The file lists the pairs of one kind fold by fold, and folds are tenths of that list;
    where the marks of same pairs are 1 to 10, they are the folds.

    People are spelt as in LFW, whose people they are. `test` is the pictures of people in a pair,
    who are the `held_out_people`; `train` is the rest, and may be empty.

    Attributes:
        pairs: those whose two pictures exist, by key; the same in every part.
        missing_pairs: those of which a picture is missing; the pictures are in `skipped`.

    Raises:
        InputError: folder, pairs or pictures missing, or a line that can't be read.
    """

    title = "CPLFW"

    pairs: list[FacePair]
    missing_pairs: list[FacePair]

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "cplfw")
        pairs_file = entry_of(folder, PAIRS_FILE)
        if pairs_file is None:
            raise InputError(
                f"cplfw: {folder} has no {PAIRS_FILE}; give the folder that holds it and images/"
            )
        images = entry_of(folder, "images", "aligned images") or folder
        pairs = _read_pairs(pairs_file)
        names = pictures_under(images)
        present = set(names)
        people = {_person_of(name) for pair in pairs for name in pair[:2]}
        records = [FaceRecord(name, images / name, _person_of(name)) for name in names]
        if part != "all":
            records = [r for r in records if (r.person in people) == (part == "test")]
        missing = sorted({n for pair in pairs for n in pair[:2]} - present)
        super().__init__(
            "cplfw",
            part,
            records,
            held_out_people=frozenset(people),
            skipped=[Skipped(name, f"named in {PAIRS_FILE}, missing on disk") for name in missing],
            test=partial(CPLFW, root, "test"),
            empty=part == "train",
        )
        self.pairs = [pair for pair in pairs if {*pair[:2]} <= present]
        self.missing_pairs = [pair for pair in pairs if not {*pair[:2]} <= present]


def is_layout(folder: Path) -> bool:
    return entry_of(folder, PAIRS_FILE) is not None


def _person_of(name: str) -> str:
    """`Ann_Lee` of `Ann_Lee_2.jpg`."""
    return name.rpartition("/")[2].rpartition(".")[0].rpartition("_")[0]


def _read_pairs(path: Path) -> list[FacePair]:
    lines = read_lines(path)
    marked: list[tuple[int, str, int]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, text = line.strip().rpartition(" ")
        if not name.strip() or not (text.isascii() and text.isdigit()):
            raise InputError(
                f"{path}, line {number}: '{shorten(line)}' is not 'picture mark' with a whole "
                "number for a mark; mend the line or get the official file"
            )
        marked.append((number, name.strip(), int(text)))
    if len(marked) % 2 or not marked:
        raise InputError(
            f"{path}: {len(marked)} lines, and a pair takes two; get the official file"
        )
    found: list[tuple[str, str, int]] = []
    for (_, first, token), (number, second, other) in zip(marked[::2], marked[1::2], strict=True):
        if token != other or token > FOLDS:
            raise InputError(
                f"{path}, line {number}: the two lines of a pair are marked {token} and {other}, "
                f"not alike from 0 to {FOLDS}; mend the lines or get the official file"
            )
        found.append((first, second, token))
    with_folds = max(mark for *_, mark in found) > 1
    counts = {same: sum((mark > 0) == same for *_, mark in found) for same in (True, False)}
    seen = {True: 0, False: 0}
    pairs = []
    for first, second, mark in found:
        same = mark > 0
        fold = mark - 1 if same and with_folds else seen[same] * FOLDS // counts[same]
        seen[same] += 1
        pairs.append(FacePair(first, second, same, fold))
    return pairs
