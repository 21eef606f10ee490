"""What is special of each data set."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ssl_faces.data import (
    CFP,
    CPLFW,
    EXPRESSIONS,
    LFW,
    W300LP,
    AffectNet,
    Biwi,
    CFPFrontal,
    ClassFolders,
    FacePair,
    Fer2013,
    FERPlus,
    OuluCasia,
    UTKFace,
    YouTubeKeypoints,
    find_face_sets,
)
from ssl_faces.data.sets.biwi import pose_of
from ssl_faces.data.sets.ferplus import CLASSES, NO_CLASS, NO_MAJORITY, VOTES, majority
from ssl_faces.pairs.module import FaceData
from ssl_faces.rendered import pose_rotation
from tests.support import layouts as made
from tests.support.layouts import keys, put_picture
from tests.support.refusals import message_of


@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv", "Copy of FER.CSV"])
@pytest.mark.parametrize("give_the_file", [True, False])
def test_fer2013_csv(tmp_path, give_the_file, name):
    """Columns in another order than the owner's, PrivateTest in no part."""
    rows = [f"{i}, Training,{made.pixels_text(i)}" for i in range(7)]
    rows += [f"3,{usage},{made.pixels_text(50)}" for usage in ("PublicTest", "PrivateTest")]
    file = made.fer_csv(tmp_path / name, rows, "emotion, Usage, pixels")
    root = file if give_the_file else tmp_path
    train, test, both = (Fer2013(root, part) for part in ("train", "test", "all"))
    shown = [EXPRESSIONS[s["expression"]] for s in train]
    assert shown == [name.lower() for name in made.OFFICIAL_EMOTIONS]
    expected = (5 + np.arange(48 * 48).reshape(48, 48)) % 256
    for channel in train[5]["image"]:
        np.testing.assert_array_equal(channel.numpy(), expected)
    assert (len(test), test[0]["image"][0, 0, 0]) == (1, 50)
    assert len(set(keys(both))) == len(both) == 8


def test_fer2013_spellings(tmp_path):
    names = ("Anger", "disgusted", "FEAR", "happiness", "Neutral", "sadness", "Surprised")
    for name in names:
        put_picture(tmp_path / "train" / name / "1.png")
    labels = {r.key: r.labels["expression"] for r in Fer2013(tmp_path).records}
    assert labels == {f"train/{name}/1.png": i for i, name in enumerate(names)}


def test_ferplus_reads_the_images_of_its_rows(tmp_path):
    for make in (made.ferplus, made.ferplus_folders):
        faces = FERPlus(make(tmp_path / make.__name__), "all")
        assert {s["key"]: int(s["image"][0, 0, 0]) for s in faces} == {
            f"{usage}/fer{i:07d}.png": made.level(i)
            for i, (usage, _, _, shown) in enumerate(made.FERPLUS_ROWS)
            if shown is not None and usage != "PublicTest"
        }
        reasons = sorted(reason.partition(":")[0] for _, reason in faces.skipped)
        assert reasons == ["no face", "no face", "unknown", NO_MAJORITY]


def test_ferplus_with_fer2013_is_two_sets_that_pretraining_sees_once(tmp_path):
    made.ferplus(tmp_path)
    fer, plus = find_face_sets(tmp_path, "all")
    assert (type(fer), type(plus)) == (Fer2013, FERPlus)
    assert {record.labels["expression"] for record in fer.records} == {EXPRESSIONS.index("happy")}
    # The images are alike but for their brightness.
    more = {"cache": tmp_path / "cache", "leave_out_near_copies": False}
    module = FaceData(tmp_path, size=16, batch_size=2, **more)
    module.setup()
    assert [(d["name"], d["pictures"]) for d in module.description] == [("fer2013", 12)]


def owners_majority(counts):
    """The owner's code (`_process_data`, mode majority, and what is then read), by numbers."""
    raw = [0.0 if count < 1.0 + 1e-9 else float(count) for count in counts]
    emotion = [0.0] * 10
    if max(raw) > 0.5 * sum(raw):
        emotion[int(np.argmax(raw))] = max(raw)
    else:
        emotion[-2] = 1.0
    place = int(np.argmax(emotion))
    return place if place < 8 else None


def test_ferplus_majority_is_the_owners():
    rng = np.random.default_rng(0)
    outcomes = set()
    for spread in (0.1, 0.3, 1.0, 3.0):
        for shares in rng.dirichlet([spread] * 10, 400):
            counts = rng.multinomial(10, shares).tolist()
            place = owners_majority(counts)
            name = majority(dict(zip(made.VOTE_COLUMNS, counts, strict=True)))
            if place is None:
                assert name in {*NO_CLASS.values(), NO_MAJORITY}
            else:
                assert name == made.FERPLUS_CLASSES[place]
            outcomes.add(name)
    assert outcomes == {*VOTES.values(), *NO_CLASS.values(), NO_MAJORITY}
    assert (*EXPRESSIONS, "contempt") == CLASSES


def test_oulucasia_prefers_the_cropped_faces(tmp_path):
    made.oulucasia(tmp_path, people=2)
    made.oulucasia(tmp_path, "PreProcess Img/VL_Acropped/Strong", people=3)
    assert len(OuluCasia(tmp_path, "all").people) == 3


def test_affectnet_cuts_faces_out(tmp_path):
    uncut, cut = (AffectNet(made.affectnet_csv(tmp_path, boxes)) for boxes in (False, True))
    assert uncut.read(0).shape == (40, 60, 3)
    assert cut.read(3, at_least=8).shape == (20, 20, 3)
    assert (cut.read(3) == 103).all()
    assert cut.content_hash(3) == uncut.content_hash(3), "a copy is a copy, however it is cut"
    assert cut.version(3) != uncut.version(3)
    reasons = {item.reason for item in uncut.skipped}
    kinds = ("contempt", "none", "uncertain", "no face")
    assert reasons == {f"labelled {kind}: none of the seven" for kind in kinds}


def test_affectnet_never_unpickles(tmp_path):
    path = made.affectnet_arrays(tmp_path) / "train_set" / "annotations" / "3_exp.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert f"{path} is not an array file of one number" in message_of(AffectNet, tmp_path)


def test_pretraining_leaves_out_what_is_all_test(tmp_path):
    """CK+ gives it nothing, yet no copy of an image of CK+ comes in by another set."""
    root = tmp_path / "data"
    made.ckplus(root / "ck", people=5)
    for i in range(5):  # everybody is tested
        put = root / "ck/Emotion" / f"S{i:03d}/001/S{i:03d}_001_00000006_emotion.txt"
        put.parent.mkdir(parents=True, exist_ok=True)
        put.write_text("5")
    made.rafdb(root / "raf")
    tested = root / "ck/cohn-kanade-images/S001/001/S001_001_00000006.png"
    (root / "raf/aligned/train_00002_aligned.jpg").write_bytes(tested.read_bytes())
    module = FaceData(root, size=16, batch_size=2, cache=tmp_path / "cache")
    module.setup()
    assert [(d["name"], d["pictures"]) for d in module.description] == [("rafdb", 9)]
    assert module.description[0]["left_out_as_copies_of_test_pictures"] == 1
    only = FaceData(root / "ck", size=16, cache=tmp_path / "cache")
    assert "CK+: all of it is tested on" in message_of(only.setup)


def test_lfw_pairs(tmp_path):
    made.lfw(tmp_path, made.TWO_FOLDS)
    for part in ("train", "test", "all"):
        faces = LFW(tmp_path, part)
        assert faces.held_out_people == {"Ann", "Ben", "Cem", "Eve"}
        assert faces.pairs == [
            FacePair("Ann/Ann_0001.jpg", "Ann/Ann_0003.jpg", same=True, fold=0),
            FacePair("Ann/Ann_0002.jpg", "Ben/Ben_0001.jpg", same=False, fold=0),
        ]
        assert faces.missing_pairs == [
            FacePair("Cem/Cem_0001.jpg", "Cem/Cem_0002.jpg", same=True, fold=1),
            FacePair("Cem/Cem_0001.jpg", "Eve/Eve_0001.jpg", same=False, fold=1),
        ]
        missing = [] if part == "train" else ["Cem/Cem_0002.jpg", "Eve/Eve_0001.jpg"]
        assert [item.key for item in faces.skipped] == missing
    one = "2\nAnn\t1\t3\nBen\t1\t2\nAnn\t2\tBen\t1\nCem\t1\tDora\t4\n"
    (tmp_path / "pairs.txt").write_text(one)
    pairs = LFW(tmp_path, "test").pairs
    assert [pair.same for pair in pairs] == [True, True, False, False]
    assert {pair.fold for pair in pairs} == {0}
    assert pairs[-1][:2] == ("Cem/Cem_0001.jpg", "Dora/Dora_0004.jpg")
    (tmp_path / "pairs.txt").unlink()
    assert len(LFW(tmp_path, "all")) == 10


@pytest.mark.parametrize("pairs_in", [".", "lfw_funneled"])
@pytest.mark.parametrize("give", [".", "lfw_funneled"])
def test_lfw_in_a_subfolder_with_the_pairs_in_or_beside_it(tmp_path, pairs_in, give):
    made.lfw(tmp_path / "lfw_funneled")
    (tmp_path / pairs_in / "pairs.txt").write_text(made.TWO_FOLDS)
    faces = LFW(tmp_path / give, "test")
    assert "Ann/Ann_0001.jpg" in keys(faces)
    assert len(faces.pairs) == 2


def test_cplfw_pairs(tmp_path):
    train = CPLFW(made.cplfw(tmp_path))
    assert train.people == ["Zoe"]
    assert train.held_out_people == {f"Ann_{i}" for i in range(20)}
    same = [pair for pair in train.pairs if pair.same]
    assert [(p.first, p.second, p.fold) for p in same[:3]] == [
        ("Ann_0_1.jpg", "Ann_0_2.jpg", 0),
        ("Ann_1_1.jpg", "Ann_1_2.jpg", 0),
        ("Ann_2_1.jpg", "Ann_2_2.jpg", 1),
    ]
    counts = np.bincount([2 * pair.fold + pair.same for pair in train.pairs])
    assert counts.tolist() == [2] * 20
    (tmp_path / "images" / "Ann_0_1.jpg").unlink()
    fewer = CPLFW(tmp_path, "all")
    assert (len(fewer.pairs), len(fewer.missing_pairs)) == (38, 2)


def test_cfp_pairs(tmp_path):
    profile, frontal = find_face_sets(made.cfp(tmp_path), "all")
    assert isinstance(profile, CFP)
    assert profile.people == [f"cfp_{i:03d}" for i in range(1, 5)]
    assert profile.pairs == [
        FacePair(f"{a}/frontal/01.jpg", f"{b}/profile/{n}.jpg", a == b, fold)
        for fold, (x, y) in enumerate((("001", "002"), ("003", "004")))
        for a, b, n in ((x, x, "01"), (y, y, "02"), (x, y, "01"), (y, x, "02"))
    ]
    assert isinstance(frontal, CFPFrontal)
    assert [pair[:2] for pair in frontal.pairs[:2]] == [
        ("001/frontal/01.jpg", "001/frontal/02.jpg"),
        ("002/frontal/01.jpg", "002/frontal/03.jpg"),
    ]
    assert all("/frontal/" in record.key for record in frontal.records)


def test_cfp_pairs_in_tables(tmp_path):
    faces = CFP(made.cfp_tables(tmp_path))
    assert faces.people == ["cfp_003", "cfp_004"]
    kinds = [(fold, same) for fold in (0, 1) for same in (True, False)]
    assert [(p.fold, p.same) for p in faces.pairs] == kinds
    (tmp_path / "002" / "profile" / "02.jpg").unlink()
    fewer = CFP(tmp_path, "test")
    assert (len(fewer.pairs), len(fewer.missing_pairs)) == (2, 2)


@pytest.mark.parametrize("kind", [UTKFace, ClassFolders])
def test_copies_of_one_image_are_in_one_part(kind, tmp_path):
    make = made.utkface if kind is UTKFace else made.class_folders
    make(tmp_path)
    for i, original in enumerate(sorted(tmp_path.rglob("*.[jp][pn]g"))):
        name = f"{99 - i}_0_0_20180101{i:09d}.jpg.chip.jpg"
        original.with_name(name).write_bytes(original.read_bytes())
    train, test, both = (kind(tmp_path, part) for part in ("train", "test", "all"))
    assert {*keys(train), *keys(test)} == set(keys(both))
    hashes = [{f.content_hash(i) for i in range(len(f))} for f in (train, test)]
    assert not hashes[0] & hashes[1]
    assert 0 < len(test) < len(train)


def test_youtube_keypoints_columns_go_by_name(tmp_path):
    names, row = made.YOUTUBE_HEADER.split(","), made.youtube_row("Jo_1.jpg", "Jo").split(",")
    rows = [",".join([row[0], *row[:0:-1]])]
    made.youtube(tmp_path, rows, ",".join([names[0], *names[:0:-1]]))
    (sample,) = YouTubeKeypoints(tmp_path, "all")
    assert sample["pose"].tolist() == [1.5, -2.5, 3.25]
    expected = torch.stack([torch.arange(68) + 0.25, torch.arange(68) + 100.5], dim=1)
    torch.testing.assert_close(sample["landmarks"], expected, rtol=0, atol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_signs_of_300w_lp_are_the_projects(tmp_path, axis):
    """A turn about one axis by the owners' matrix is the same turn of the rendered head."""
    angles = np.zeros(3)
    angles[axis] = 0.5
    path = put_picture(tmp_path / "AFW" / "a_0.jpg")
    savemat(path.with_suffix(".mat"), {"Pose_Para": np.array([[*angles, 0, 0, 0, 1]])})
    pose = W300LP(tmp_path)[0]["pose"]
    ours = pose_rotation(*(pose[i : i + 1] for i in range(3)))[0]
    np.testing.assert_allclose(made.owners_rotation(*angles), ours, atol=1e-6)


def test_turns_and_mirror_images_of_one_photograph_are_one_person(tmp_path):
    assert len(W300LP(made.w300lp(tmp_path)).people) == 6


@pytest.mark.parametrize("seed", range(5))
def test_biwi_angles_are_300w_lps(seed):
    pitch, yaw, roll = np.random.default_rng(seed).uniform(-1.2, 1.2, 3)
    matrix = made.BIWI_FLIP @ made.owners_rotation(pitch, yaw, roll) @ made.BIWI_FLIP
    np.testing.assert_allclose(pose_of(matrix), np.degrees([yaw, -pitch, roll]))


def test_biwi_boxes(tmp_path):
    train = Biwi(made.biwi(tmp_path / "a"))
    # 260 mm at 1000 mm and a focal length of 50 pixels: 13 pixels around (32.5, 23).
    assert train.records[0].box == (26, 16, 39, 30)
    assert train.read(0).shape == (14, 13, 3)
    assert Biwi(made.biwi(tmp_path / "b", calibrated=False)).records[0].box is None
