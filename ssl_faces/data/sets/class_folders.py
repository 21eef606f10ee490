"""Any folder of pictures with a folder for each class, as a labelled face set."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, FaceSet, Part, Skipped, in_test_share
from ssl_faces.data.pictures import BadPicture, content_hash
from ssl_faces.data.sets.fer2013 import expression_of
from ssl_faces.data.sets.folder import existing_folder, pictures_under, subfolders


class ClassFolders(FaceSet):
    """Pictures in class folders: `happy/*.jpg`, `sad/more/*.png`, …

    Where every class is one of EXPRESSIONS (in any of the spellings that FER-2013 is known in),
    pictures have the label `expression`, else `category`, an index into `categories`.

    No owner fixed a split: a picture is in `test` by the SHA-256 of its bytes (`in_test_share`),
    which keeps byte-identical copies on one side.

    Args:
        root: the folder.
        part: which part.
        name: how tables call the set; the folder's name by default.

    Attributes:
        categories: names of the classes; EXPRESSIONS where they are expressions.
        folders: names of the class folders.

    Raises:
        InputError: folder missing, without a class folder or a picture in one, or with two folders
            of one expression.
    """

    split = "by the pictures' bytes, a fifth for the test"

    categories: tuple[str, ...]
    folders: set[str]

    def __init__(self, root: str | Path, part: Part = "all", name: str | None = None) -> None:
        folder = existing_folder(root, name or "class folders")
        folders = subfolders(folder)
        known = [expression_of(child.name) for child in folders]
        if not folders:
            raise InputError(f"{folder} holds no class folder; make one for each class")
        if expressions := None not in known:
            for i, index in enumerate(known):
                if index in known[:i]:
                    first = folders[known.index(index)]
                    raise InputError(
                        f"{first} and {folders[i]} are one expression; put them together"
                    )
        records: list[FaceRecord] = []
        skipped: list[Skipped] = []
        for place, (child, index) in enumerate(zip(folders, known, strict=True)):
            labels = {"expression": index} if expressions else {"category": place}
            for picture in pictures_under(child):
                key = f"{child.name}/{picture}"
                path = child / picture
                if part != "all":
                    try:
                        digest = content_hash(path).hex()
                    except BadPicture as error:
                        skipped.append(Skipped(key, str(error)))
                        continue
                    if in_test_share(digest) != (part == "test"):
                        continue
                records.append(FaceRecord(key, path, labels=dict(labels)))
        if not records and part == "all":
            raise InputError(f"{folder}: no picture in its class folders; check the path")
        super().__init__(
            f"class_folders-{name or folder.resolve().name}",
            part,
            records,
            skipped=skipped,
            test=partial(ClassFolders, root, "test", name),
            empty=True,
        )
        self.title = name or folder.resolve().name
        self.categories = EXPRESSIONS if expressions else tuple(f.name for f in folders)
        self.class_names = {"expression" if expressions else "category": self.categories}
        self.folders = {child.name for child in folders}


def is_layout(folder: Path) -> bool:
    """Whether all folders in it, two or more, are named as expressions are."""
    children = subfolders(folder)
    return len(children) >= 2 and all(expression_of(c.name) is not None for c in children)
