"""CFP: celebrities seen from the front and from the side, ten and four images a person.

Source: Sengupta et al., "Frontal to Profile Face Verification in the Wild", WACV 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FacePair, FaceRecord, Part
from ssl_faces.data.sets.expressions import frames_in
from ssl_faces.data.sets.folder import entry_of, subfolders
from ssl_faces.data.sets.recognised import VerificationSet
from ssl_faces.data.tables import bad_line, numbered_lines, read_table, whole_number_in

VIEWS = ("frontal", "profile")
_COLUMNS = ("first", "second", "same", "fold")


class CFP(VerificationSet):
    """CFP with `person` labels and its frontal-profile pairs.

    `root` is the owner's folder, with `Data/Images/001/frontal/01.jpg`, `profile/01.jpg` and so
    on, and the pairs in `Protocol/Pair_list_F.txt`, `Pair_list_P.txt` and
    `Split/FP/01/same.txt`, `diff.txt`. Or it holds the people's folders, and the pairs in
    `pairs_FP.csv` with the columns first, second, same (0 or 1) and fold.

    `test` is the images of people in a pair, who are the `held_out_people`. `train` is everyone
    else: nobody, where all ten official folds are there.
    """

    name = "cfp"
    title = "CFP frontal-profile"
    protocol = "FP"
    pairs_source = "the FP pairs"
    may_be_empty = ("train",)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return _images_in(folder) is not None

    def listed(self, folder: Path) -> tuple[list[FaceRecord], list[FacePair]]:
        images = _images_in(folder)
        if images is None:
            raise InputError(
                f"{self.name}: {folder} holds no 001/frontal/01.jpg; give the folder that holds "
                "Data/Images and Protocol, or the people's folders"
            )
        return list(self._records(images)), _read_pairs(folder, self.protocol)

    def person_of(self, key: str) -> str:
        """CFP numbers its people: the set's name keeps them apart from other sets' numbers."""
        return f"cfp_{super().person_of(key)}"

    def _records(self, images: Path) -> Iterator[FaceRecord]:
        for person in subfolders(images):
            for view in filter(None, (entry_of(person, name) for name in VIEWS)):
                for path in frames_in(view):
                    key = f"{person.name}/{view.name.lower()}/{path.name}"
                    yield FaceRecord(key, path, self.person_of(key))


class CFPFrontal(CFP):
    """The frontal-frontal pairs of CFP, over the frontal images of `CFP`.

    It is empty as `train`, where `CFP` beside it lists the same images.
    """

    name = "cfp_ff"
    title = "CFP frontal-frontal"
    protocol = "FF"
    pairs_source = "the FF pairs"
    same_images_as = "cfp"

    def is_listed(self, record: FaceRecord, part: Part) -> bool:
        return part != "train" and record.person in self._held_out and "/frontal/" in record.key


def _images_in(folder: Path) -> Path | None:
    """The folder that holds the people's folders, which are numbers: `folder`, or `Data/Images` or
    `Images` in it."""
    for place in (folder, *(entry_of(folder, p) for p in ("Images", "Data", "Data/Images"))):
        if place is None or not place.is_dir():
            continue
        people = [person for person in subfolders(place)[:20] if person.name.isdecimal()]
        if any(entry_of(person, *VIEWS) is not None for person in people):
            return place
    return None


def _read_pairs(folder: Path, protocol: str) -> list[FacePair]:
    table = entry_of(folder, f"pairs_{protocol}.csv")
    if table is not None:
        return [_pair_of_row(where, row) for where, row in read_table(table, _COLUMNS)]
    official, split = entry_of(folder, "Protocol"), entry_of(folder, f"Protocol/Split/{protocol}")
    if official is None or split is None:
        raise InputError(
            f"cfp: {folder} has neither pairs_{protocol}.csv nor Protocol/Split/{protocol}; "
            "add one of them"
        )
    lists = [_pair_list(official / f"Pair_list_{view}.txt") for view in ("F", protocol[1])]
    pairs = []
    for number, fold in enumerate(subfolders(split)):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for where, line in numbered_lines(fold / name):
                numbers = [text.strip() for text in line.split(",")]
                keys = [of.get(n) for of, n in zip(lists, numbers, strict=False)]
                if len(numbers) != 2 or None in keys:
                    raise bad_line(where, line, "two numbers of the pair lists")
                pairs.append(FacePair(str(keys[0]), str(keys[1]), same, number))
    return pairs


def _pair_of_row(where: str, row: dict[str, str]) -> FacePair:
    same = whole_number_in(row["same"], "same", where, 0, 1)
    fold = whole_number_in(row["fold"], "fold", where, 0, 10**6)
    return FacePair(row["first"], row["second"], bool(same), fold)


def _pair_list(path: Path) -> dict[str, str]:
    """Keys of images by their number: lines of `12 ../Data/Images/002/frontal/02.jpg`."""
    files = {}
    for where, line in numbered_lines(path):
        number, _, file = line.partition(" ")
        parts = file.strip().replace("\\", "/").split("/")
        if not number.isdecimal() or len(parts) < 3:
            raise bad_line(where, line, "'number path'")
        files[number] = "/".join(parts[-3:])
    return files
