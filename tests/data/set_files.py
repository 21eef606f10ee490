"""Small copies of the sets' layouts, as their owners have them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from ssl_faces.data import EXPRESSIONS, FaceSet

OFFICIAL_EMOTIONS = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
TWO_FOLDS = "2\t1\nAnn\t1\t3\nAnn\t2\tBen\t1\nCem\t1\t2\nCem\t1\tEve\t1\n"
YOUTUBE_HEADER = "image,person,yaw,pitch,roll,reprojection_px," + ",".join(
    f"x{i},y{i}" for i in range(68)
)


def put_picture(path: Path, level: int = 100, size: tuple[int, int] = (12, 10)) -> Path:
    """A flat grey picture of `level`, width x height `size`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    Image.new("L", size, level).save(data, "PNG" if path.suffix == ".png" else "JPEG")
    path.write_bytes(data.getvalue())
    return path


def keys(faces: FaceSet) -> list[str]:
    return [record.key for record in faces.records]


def fer_folders(root: Path, usages: Iterable[str] = ("Training", "PublicTest")) -> Path:
    for usage in usages:
        for i, name in enumerate(EXPRESSIONS):
            put_picture(root / usage / name / f"{usage}_{i}.jpg", level=10 * i, size=(48, 48))
    return root


def pixels_text(level: int) -> str:
    return " ".join(str((level + i) % 256) for i in range(48 * 48))


def fer_csv(path: Path, rows: Iterable[str], header: str = "emotion,pixels,Usage") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def lfw(root: Path, pairs: str | None = None, **pictures: int) -> Path:
    """People with so many pictures each, and pairs.txt."""
    people = pictures or {"Ann": 3, "Ben": 2, "Cem": 1, "Dora": 4}
    for person, number in people.items():
        for i in range(1, number + 1):
            put_picture(root / person / f"{person}_{i:04d}.jpg")
    if pairs is not None:
        (root / "pairs.txt").write_text(pairs)
    return root


def utkface(root: Path, number: int = 60) -> Path:
    for i in range(number):
        put_picture(
            root / f"{i + 1}_{i % 2}_{i % 5}_2017011617452{i:04d}.jpg.chip.jpg", level=4 * i
        )
    return root


def youtube_row(image: str, person: str, yaw: float = 1.5) -> str:
    landmarks = ",".join(f"{i}.25,{i + 100}.5" for i in range(68))
    return f"{image},{person},{yaw},-2.5,3.25,0.75,{landmarks}"


def youtube(root: Path, rows: list[str] | None = None, header: str = YOUTUBE_HEADER) -> Path:
    if rows is None:
        rows = [youtube_row(f"P{p}_{i}.jpg", f"P{p}") for p in range(30) for i in (2, 1)]
    (root / "images").mkdir(parents=True)
    for row in rows:
        name = row.split(",")[0]
        if name.endswith(".jpg"):
            put_picture(root / "images" / name)
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def album(root: Path) -> Path:
    for name in ("b/2.PNG", "b/deep/er/1.jpeg", "a/3.jpg", "top.bmp", ".trash/x.jpg", "a/._3.jpg"):
        path = put_picture(root / Path(name).with_suffix(".jpg"))
        path.rename(root / name)
    (root / "a" / "notes.txt").write_text("no picture")
    (root / "a" / "clip.MP4").write_bytes(b"video")
    (root / "README").write_text("no picture")
    return root
