"""Small copies of the sets' layouts, as their owners have them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

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


def class_folders(root: Path, names: Iterable[str] = ("happy", "Sad")) -> Path:
    for i, name in enumerate(names):
        for number in range(20):
            put_picture(root / name / f"{number}.png", 100 * i + number)
    return root


def album(root: Path) -> Path:
    for name in ("b/2.PNG", "b/deep/er/1.jpeg", "a/3.jpg", "top.bmp", ".trash/x.jpg", "a/._3.jpg"):
        path = put_picture(root / Path(name).with_suffix(".jpg"))
        path.rename(root / name)
    (root / "a" / "notes.txt").write_text("no picture")
    (root / "a" / "clip.MP4").write_bytes(b"video")
    (root / "README").write_text("no picture")
    return root


# FERPlus ----------------------------------------------------------------------------------------

VOTE_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
VOTE_COLUMNS += ("contempt", "unknown", "NF")
FERPLUS_HEADER = ",".join(["Usage", "Image name", *VOTE_COLUMNS])
FERPLUS_CLASSES = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")


def votes(**of: int) -> str:
    return ",".join(str(of.get(column, 0)) for column in VOTE_COLUMNS)


# Usage, whether the owner names the picture, votes, and the class it should have.
FERPLUS_ROWS = [
    *(
        ("Training", True, votes(**{c: 10}), o)
        for c, o in zip(VOTE_COLUMNS, FERPLUS_CLASSES, strict=False)
    ),
    ("Training", True, votes(neutral=5, sadness=5), None),
    ("Training", True, votes(neutral=4, anger=1, fear=1, disgust=1, contempt=3), "neutral"),
    ("Training", False, votes(NF=10), None),
    ("PublicTest", True, votes(happiness=10), "happy"),
    ("Training", True, votes(unknown=6, fear=4), None),
    ("PrivateTest", True, votes(contempt=6, neutral=4), "contempt"),
    ("PrivateTest", True, votes(NF=8, fear=2), None),
    ("PrivateTest", True, votes(fear=9, anger=1), "fear"),
]


def level(row: int) -> int:
    """The first pixel of a row's picture."""
    return 10 * row


def ferplus(root: Path) -> Path:
    """`fer2013new.csv` beside `fer2013.csv`, whose own labels are all happy."""
    root.mkdir(parents=True, exist_ok=True)
    fer_csv(
        root / "fer2013.csv",
        [f"3,{pixels_text(level(i))},{usage}" for i, (usage, *_) in enumerate(FERPLUS_ROWS)],
    )
    (root / "fer2013new.csv").write_text("\n".join([FERPLUS_HEADER, *ferplus_labels()]) + "\n")
    return root


def ferplus_labels() -> list[str]:
    return [
        f"{usage},{f'fer{i:07d}.png' if named else ''},{given}"
        for i, (usage, named, given, _) in enumerate(FERPLUS_ROWS)
    ]


def ferplus_folders(root: Path, home: str = ".") -> Path:
    """As the owner's script writes the pictures."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "fer2013new.csv").write_text("\n".join([FERPLUS_HEADER, *ferplus_labels()]) + "\n")
    folders = {"Training": "Train", "PublicTest": "Valid", "PrivateTest": "Test"}
    for i, (usage, named, _, _) in enumerate(FERPLUS_ROWS):
        if named:
            path = root / home / f"FER2013{folders[usage]}" / f"fer{i:07d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = (level(i) + np.arange(48 * 48).reshape(48, 48)) % 256
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


# Oulu-CASIA, SFEW

OULU = {
    "Anger": "angry",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happiness": "happy",
    "Sadness": "sad",
    "Surprise": "surprise",
}


def oulucasia(root: Path, place: str = "OriginalImg/VL/Strong", people: int = 12) -> Path:
    """Sequences of 5 to 7 frames; frame f of person p is of level 10 p + f."""
    for person in range(1, people + 1):
        for i, name in enumerate(OULU):
            for frame in range(5 + (person + i) % 3):
                path = root / place / f"P{person:03d}" / name / f"{frame:03d}.jpeg"
                put_picture(path, 10 * person + frame)
    # Other light, which is left alone.
    put_picture(root / place.replace("Strong", "Weak") / "P001" / "Anger" / "000.jpeg")
    put_picture(root / place.replace("VL", "NI") / "P001" / "Anger" / "000.jpeg")
    return root


SFEW_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def sfew(root: Path, train: str = "Train", val: str = "Val", count: int = 3) -> Path:
    for side, (place, number) in enumerate(((train, count), (val, 1))):
        for i, name in enumerate(SFEW_CLASSES):
            for k in range(number):
                file = f"Airheads_{i:07d}40_0000000{k}.png"
                put_picture(root / place / name / file, 10 * i + 100 * side + k)
    return root


# RAF-DB, AffectNet, CK+

RAF_CLASSES = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")


def rafdb(root: Path, nested: bool = False) -> Path:
    lines = []
    for i in range(14):
        name = f"{'train' if i < 10 else 'test'}_{i:05d}"
        aligned = root / "Image" / "aligned" if nested else root / "aligned"
        put_picture(aligned / f"{name}_aligned.jpg", level=10 * i)
        lines.append(f"{name}.jpg {i % 7 + 1}")
    listed = root / "EmoLabel" if nested else root
    listed.mkdir(exist_ok=True)
    (listed / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return root


AFFECT_CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry")


def affectnet_csv(root: Path, boxes: bool = False) -> Path:
    for table, count in (("training.csv", 22), ("validation.csv", 11)):
        rows = []
        for i in range(count):
            key = f"{i % 3}/{table[:3]}{i}.png"
            path = root / "Manually_Annotated_Images" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((40, 60), dtype=np.uint8)
            pixels[10:30, 20:40] = 100 + i
            Image.fromarray(pixels).save(path)
            valence, arousal = (-2, -2) if i % 11 > 7 else (i / 22 - 0.5, i / -44)
            rows.append([key, 20, 10, 20, 20, "1;2;3", i % 11, valence, arousal])
        header = ["subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"]
        header += ["facial_landmarks", "expression", "valence", "arousal"]
        if not boxes:
            header[1] = "x"
        with (root / table).open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
    return root


def affectnet_arrays(root: Path) -> Path:
    for side, count in (("train_set", 22), ("val_set", 11)):
        (root / side / "annotations").mkdir(parents=True)
        for i in range(count):
            put_picture(root / side / "images" / f"{i}.jpg", level=i)
            values = {"exp": str(i % 11), "val": i / 22 - 0.5, "aro": i / -44}
            for what, value in values.items():
                np.save(root / side / "annotations" / f"{i}_{what}.npy", np.array(value))
    return root


def ckplus(root: Path, people: int = 12) -> Path:
    """Person i shows two labelled sequences; the last two people none."""
    for i in range(people):
        for number in (1, 2):
            place = f"S{i:03d}/{number:03d}"
            for frame in range(1, 7):
                name = f"S{i:03d}_{number:03d}_{frame:08d}.png"
                put_picture(root / "cohn-kanade-images" / place / name, 10 * i + frame)
            if i < people - 2:
                label = (1, 3, 4, 5, 6, 7)[(i + number) % 6] if (i, number) != (0, 1) else 2
                file = root / "Emotion" / place / f"S{i:03d}_{number:03d}_00000006_emotion.txt"
                file.parent.mkdir(parents=True)
                file.write_text(f"   {label:.7e}\n")
    return root


# Pose


def put_mat(picture: Path, yaw: float, pitch: float, roll: float) -> None:
    """As the owners write it: radians, pitch first and above 0 upwards."""
    angles = np.radians([-pitch, yaw, roll])
    savemat(
        picture.with_suffix(".mat"), {"Pose_Para": np.array([[*angles, 60.0, 60.0, 0.0, 1e-3]])}
    )


def w300lp(root: Path, photographs: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for source in ("AFW", "HELEN_Flip"):
        for i in range(photographs):
            for turn in range(2):
                path = put_picture(root / source / f"P_{i}_{turn}.jpg", 20 * i)
                put_mat(path, *rng.uniform(-40, 40, 3))
    (root / "landmarks" / "AFW").mkdir(parents=True)
    return root


def aflw2000(root: Path, count: int = 5) -> Path:
    for i in range(count):
        path = put_picture(root / f"image{i + 2:05d}.jpg", 30 * i)
        put_mat(path, 10 * i, 5, -i)
    return root


def owners_rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """RotationMatrix.m of the owners' code, radians."""
    (sx, sy, sz), (cx, cy, cz) = np.sin([pitch, yaw, roll]), np.cos([pitch, yaw, roll])
    x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return x @ y @ z


BIWI_FLIP = np.diag([1.0, -1.0, -1.0])  # to y down and z away


def biwi(root: Path, recordings: int = 14, calibrated: bool = True) -> Path:
    rng = np.random.default_rng(1)
    for number in range(1, recordings + 1):
        folder = root / f"{number:02d}"
        for frame in (3, 4):
            stem = folder / f"frame_{frame:05d}"
            path = put_picture(stem.with_name(stem.name + "_rgb.png"), 100, (64, 48))
            yaw, pitch, roll = np.radians(rng.uniform(-40, 40, 3))
            matrix = BIWI_FLIP @ owners_rotation(pitch, yaw, roll) @ BIWI_FLIP
            rows = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in matrix)
            pose = f"{rows}\n\n10 -20 1000\n"
            path.with_name(f"frame_{frame:05d}_pose.txt").write_text(pose)
        if calibrated:
            (folder / "rgb.cal").write_text(
                "50 0 32\n0 50 24\n0 0 1\n\n0 0 0 0\n\n1 0 0\n0 1 0\n0 0 1\n\n0 0 0\n\n64 48\n"
            )
    return root


# CPLFW, CFP


def cplfw(root: Path, people: int = 20) -> Path:
    lines = []
    for i in range(people):
        for number in (1, 2):
            put_picture(root / "images" / f"Ann_{i}_{number}.jpg", 10 * i + number)
        lines += [f"Ann_{i}_1.jpg 1", f"Ann_{i}_2.jpg 1"]
    for i in range(people):
        lines += [f"Ann_{i}_1.jpg 0", f"Ann_{(i + 1) % people}_2.jpg 0"]
    put_picture(root / "images" / "Zoe_1.jpg")
    (root / "pairs_CPLFW.txt").write_text("\n".join(lines) + "\n")
    return root


def cfp_images(images: Path, people: int = 4) -> None:
    for i in range(1, people + 1):
        for view, count in (("frontal", 3), ("profile", 2)):
            for number in range(1, count + 1):
                path = images / f"{i:03d}" / view / f"{number:02d}.jpg"
                put_picture(path, 40 * i + 5 * number + len(view))


def cfp(root: Path) -> Path:
    cfp_images(root / "Data" / "Images")
    protocol = root / "Protocol"
    for view, letter, count in (("frontal", "F", 3), ("profile", "P", 2)):
        files = [f"{i:03d}/{view}/{n:02d}.jpg" for i in range(1, 5) for n in range(1, count + 1)]
        lines = [f"{n} ../Data/Images/{file}" for n, file in enumerate(files, start=1)]
        protocol.mkdir(exist_ok=True)
        (protocol / f"Pair_list_{letter}.txt").write_text("\n".join(lines) + "\n")
    # Of the first two people the first fold, of the others the second.
    splits = {"FP": ("1,1\n4,4", "1,3\n4,2"), "FF": ("1,2\n4,6", "1,4\n2,5")}
    for name, (same, different) in splits.items():
        for fold in ("01", "02"):
            folder = protocol / "Split" / name / fold
            folder.mkdir(parents=True)
            shift = {"01": (0, 0), "02": (6, 4 if name == "FP" else 6)}[fold]
            for file, text in (("same.txt", same), ("diff.txt", different)):
                pairs = [[int(n) for n in line.split(",")] for line in text.splitlines()]
                moved = [f"{a + shift[0]},{b + shift[1]}" for a, b in pairs]
                (folder / file).write_text("\n".join(moved) + "\n")
    return root


def cfp_tables(root: Path) -> Path:
    """Pairs of the first two people in tables."""
    cfp_images(root)
    rows = "{0}/frontal/01.jpg,{0}/{1}/02.jpg,1,{2}\n{0}/frontal/01.jpg,{3}/{1}/02.jpg,0,{2}\n"
    for name, view in (("FP", "profile"), ("FF", "frontal")):
        table = rows.format("001", view, 0, "002") + rows.format("002", view, 1, "001")
        (root / f"pairs_{name}.csv").write_text("first,second,same,fold\n" + table)
    return root
