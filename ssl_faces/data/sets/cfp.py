"""CFP: celebrities seen from the front and from the side, ten and four images a person.

Source: Sengupta et al., "Frontal to Profile Face Verification in the Wild", WACV 2016.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FacePair, FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, existing_folder, is_picture_name, subfolders
from ssl_faces.data.tables import read_lines, read_table

VIEWS = ("frontal", "profile")


class CFP(FaceSet):
    """CFP with `person` labels and its frontal-profile pairs.

    `root` is the owner's folder, with `Data/Images/001/frontal/01.jpg`, `profile/01.jpg` and so
    on, and the pairs in `Protocol/Pair_list_F.txt`, `Pair_list_P.txt` and
    `Split/FP/01/same.txt`, `diff.txt`. Or it holds the people's folders, and the pairs in
    `pairs_FP.csv` with the columns first, second, same (0 or 1) and fold.

    `test` is the images of people in a pair, who are the `held_out_people`. `train` is everyone
    else: nobody, where all ten official folds are there.

    Attributes:
        pairs: those whose two images exist, by key; the same in every part.
        missing_pairs: those of which an image is missing; the images are in `skipped`.

    Raises:
        InputError: folder, images or pairs missing, or a line that can't be read.
    """

    title = "CFP frontal-profile"
    protocol = "FP"

    pairs: list[FacePair]
    missing_pairs: list[FacePair]

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        name = "cfp" if self.protocol == "FP" else f"cfp_{self.protocol.lower()}"
        folder = existing_folder(root, name)
        images = _images_in(folder)
        if images is None:
            raise InputError(
                f"{name}: {folder} holds no 001/frontal/01.jpg; give the folder that holds "
                "Data/Images and Protocol, or the people's folders"
            )
        pairs = _read_pairs(folder, self.protocol)
        tested = {_person_of(key) for pair in pairs for key in pair[:2]}
        everything = _records(images)
        records = [record for record in everything if self._lists(record, tested, part)]
        listed = {record.key for record in everything}
        missing = sorted({key for pair in pairs for key in pair[:2]} - listed)
        source = f"the {self.protocol} pairs"
        super().__init__(
            name,
            part,
            records,
            held_out_people=frozenset(tested),
            skipped=[Skipped(key, f"named in {source}, missing on disk") for key in missing],
            test=partial(type(self), root, "test"),
            empty=part == "train",
        )
        self.pairs = [pair for pair in pairs if {*pair[:2]} <= listed]
        self.missing_pairs = [pair for pair in pairs if not {*pair[:2]} <= listed]

    def _lists(self, record: FaceRecord, tested: set[str], part: Part) -> bool:
        """Whether a record belongs to the part."""
        return part == "all" or (record.person in tested) == (part == "test")


class CFPFrontal(CFP):
    """The frontal-frontal pairs of CFP, over the frontal images of `CFP`.

    It is empty as `train`, where `CFP` beside it lists the same images.
    """

    title = "CFP frontal-frontal"
    protocol = "FF"

    def _lists(self, record: FaceRecord, tested: set[str], part: Part) -> bool:
        return part != "train" and record.person in tested and "/frontal/" in record.key


def is_layout(folder: Path) -> bool:
    return _images_in(folder) is not None


def _images_in(folder: Path) -> Path | None:
    """The folder that holds the people's folders: `folder`, or `Data/Images` or `Images` in it."""
    data = entry_of(folder, "Data")
    for parent in (folder, *([data] if data is not None and data.is_dir() else [])):
        images = entry_of(parent, "Images")
        for candidate in (parent, images):
            if candidate is None or not candidate.is_dir():
                continue
            people = subfolders(candidate)[:20]
            if any(entry_of(person, *VIEWS) is not None for person in people):
                return candidate
    return None


def _records(images: Path) -> list[FaceRecord]:
    found = []
    for person in subfolders(images):
        for view in filter(None, (entry_of(person, name) for name in VIEWS)):
            key = f"{person.name}/{view.name.lower()}"
            found += [
                FaceRecord(f"{key}/{path.name}", path, _person_of(key))
                for path in sorted(view.iterdir())
                if is_picture_name(path.name)
            ]
    return found


def _person_of(key: str) -> str:
    """CFP numbers its people: the set's name keeps them apart from other sets' numbers."""
    return f"cfp_{key.partition('/')[0]}"


def _read_pairs(folder: Path, protocol: str) -> list[FacePair]:
    table = entry_of(folder, f"pairs_{protocol}.csv")
    if table is not None:
        return _pairs_of_table(table)
    official = entry_of(folder, "Protocol")
    splits = entry_of(official, "Split") if official is not None else None
    split = entry_of(splits, protocol) if splits is not None else None
    if official is None or split is None:
        raise InputError(
            f"cfp: {folder} has neither pairs_{protocol}.csv nor Protocol/Split/{protocol}; "
            "add one of them"
        )
    lists = [_pair_list(official / f"Pair_list_{view}.txt") for view in ("F", protocol[1])]
    pairs = []
    for number, fold in enumerate(subfolders(split)):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for where, line in _numbered(fold / name):
                numbers = [text.strip() for text in line.split(",")]
                keys = [of.get(n) for of, n in zip(lists, numbers, strict=False)]
                if len(numbers) != 2 or None in keys:
                    raise InputError(
                        f"{where}: '{line[:60]}' is not two numbers of the pair lists; "
                        "get the official file"
                    )
                pairs.append(FacePair(str(keys[0]), str(keys[1]), same, number))
    return pairs


def _pairs_of_table(path: Path) -> list[FacePair]:
    pairs = []
    for where, row in read_table(path, ("first", "second", "same", "fold")):
        if row["same"] not in ("0", "1") or not row["fold"].isdecimal():
            raise InputError(
                f"{where}: same is '{row['same']}' and fold '{row['fold']}'; give 0 or 1, and a "
                "whole number from 0"
            )
        pairs.append(FacePair(row["first"], row["second"], row["same"] == "1", int(row["fold"])))
    return pairs


def _pair_list(path: Path) -> dict[str, str]:
    """Keys of images by their number: lines of `12 ../Data/Images/002/frontal/02.jpg`."""
    found = {}
    for where, line in _numbered(path):
        number, _, file = line.partition(" ")
        parts = file.strip().replace("\\", "/").split("/")
        if not number.isdecimal() or len(parts) < 3:
            raise InputError(f"{where}: '{line[:60]}' is not 'number path'; get the official file")
        found[number] = "/".join(parts[-3:])
    return found


def _numbered(path: Path) -> list[tuple[str, str]]:
    """Lines that hold text, each with where it is."""
    lines = enumerate(read_lines(path), start=1)
    return [(f"{path}, line {n}", line.strip()) for n, line in lines if line.strip()]
