"""LFW: faces of named people, and the official pairs for verification.

Source: Huang et al., "Labeled Faces in the Wild", Univ. of Massachusetts TR 07-49, 2007.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import FacePair, FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, existing_folder, is_picture_name, subfolders
from ssl_faces.data.tables import read_lines


class LFW(FaceSet):
    """LFW with `person` labels and the pairs of `pairs.txt`.

    `root` holds `<Person>/<Person>_NNNN.jpg`, or one folder `lfw…` (`lfw`, `lfw_funneled`,
    `lfw-deepfunneled`) that does. `pairs.txt`, in the official format, is in `root`, beside
    the people's folders or beside the folder that holds them.

    `test` is the pictures of the people named in `pairs.txt`, who are the `held_out_people`;
    `train` is everyone else.

    Attributes:
        pairs: the verification pairs whose two pictures exist, by key; the same in every part
            (their pictures are records of `test` and `all`). Empty where `pairs.txt` is missing.
        missing_pairs: pairs of `pairs.txt` of which a picture is missing, by the key it would
            have as a JPEG; the pictures are in `skipped`, but for the part `train`. Report their
            number beside every verification figure.

    Raises:
        InputError: folder missing or without people's folders; `pairs.txt` missing (but for the
            part `all`, which needs no split) or malformed.
    """

    title = "LFW"

    pairs: list[FacePair]
    missing_pairs: list[FacePair]

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "lfw")
        people_folder = folder_of_people(folder)
        if people_folder is None:
            raise InputError(
                f"lfw: {folder} holds no <Person>/<Person>_NNNN.jpg; "
                "give the folder that holds the people's folders"
            )
        pairs_file = next(
            filter(
                None,
                (entry_of(f, "pairs.txt") for f in (folder, people_folder, people_folder.parent)),
            ),
            None,
        )
        if pairs_file is None and part != "all":
            raise InputError(
                f"lfw: {folder} has no pairs.txt, which says whom to keep for the test; "
                "put the official file there, or take the part 'all'"
            )
        records: list[FaceRecord] = []
        key_of: dict[tuple[str, int], str] = {}
        for person_folder in subfolders(people_folder):
            person = person_folder.name
            for path in sorted(p for p in person_folder.iterdir() if is_picture_name(p.name)):
                key = f"{person}/{path.name}"
                number = _number_in(path.stem, person)
                if number is not None:
                    key_of.setdefault((person, number), key)
                records.append(FaceRecord(key, path, person))

        pairs: list[FacePair] = []
        missing: list[FacePair] = []
        held_out: set[str] = set()
        for first, second, fold, _ in read_pairs(pairs_file) if pairs_file else []:
            held_out |= {first[0], second[0]}
            keys = [
                key_of.get(one, f"{one[0]}/{one[0]}_{one[1]:04d}.jpg") for one in (first, second)
            ]
            pair = FacePair(keys[0], keys[1], same=first[0] == second[0], fold=fold)
            (pairs if first in key_of and second in key_of else missing).append(pair)
        if part != "all":
            records = [r for r in records if (r.person in held_out) == (part == "test")]
        super().__init__(
            "lfw",
            part,
            records,
            held_out_people=frozenset(held_out),
            skipped=[] if part == "train" else _missing_pictures(missing, {r.key for r in records}),
            test=partial(LFW, root, "test"),
        )
        self.pairs = pairs
        self.missing_pairs = missing


def _missing_pictures(pairs: list[FacePair], present: set[str]) -> list[Skipped]:
    keys = sorted({key for pair in pairs for key in (pair.first, pair.second)} - present)
    return [Skipped(key, "named in pairs.txt, missing on disk") for key in keys]


def folder_of_people(folder: Path) -> Path | None:
    """`folder`, or the folder `lfw…` in it, that holds `<Person>/<Person>_NNNN.<ending>`.

    Told from at most 20 of its subfolders; None where neither does.
    """
    children = subfolders(folder)
    for candidate in (folder, *(c for c in children if c.name.lower().startswith("lfw"))):
        for person_folder in subfolders(candidate)[:20]:
            if any(
                is_picture_name(path.name) and _number_in(path.stem, person_folder.name) is not None
                for path in person_folder.iterdir()
            ):
                return candidate
    return None


def _number_in(stem: str, person: str) -> int | None:
    """NNNN of `<Person>_NNNN`."""
    prefix, _, digits = stem.rpartition("_")
    if prefix != person or len(digits) != 4 or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits)


_Face = tuple[str, int]


def read_pairs(path: Path) -> list[tuple[_Face, _Face, int, int]]:
    """The two (person, number) of every pair, its fold, from 0, and its line, from 1.

    First line: folds and pairs of each kind in a fold, or the latter alone (one fold). Then, for
    each fold, the same-person pairs (`name n n`) and the others (`name n name n`).
    """
    lines = read_lines(path)
    head = lines[0].split() if lines else []
    if len(head) not in (1, 2) or not all(_is_number(text) for text in head):
        raise InputError(
            f"{path}, line 1: must be the number of folds and of pairs of each kind in a fold, as "
            "in '10<TAB>300'; get the official pairs.txt"
        )
    folds, each = (1, int(head[0])) if len(head) == 1 else map(int, head)
    numbered = [(i, line) for i, line in enumerate(lines[1:], start=2) if line.strip()]
    if len(numbered) != 2 * folds * each:
        raise InputError(
            f"{path}: {len(numbered)} pairs, but line 1 promises {2 * folds * each} ({folds} folds "
            f"of {each} same and {each} different pairs); get the official pairs.txt"
        )
    pairs = []
    for i, (line_number, line) in enumerate(numbered):
        fold, within = divmod(i, 2 * each)
        same = within < each
        fields = [f.strip() for f in (line.strip().split("\t") if "\t" in line else line.split())]
        names, numbers = (fields[:1], fields[1:]) if same else (fields[0::2], fields[1::2])
        if len(fields) != (3 if same else 4) or not all(names) or not all(map(_is_number, numbers)):
            wanted = "name, number, number" if same else "name, number, name, number"
            raise InputError(
                f"{path}, line {line_number}: '{shorten(line)}' is not {wanted}; "
                "mend the line or get the official pairs.txt"
            )
        if not same and names[0] == names[1]:
            raise InputError(
                f"{path}, line {line_number}: a pair of different people names {names[0]} twice; "
                "mend the line or get the official pairs.txt"
            )
        first, second = int(numbers[0]), int(numbers[1])
        pairs.append(((names[0], first), (names[-1], second), fold, line_number))
    return pairs


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
