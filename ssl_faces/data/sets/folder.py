"""Any folder of pictures as a face set, and the folder look-ups that the other adapters share."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import existing_folder
from ssl_faces.data.faces import FaceRecord, FaceSet, Part, in_test_share
from ssl_faces.data.pictures import IMAGE_SUFFIXES


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in `folder` in order of name, hidden ones left out."""
    with os.scandir(folder) as entries:
        return sorted(
            folder / e.name for e in entries if not _ignored(e.name) and os.path.isdir(e.path)
        )


def entry_of(folder: Path, *paths: str) -> Path | None:
    """The first of the relative posix `paths` that exists in `folder`, whatever its case."""
    for path in paths:
        place: Path | None = folder
        for name in path.split("/"):
            place = None if place is None else _entry(place, name)
        if place is not None:
            return place
    return None


def _entry(folder: Path, name: str) -> Path | None:
    if not folder.is_dir():
        return None
    return next((folder / n for n in sorted(os.listdir(folder)) if n.lower() == name.lower()), None)


def is_image_name(name: str) -> bool:
    """Whether a file of this name is listed as a picture: known ending, not hidden."""
    return not _ignored(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def images_under(folder: Path, ignored: Counter[str] | None = None) -> list[str]:
    """Images in `folder` and its subfolders: sorted posix paths relative to it.

    Follows links to folders, each folder once. Hidden files and folders are left out. `ignored`
    counts the files that are no images by their ending (lower case).
    """
    paths: list[str] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _ignored(name))
        prefix = Path(parent).relative_to(folder).as_posix()
        prefix = "" if prefix == "." else prefix + "/"
        for name in files:
            if is_image_name(name):
                paths.append(prefix + name)
            elif ignored is not None and not _ignored(name):
                ignored[os.path.splitext(name)[1].lower() or "no ending"] += 1
    return sorted(paths)


def _ignored(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


class ImageFolder(FaceSet):
    """Every picture in a folder and its subfolders, unlabelled.

    Keys are posix paths relative to `root`, in sorted order.

    Args:
        people_from_folders: take a picture's parent folder (its path relative to `root`) for the
            person, so that pairs of two pictures of one person can be drawn. Pictures directly in
            `root` have no person.
        part: `train` and `test` share the people (or the pictures, where no person is known)
            out by `in_test_share`.
        name: how tables and cards call the set; the folder's name by default.

    Attributes:
        ignored: how many files were passed over because their ending is no picture's, by ending.

    Raises:
        InputError: the folder is missing or holds no picture.
    """

    near_copies = True
    ignored: dict[str, int]

    def __init__(
        self,
        root: str | Path,
        people_from_folders: bool = False,
        part: Part = "all",
        name: str | None = None,
    ) -> None:
        folder = existing_folder(root, name or "picture folder")
        ignored: Counter[str] = Counter()
        keys = images_under(folder, ignored)
        if not keys:
            seen = f"; it holds files ending in {', '.join(sorted(ignored))}" if ignored else ""
            raise InputError(
                f"folder {folder} holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))}){seen}"
            )
        records = []
        for key in keys:
            parent = key.rpartition("/")[0]
            person = parent if people_from_folders and parent else None
            if part == "all" or in_test_share(person or key) == (part == "test"):
                records.append(FaceRecord(key, folder / key, person))
        super().__init__(name or folder.resolve().name, part, records)
        self.ignored = dict(ignored)
