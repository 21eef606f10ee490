"""RAF-DB (basic): faces from the web with one of seven expressions, voted by some forty people.

Source: Li, Deng and Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for
Expression Recognition in the Wild", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, images_under
from ssl_faces.data.sets.recognised import Entry, RecognisedSet
from ssl_faces.data.tables import MEND, numbered_lines

LABELS = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""What the owner's labels 1 to 7 mean."""

LIST_FILE = "list_patition_label.txt"  # spelt as the owner spells it


class RafDb(RecognisedSet):
    """RAF-DB's single-label part with `expression` labels; no person is known.

    `root` holds `list_patition_label.txt` (lines `train_00001.jpg 5`) and `aligned/`
    (`train_00001_aligned.jpg`), each directly or where the owner's archive has it (`EmoLabel/`,
    `Image/aligned/`). The prefix `train_` or `test_` is the owner's split. Images that are listed
    and missing are in `skipped`.
    """

    name = "rafdb"
    title = "RAF-DB"
    split = "train -> test"
    labels = ("expression",)
    near_copies = True

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return _list_in(folder) is not None

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        list_file, aligned = _list_in(folder), entry_of(folder, "aligned", "Image/aligned")
        if list_file is None or aligned is None:
            raise self.lacks(folder, LIST_FILE if list_file is None else "aligned/", "both")
        present = set(images_under(aligned))
        for where, line in numbered_lines(list_file):
            name, label = _name_and_label(where, line)
            if part not in ("all", name.partition("_")[0]):
                continue
            files = [f"{name.rpartition('.')[0]}_aligned.jpg", name]
            file = next((file for file in files if file in present), None)
            if file is None:
                yield Skipped(name, f"listed in {list_file.name}, missing on disk")
            else:
                labels = {"expression": EXPRESSIONS.index(LABELS[label - 1])}
                yield FaceRecord(name, aligned / file, labels=labels)


def _list_in(folder: Path) -> Path | None:
    return entry_of(folder, LIST_FILE, f"EmoLabel/{LIST_FILE}")


def _name_and_label(where: str, line: str) -> tuple[str, int]:
    """Name and label, 1 to 7."""
    fields = line.split()
    good = len(fields) == 2 and fields[0].startswith(("train_", "test_"))
    if not good or fields[1] not in map(str, range(1, len(LABELS) + 1)):
        raise InputError(
            f"{where}: '{shorten(line)}' is not 'train_… or test_… label' with a label from 1 to "
            f"{len(LABELS)}; {MEND}"
        )
    return fields[0], int(fields[1])
