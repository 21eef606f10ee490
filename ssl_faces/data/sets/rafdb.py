"""RAF-DB (basic): faces from the web with one of seven expressions, voted by some forty people.

Source: Li, Deng and Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for
Expression Recognition in the Wild", CVPR 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, Part, Skipped
from ssl_faces.data.sets.folder import images_under
from ssl_faces.data.sets.recognised import Entry, RecognisedSet
from ssl_faces.data.tables import bad_line, numbered_lines

LABELS = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""What the owner's labels 1 to 7 mean."""

LIST_FILE = "list_patition_label.txt"  # spelt as the owner spells it

_LINE = re.compile(r"((train|test)_\S*)\s+([1-7])")


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
    signature = (LIST_FILE, f"EmoLabel/{LIST_FILE}")

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        list_file = self.need(folder, *self.signature, beside="aligned/")
        aligned = self.need(folder, "aligned", "Image/aligned", beside=LIST_FILE)
        present = set(images_under(aligned))
        for where, line in numbered_lines(list_file):
            match = _LINE.fullmatch(line)
            if match is None:
                what = f"'train_… or test_… label' with a label from 1 to {len(LABELS)}"
                raise bad_line(where, line, what)
            name, side, label = match.groups()
            if part not in ("all", side):
                continue
            files = [f"{name.rpartition('.')[0]}_aligned.jpg", name]
            file = next((file for file in files if file in present), None)
            if file is None:
                yield Skipped(name, f"listed in {list_file.name}, missing on disk")
            else:
                labels = {"expression": EXPRESSIONS.index(LABELS[int(label) - 1])}
                yield FaceRecord(name, aligned / file, labels=labels)
