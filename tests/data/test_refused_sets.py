"""Layouts and rows of data sets that are refused, and images that are skipped and listed."""

from functools import partial

import pytest
from scipy.io import savemat

from ssl_faces.data import (
    AFLW2000,
    CFP,
    CPLFW,
    LFW,
    SFEW,
    W300LP,
    AffectNet,
    Biwi,
    CKPlus,
    ClassFolders,
    Fer2013,
    FERPlus,
    OuluCasia,
    RafDb,
    UTKFace,
    YouTubeKeypoints,
)
from tests.support import layouts as made
from tests.support.layouts import keys, put_picture
from tests.support.refusals import message_of


def rewrite(file, *lines, head=0):
    """Write these lines to a file, behind so many of its own."""

    def change(root):
        kept = (root / file).read_text().splitlines()[:head] if head else []
        (root / file).write_text("\n".join([*kept, *lines]) + "\n")

    return change


def rename(source, target="elsewhere"):
    return lambda root: (root / source).rename(root / target) and None


def picture(path):
    return lambda root: put_picture(root / path) and None


def nothing(root):
    root.mkdir(exist_ok=True)


P0 = made.pixels_text(0)
GOOD = made.youtube_row("Jo_2.jpg", "Jo")
PLUS = made.ferplus_labels()
SWAPPED = [PLUS[11], *PLUS[1:11], PLUS[0], *PLUS[12:]]

fer_row = partial(rewrite, "fer2013.csv", "emotion,pixels,Usage", f"0,{P0},Training")
plus_rows = partial(rewrite, "fer2013new.csv", made.FERPLUS_HEADER)
raf_line = partial(rewrite, "list_patition_label.txt", "train_00000.jpg 1", "")
affect_row = partial(rewrite, "training.csv", head=1)
ck_label = partial(rewrite, "Emotion/S001/001/S001_001_00000006_emotion.txt")
lfw_pairs = partial(rewrite, "pairs.txt")
cplfw_pairs = partial(rewrite, "pairs_CPLFW.txt")
youtube_row = partial(rewrite, "labels.csv", head=2)
one_face = partial(made.youtube, rows=[made.youtube_row("Jo_1.jpg", "Jo")])
no_votes = made.votes()

SAME, OTHER = "Ann\t1\t2", "Ann\t1\tBen\t1"  # lines of LFW's pairs
PARTS = ("train", "test")

REFUSALS = [
    # Kind, layout, part, what the messages begin with, and what is changed with the rest of it.
    (Fer2013, nothing, "train", "", [(nothing, "{root} has no folder 'Training'")]),
    (
        *(Fer2013, partial(made.fer_folders, usages=["Training"]), "test", ""),
        [(nothing, "has no folder 'PublicTest'")],
    ),
    (
        *(Fer2013, made.fer_folders, "train", ""),
        [(picture("Training/bored/1.jpg"), "{root}/Training/bored; rename it to one of angry")],
    ),
    (
        *(Fer2013, nothing, "train", "{root}/fer2013.csv, line 3: "),
        [
            (fer_row(f"7,{P0},Training"), "emotion is '7', not a number from 0 to 6"),
            (fer_row(f"happy,{P0},Training"), "emotion is 'happy', not a number from 0 to 6"),
            (fer_row("3,1 2 3,Training"), "pixels must be 2304 numbers"),
            (fer_row(f"3,256 {P0[2:]},Training"), "pixels must be 2304 numbers from 0 to 255"),
            (fer_row(f"3,{P0}"), "2 columns instead of 3"),
            (fer_row(f"3,{P0},Practice"), "unknown Usage 'Practice'"),
        ],
    ),
    (
        *(Fer2013, nothing, "train", "{root}/fer2013.csv"),
        [
            (rewrite("fer2013.csv", "emotion,pixels"), ", line 1: column Usage is missing"),
            (rewrite("fer2013.csv", "emotion\0\0pixels"), " is not a text file"),
        ],
    ),
    (
        *(FERPlus, made.ferplus, "all", ""),
        [
            (rename("fer2013new.csv"), "has no fer2013new.csv"),
            (rename("fer2013.csv"), "whose rows can't be matched to images with other names"),
            (plus_rows(*PLUS[:-1]), "{root}/fer2013new.csv has fewer rows than "),
            (plus_rows(*PLUS, PLUS[0]), "{root}/fer2013new.csv has more rows than "),
            (plus_rows(*SWAPPED), "line 2: Usage is PublicTest, but Training in "),
            (plus_rows(f"Test,a.png,{no_votes}"), "line 2: unknown Usage 'Test'; it must be"),
            (plus_rows(f"Training,a.png,11{no_votes[1:]}"), "neutral is '11', not a number from 0"),
            (plus_rows("Training,a.png,1"), "line 2: 3 columns instead of 12"),
        ],
    ),
    (
        *(OuluCasia, partial(made.oulucasia, people=1), "train", ""),
        [
            (
                picture("OriginalImg/VL/Strong/P001/Bored/000.jpeg"),
                "unknown expression folder {root}/OriginalImg/VL/Strong/P001/Bored; rename it",
            ),
            (rename("OriginalImg/VL"), "{root} has no OriginalImg/VL/Strong/"),
        ],
    ),
    (
        *(SFEW, made.sfew, "train", ""),
        [
            (picture("Train/Bored/a.png"), "sfew: unknown class folder {root}/Train/Bored; rename"),
            (rename("Train"), "{root} has no Train_Aligned_Faces and no Train with class folders"),
        ],
    ),
    (
        RafDb,
        made.rafdb,
        "train",
        "",
        [
            (
                rename("aligned"),
                "{root} has no aligned; give the folder that holds it and list_patition",
            )
        ],
    ),
    (
        *(RafDb, made.rafdb, "train", "{root}/list_patition_label.txt, line 3: "),
        [
            (raf_line(line), f"'{line}'")
            for line in ("train_00001.jpg", "train_00001.jpg 8", "x.jpg 1", "train_1 0 0")
        ],
    ),
    (
        *(AffectNet, made.affectnet_csv, "test", ""),
        [(rename("validation.csv"), "{root} has no val_set; give")],
    ),
    (
        *(AffectNet, made.affectnet_csv, "train", "{root}/training.csv, line 2: "),
        [
            (affect_row("0/a.png,0,0,0,0,,11,0,0"), "expression is '11', not a number from 0"),
            (affect_row("0/a.png,0,0,0,0,,1.5,0,0"), "expression is '1.5', not a whole number"),
            (affect_row("0/a.png,0,0,0,0,,1,x,0"), "valence is 'x', not a number"),
            (affect_row("0/a.png,0,0,0,0,,1,0,-1.5"), "arousal is -1.5, neither from -1 to 1"),
            (affect_row("../a.png,0,0,0,0,,1,0,0"), "subDirectory_filePath is '../a.png'"),
            (affect_row("0/a.png,1,0,0"), "4 columns instead of 9"),
        ],
    ),
    (
        *(CKPlus, partial(made.ckplus, people=5), "train", ""),
        [
            (rename("Emotion", "other"), "{root} has no Emotion; give"),
            *((ck_label(text), "00006_emotion.txt holds") for text in ("9", "", "happy")),
        ],
    ),
    *((LFW, made.lfw, part, "", [(nothing, "{root} has no pairs.txt, which")]) for part in PARTS),
    (LFW, made.album, "all", "", [(nothing, "{root} holds no <Person>/<Person>_NNNN.jpg")]),
    (
        *(LFW, made.lfw, "test", "{root}/pairs.txt"),
        [
            (lfw_pairs(""), ", line 1: must be the number of folds"),
            (lfw_pairs("ten\t300"), ", line 1: must be the number of folds"),
            (lfw_pairs("1\t2\t3"), ", line 1: must be the number of folds"),
            (lfw_pairs("1\t1", SAME), ": 1 pairs, but line 1 promises 2"),
            (lfw_pairs("1\t1", "Ann\t1", OTHER), ", line 2: 'Ann\t1' is not name, number, number"),
            (lfw_pairs("1\t1", "Ann\t1\ttwo", OTHER), ", line 2: 'Ann\t1\ttwo' is not name, numb"),
            (lfw_pairs("1\t1", SAME, OTHER[:-2]), ", line 3: 'Ann\t1\tBen' is not name, number, n"),
            (
                lfw_pairs("1\t1", SAME, "", OTHER[:-1] + "x"),
                ", line 4: 'Ann\t1\tBen\tx' is not nam",
            ),
            (lfw_pairs("1\t1", SAME, "Ann\t1\tAnn\t2"), ", line 3: a pair of different people nam"),
        ],
    ),
    (
        *(CPLFW, made.cplfw, "train", "{root}/pairs_CPLFW.txt"),
        [
            (cplfw_pairs("a_1.jpg 1", "b_1.jpg 1", "c_1.jpg"), ", line 3: 'c_1.jpg' is not"),
            (cplfw_pairs("a_1.jpg 1", "b_1.jpg 1", "c_1.jpg 1"), ": 3 lines, and a pair takes two"),
            (cplfw_pairs("a_1.jpg 1", "b_1.jpg 0"), ", line 2: the two lines of a pair are marked"),
            (cplfw_pairs(), ": 0 lines"),
        ],
    ),
    (CFP, nothing, "train", "", [(nothing, "holds no 001/frontal/01.jpg")]),
    (
        *(CFP, made.cfp, "train", ""),
        [
            (rename("Protocol"), "has neither pairs_FP.csv nor Protocol/Split/FP"),
            (
                rewrite("Protocol/Split/FP/01/same.txt", "1,1", "1,99"),
                "same.txt, line 2: '1,99' is not two numbers",
            ),
            (
                rewrite("Protocol/Pair_list_P.txt", "one image"),
                "Pair_list_P.txt, line 1: 'one image' is not",
            ),
            (
                rewrite("pairs_FP.csv", "first,second,same,fold", "a,b,yes,0"),
                "pairs_FP.csv, line 2: same is 'yes'",
            ),
        ],
    ),
    (UTKFace, made.album, "train", "", [(nothing, "{root} holds no picture named <age>_")]),
    (
        *(YouTubeKeypoints, one_face, "train", ""),
        [
            (rename("labels.csv"), "has no labels.csv"),
            (rename("images"), "has no images;"),
            (
                rewrite("labels.csv", "image,person"),
                "{root}/labels.csv, line 1: column yaw is miss",
            ),
        ],
    ),
    (
        *(YouTubeKeypoints, one_face, "all", "{root}/labels.csv, line 3: "),
        [
            (youtube_row(GOOD + ",7"), "143 columns instead of 142"),
            (youtube_row(GOOD.replace("-2.5", "left")), "pitch is 'left', not a number"),
            (youtube_row(GOOD.replace("67.25", "nan")), "x67 is 'nan', not a number"),
            (youtube_row(GOOD.replace("100.5", "")), "y0 is '', not a number"),
            (youtube_row(GOOD.replace("0.75", "oops")), "reprojection_px is 'oops'"),
            (youtube_row(made.youtube_row("Jo_2.jpg", "")), "image or person is empty"),
            (youtube_row(GOOD.replace("Jo_2", "Jo_1")), "Jo_1.jpg was already given in line 2"),
        ],
    ),
    (
        *(Biwi, made.biwi, "train", ""),
        [(rewrite("03/rgb.cal", "50 0 32"), "rgb.cal is not a camera calibration")],
    ),
    (Biwi, made.album, "train", "", [(nothing, "holds no folder with frame_NNNNN_rgb.png")]),
    (AFLW2000, made.album, "test", "", [(nothing, "holds no picture with a .mat that can be")]),
    (W300LP, made.album, "train", "", [(nothing, "no picture in AFW, HELEN, IBUG, LFPW with its")]),
    (
        *(ClassFolders, partial(made.class_folders, names=("sad", "sadness")), "all", ""),
        [(nothing, "are one expression; put them together")],
    ),
    (ClassFolders, nothing, "all", "", [(nothing, "{root} holds no class folder")]),
]


@pytest.mark.parametrize(
    ("kind", "make", "part", "change", "message"),
    [
        pytest.param(kind, make, part, change, begin + rest, id=f"{kind.__name__}: {rest}")
        for kind, make, part, begin, rows in REFUSALS
        for change, rest in rows
    ],
)
def test_bad_layouts_and_rows_are_named(kind, make, part, change, message, tmp_path):
    root = tmp_path / "set"
    make(root)
    change(root)
    assert message.replace("{root}", str(root)) in message_of(kind, root, part)
    assert "does not exist" in message_of(kind, root / "gone", part)


biwi_pose = partial(rewrite, "03/frame_00003_pose.txt")


def strange_mat(root):
    savemat(root / "AFW/P_1_0.mat", {"other": 1})


def large_angle(root):
    made.put_mat(root / "image00004.jpg", 99.5, 0, 0)


SKIPS = [
    (RafDb, made.rafdb, rename("aligned/train_00003_aligned.jpg"), "train_00003.jpg", "missing"),
    (
        *(FERPlus, made.ferplus_folders, rename("FER2013Train/fer0000003.png")),
        *("Training/fer0000003.png", "named in fer2013new.csv, missing on disk"),
    ),
    (
        *(YouTubeKeypoints, made.youtube, rename("images/P3_1.jpg")),
        *("P3_1.jpg", "listed in labels.csv, missing on disk"),
    ),
    (
        *(CPLFW, made.cplfw, rename("images/Ann_0_1.jpg", "gone.txt")),
        *("Ann_0_1.jpg", "named in pairs_CPLFW.txt, missing on disk"),
    ),
    (
        *(CFP, made.cfp_tables, rename("002/profile/02.jpg")),
        *("002/profile/02.jpg", "named in the FP pairs, missing on disk"),
    ),
    (Biwi, made.biwi, biwi_pose("1 2"), "03/frame_00003_rgb.png", "9 numbers"),
    (Biwi, made.biwi, biwi_pose("x"), "03/frame_00003_rgb.png", "else than"),
    (Biwi, made.biwi, biwi_pose("1 " * 12), "03/frame_00003_rgb.png", "no rotation"),
    (W300LP, made.w300lp, rewrite("AFW/P_0_0.mat", "x"), "AFW/P_0_0.jpg", "is not a MATLAB file"),
    (W300LP, made.w300lp, rename("AFW/P_0_1.mat"), "AFW/P_0_1.jpg", "is missing"),
    (W300LP, made.w300lp, strange_mat, "AFW/P_1_0.jpg", "no Pose_Para"),
    (AFLW2000, made.aflw2000, large_angle, "image00004.jpg", "an angle above 99 degrees"),
    (UTKFace, made.utkface, picture("39_1_2017.jpg"), "39_1_2017.jpg", "field is missing"),
    (UTKFace, made.utkface, picture("x_1_0_20.jpg"), "x_1_0_20.jpg", "age 'x' in its name is not"),
    (UTKFace, made.utkface, picture("30_2_0_2017.jpg"), "30_2_0_2017.jpg", "gender '2'"),
    (UTKFace, made.utkface, picture("30_1__2017.jpg"), "30_1__2017.jpg", "race ''"),
]


@pytest.mark.parametrize(("kind", "make", "change", "key", "reason"), SKIPS)
def test_what_can_not_be_used_is_skipped_and_listed(kind, make, change, key, reason, tmp_path):
    make(tmp_path)
    before = kind(tmp_path, "all")
    change(tmp_path)
    faces = kind(tmp_path, "all")
    assert len(faces.skipped) == len(before.skipped) + 1
    assert reason in dict(faces.skipped)[key]
    assert key not in keys(faces)
