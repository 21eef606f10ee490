"""RAF-DB (basic): faces from the web with one of seven expressions, voted by some forty people.

Source: Li, Deng and Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for
Expression Recognition in the Wild", CVPR 2017.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, existing_folder, pictures_under
from ssl_faces.data.tables import read_lines

LABELS = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""What the owner's labels 1 to 7 mean."""

LIST_FILE = "list_patition_label.txt"  # spelt as the owner spells it


class RafDb(FaceSet):
    """RAF-DB's single-label part with `expression` labels; no person is known.

    `root` holds `list_patition_label.txt` (lines `train_00001.jpg 5`) and `aligned/`
    (`train_00001_aligned.jpg`), each directly or where the owner's archive has it (`EmoLabel/`,
    `Image/aligned/`). The prefix `train_` or `test_` is the owner's split. Pictures that are
    listed and missing are in `skipped`.

    Raises:
        InputError: folder, list or pictures missing, or a line that can't be read.
    """

    title = "RAF-DB"
    split = "train -> test"

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "rafdb")
        list_file, aligned = places_in(folder)
        if list_file is None or aligned is None:
            raise InputError(
                f"rafdb: {folder} has no {LIST_FILE if list_file is None else 'aligned/'}; "
                "give the folder that holds both"
            )
        present = set(pictures_under(aligned))
        records: list[FaceRecord] = []
        skipped: list[Skipped] = []
        for name, label in _read_list(list_file):
            side = name.partition("_")[0]
            if part not in ("all", side):
                continue
            stem = name.rpartition(".")[0]
            found = [n for n in (f"{stem}_aligned.jpg", name) if n in present]
            if not found:
                skipped.append(Skipped(name, f"listed in {list_file.name}, missing on disk"))
                continue
            labels = {"expression": EXPRESSIONS.index(LABELS[label - 1])}
            records.append(FaceRecord(name, aligned / found[0], labels=labels))
        super().__init__("rafdb", part, records, skipped=skipped, test=partial(RafDb, root, "test"))


def places_in(folder: Path) -> tuple[Path | None, Path | None]:
    """The list and the folder of aligned pictures, each None where it isn't there."""

    def sought(name: str, below: str) -> Path | None:
        inner = entry_of(folder, below)
        homes = [folder, *([inner] if inner is not None and inner.is_dir() else [])]
        return next(filter(None, (entry_of(home, name) for home in homes)), None)

    return sought(LIST_FILE, "EmoLabel"), sought("aligned", "Image")


def is_layout(folder: Path) -> bool:
    return places_in(folder)[0] is not None


def _read_list(path: Path) -> list[tuple[str, int]]:
    """Name and label, 1 to 7, of every line."""
    lines = read_lines(path)
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split()
        good = len(fields) == 2 and fields[0].startswith(("train_", "test_"))
        if not good or fields[1] not in map(str, range(1, len(LABELS) + 1)):
            raise InputError(
                f"{path}, line {number}: '{shorten(line)}' is not 'train_… or test_… label' "
                f"with a label from 1 to {len(LABELS)}; mend or delete the line"
            )
        found.append((fields[0], int(fields[1])))
    return found
