"""LFW: faces of named people, and the official pairs for verification.

Source: Huang et al., "Labeled Faces in the Wild", Univ. of Massachusetts TR 07-49, 2007.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FacePair, FaceRecord, Part
from ssl_faces.data.sets.expressions import frames_in
from ssl_faces.data.sets.folder import entry_of, is_image_name, subfolders
from ssl_faces.data.sets.recognised import Entry, VerificationSet
from ssl_faces.data.tables import bad_line, read_lines

PAIRS_FILE = "pairs.txt"
_SAME = re.compile(r"(\S.*?)\s+(\d+)\s+(\d+)", re.ASCII)
_DIFFERENT = re.compile(r"(\S.*?)\s+(\d+)\s+(\S.*?)\s+(\d+)", re.ASCII)


class LFW(VerificationSet):
    """LFW with `person` labels and the pairs of `pairs.txt`.

    `root` holds `<Person>/<Person>_NNNN.jpg`, or one folder `lfw…` (`lfw`, `lfw_funneled`,
    `lfw-deepfunneled`) that does. `pairs.txt`, in the official format, is in `root`, beside
    the people's folders or beside the folder that holds them.

    `test` is the images of the people named in `pairs.txt`, who are the `held_out_people`;
    `train` is everyone else. There are no pairs where `pairs.txt` is missing. A missing image has
    the key that it would have as a JPEG.
    """

    name = "lfw"
    title = "LFW"
    near_copies = True
    pairs_source = PAIRS_FILE
    official_pairs = (6000, 10)  # view 2
    rank = 8

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return folder_of_people(folder) == folder

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        if part != "all" and folder_of_people(folder) and _pairs_file_in(folder) is None:
            raise InputError(
                f"lfw: {folder} has no {PAIRS_FILE}, which says whom to keep for the test; "
                "put the official file there, or take the part 'all'"
            )
        yield from super().entries(folder, part)

    def listed(self, folder: Path) -> tuple[list[FaceRecord], list[FacePair]]:
        people = folder_of_people(folder)
        if people is None:
            raise InputError(
                f"lfw: {folder} holds no <Person>/<Person>_NNNN.jpg; "
                "give the folder that holds the people's folders"
            )
        records: list[FaceRecord] = []
        key_of: dict[_Face, str] = {}
        for place in subfolders(people):
            for path in frames_in(place):
                key = f"{place.name}/{path.name}"
                number = _number_in(path.stem, place.name)
                if number is not None:
                    key_of.setdefault((place.name, number), key)
                records.append(FaceRecord(key, path, place.name))
        pairs_file = _pairs_file_in(folder)
        pairs = []
        for *faces, fold, _ in read_pairs(pairs_file) if pairs_file else []:
            first, second = (key_of.get(f, f"{f[0]}/{f[0]}_{f[1]:04d}.jpg") for f in faces)
            pairs.append(FacePair(first, second, faces[0][0] == faces[1][0], fold))
        return records, pairs


def _pairs_file_in(folder: Path) -> Path | None:
    people = folder_of_people(folder) or folder
    places = (entry_of(place, PAIRS_FILE) for place in (folder, people, people.parent))
    return next(filter(None, places), None)


def folder_of_people(folder: Path) -> Path | None:
    """`folder`, or the folder `lfw…` in it, that holds `<Person>/<Person>_NNNN.<ending>`.

    At most 20 of its subfolders are looked into; None where neither does.
    """
    children = subfolders(folder)
    for candidate in (folder, *(c for c in children if c.name.lower().startswith("lfw"))):
        for person_folder in subfolders(candidate)[:20]:
            if any(
                is_image_name(path.name) and _number_in(path.stem, person_folder.name) is not None
                for path in person_folder.iterdir()
            ):
                return candidate
    return None


def _number_in(stem: str, person: str) -> int | None:
    """NNNN of `<Person>_NNNN`."""
    match = re.fullmatch(rf"{re.escape(person)}_(\d{{4}})", stem, re.ASCII)
    return int(match[1]) if match else None


_Face = tuple[str, int]


def read_pairs(path: Path) -> list[tuple[_Face, _Face, int, int]]:
    """The two (person, number) of every pair, its fold, from 0, and its line, from 1.

    First line: folds and pairs of each kind in a fold, or the latter alone (one fold). Then, for
    each fold, the same-person pairs (`name n n`) and the others (`name n name n`).
    """
    lines = read_lines(path)
    head = re.fullmatch(r"(?:(\d+)\s+)?(\d+)", lines[0].strip() if lines else "", re.ASCII)
    if head is None:
        raise InputError(
            f"{path}, line 1: must be the number of folds and of pairs of each kind in a fold, as "
            "in '10<TAB>300'; get the official pairs.txt"
        )
    folds, each = int(head[1] or 1), int(head[2])
    numbered = [(i, line.strip()) for i, line in enumerate(lines[1:], start=2) if line.strip()]
    if len(numbered) != 2 * folds * each:
        raise InputError(
            f"{path}: {len(numbered)} pairs, but line 1 promises {2 * folds * each} ({folds} folds "
            f"of {each} same and {each} different pairs); get the official pairs.txt"
        )
    pairs = []
    for i, (line_number, line) in enumerate(numbered):
        fold, within = divmod(i, 2 * each)
        same, where = within < each, f"{path}, line {line_number}"
        match = (_SAME if same else _DIFFERENT).fullmatch(line)
        if match is None:
            kind = "name, number, number" if same else "name, number, name, number"
            raise bad_line(where, line, kind)
        *names, second = match.groups()
        first, other = (names[0], int(names[1])), (names[0] if same else names[2], int(second))
        if not same and first[0] == other[0]:
            raise InputError(
                f"{where}: a pair of different people names {first[0]} twice; mend the line or get "
                "the official file"
            )
        pairs.append((first, other, fold, line_number))
    return pairs
