"""Any folder of images with a folder for each class, as a labelled face set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, Part
from ssl_faces.data.sets.expressions import count_expressions, label_of_classes
from ssl_faces.data.sets.folder import images_under, subfolders
from ssl_faces.data.sets.recognised import Entry, RecognisedSet, split_by_content


class ClassFolders(RecognisedSet):
    """Images in class folders: `happy/*.jpg`, `sad/more/*.png`, …

    Where every class is one of EXPRESSIONS (in any of the spellings of `expression_of`), images
    have the label `expression`, else `category`, an index into `categories`.

    No owner fixed a split: an image is in `test` by the SHA-256 of its bytes (`in_test_share`),
    which keeps byte-identical copies on one side.

    Args:
        root: the folder.
        part: which part.
        name: how tables call the set; the folder's name by default.

    Attributes:
        categories: names of the classes; EXPRESSIONS where they are expressions.
        folders: names of the class folders.
    """

    name = "class_folders"
    folder_title = "folders of expressions"
    split = "by the pictures' bytes, a fifth for the test"
    labels = ("expression",)
    near_copies = True
    may_be_empty = ("train", "test", "all")
    repeatable = True
    rank = 9

    categories: tuple[str, ...]
    folders: set[str]

    def __init__(self, root: str | Path, part: Part = "all", name: str | None = None) -> None:
        self.title = name or Path(root).expanduser().resolve().name
        self.name = f"class_folders-{self.title}"
        super().__init__(root, part, name=name)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether all folders in it, two or more, are named as expressions."""
        return 2 <= len(subfolders(folder)) == count_expressions(folder)

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        folders = subfolders(folder)
        if not folders:
            raise InputError(f"{folder} holds no class folder; make one for each class")
        label, self.categories, numbers = label_of_classes([child.name for child in folders])
        for child, number in zip(folders, numbers, strict=True):
            first = folders[numbers.index(number)]
            if first != child:
                raise InputError(f"{first} and {child} are one expression; put them together")
        self.class_names = {label: self.categories}
        self.folders = {child.name for child in folders}
        records = [
            FaceRecord(f"{child.name}/{image}", child / image, labels={label: number})
            for child, number in zip(folders, numbers, strict=True)
            for image in images_under(child)
        ]
        if not records and part == "all":
            raise InputError(f"{folder}: no picture in its class folders; check the path")
        yield from split_by_content(records, part)
