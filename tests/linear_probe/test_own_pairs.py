"""Pairs of your own images, in CSV or LFW's format."""

import csv
from collections import defaultdict

import numpy as np
import pytest

from linear_probe.records.record import read_records
from linear_probe.tasks import Identity
from linear_probe.tasks.own_data import OwnData
from linear_probe.tasks.own_pairs import PairFaces
from ssl_faces.data import find_face_sets
from tests.support.probing import run_own
from tests.support.refusals import message_of
from tests.support.small_sets import save_grey


def people(root, count=12):
    rng = np.random.default_rng(5)
    for person in range(count):
        face = rng.integers(0, 200, (48, 48))
        for k in (1, 2):
            name = f"P{person}/P{person}_{k:04d}.png"
            save_grey(root / "images" / name, face + rng.integers(0, 50, (48, 48)))
    return root / "images"


def pairs_csv(path, count=12, folds=None, size=4):
    """People in rings of `size`: each with itself, and with the next one of the ring."""
    rows = []
    for person in range(count):
        ring = person // size * size
        other = ring + (person + 1 - ring) % size
        for a, b, same in ((person, person, 1), (person, other, 0)):
            row = [f"P{a}/P{a}_0001.png", f"P{b}/P{b}_0002.png", str(same)]
            rows.append([*row, str(person * folds // count)] if folds else row)
    header = ["first", "second", "same", *(["fold"] if folds else [])]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def test_pairs_end_to_end(tiny, tmp_path):
    images, out = people(tmp_path), tmp_path / "out"
    pairs = pairs_csv(tmp_path / "mine.csv", folds=3)
    (images / "P2/P2_0002.png").unlink()  # in two of 24 pairs
    assert run_own(out, tiny, "--pairs", pairs, "--images", images) == 0
    records = {r.metric: r for r in read_records(out / "records.jsonl")}
    accuracy = records["accuracy"]
    assert (accuracy.task, accuracy.data_set) == ("identity", str(pairs))
    assert (accuracy.split, accuracy.n) == ("pairs in 3 folds", 22)
    assert "2 pairs skipped" in accuracy.note
    assert len(accuracy.hyperparameters["thresholds"]) == 3
    rows = list(csv.reader((out / "skipped.csv").open()))
    assert rows[1][1:] == ["P2/P2_0002.png", "named in mine.csv, missing on disk"]


def test_pairs_listed_twice_count_once(tiny, tmp_path):
    """In either order, under the name of a copy of the image, and with a missing image."""
    images = people(tmp_path)
    once = pairs_csv(tmp_path / "once.csv", folds=3)
    (images / "P3/P3_0001.png").unlink()
    (images / "copy.png").write_bytes((images / "P0/P0_0001.png").read_bytes())
    header, *lines = once.read_text().splitlines()
    first, second, rest = lines[0].split(",", 2)
    more = [lines[0], f"{second},{first},{rest}", f"copy.png,{second},{rest}", lines[6]]
    twice = tmp_path / "twice.csv"
    twice.write_text("\n".join([header, *lines, *more]) + "\n")
    faces = PairFaces(twice, images)
    assert (faces.pairs, faces.doubled_pairs) == (PairFaces(once, images).pairs, 4)
    assert Identity([faces], replicates=10).doubled == 4
    for name, pairs in (("a", once), ("b", twice)):
        assert run_own(tmp_path / name, tiny, "--pairs", pairs, "--images", images) == 0
    found = [
        [(r.metric, r.probe, r.value, r.n) for r in read_records(tmp_path / name / "records.jsonl")]
        for name in ("a", "b")
    ]
    assert found[0] == found[1]
    notes = {r.note for r in read_records(tmp_path / "b" / "records.jsonl")}
    assert all("4 pairs listed twice count once" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first,second,same\na,b,0\na,./a,1\n", "line 3: a and ./a are the same image"),
        ("first,second,same\na,b,0\na,copy,1\n", "line 3: a and copy are the same image"),
        (
            "first,second,same\na,b,1\na,b,0\n",
            "a and b are two people here and one person in line 2",
        ),
        (
            "first,second,same\na,b,0\nb,./a,1\n",
            "./a are one person here and two in line 2; delete",
        ),
        ("first,second,same\na,gone,1\ngone,a,0\n", "line 3: gone and a are two people here"),
        (
            "first,second,same\na,b,1\nb,c,1\nc,copy,0\n",
            "line 4: c and copy are two people here, and one person by other lines together",
        ),
        ("1\t1\nAnn\t1\t1\nAnn\t1\tBen\t1\n", "line 2: Ann/Ann_0001.jpg and Ann/Ann_0001.jpg are"),
    ],
)
def test_pairs_that_contradict_each_other(text, message, tmp_path):
    (tmp_path / "Ann").mkdir()
    for name in ("a", "b", "c", "Ann/Ann_0001.jpg"):
        (tmp_path / name).write_text(name)
    (tmp_path / "copy").write_text("a")
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    found = message_of(lambda: PairFaces(path, tmp_path))
    assert message in found
    assert found.startswith(str(path))


@pytest.mark.parametrize("order", [1, -1])
def test_official_pairs_that_contradict_or_repeat(order, small_data):
    """In any set with pairs, whatever its file says."""
    (faces,) = (one for one in find_face_sets(small_data, "all") if one.name == "lfw")
    pair = faces.pairs[0]
    first, second = pair[:2][::order]
    faces.pairs.append(pair._replace(first=first, second=second))
    task = Identity([faces], replicates=10)
    assert (task.doubled, len(task.pairs)) == (1, len(faces.pairs) - 1)
    faces.pairs.append(pair._replace(first=first, second=second, same=not pair.same))
    assert "listed both as one person and as two" in message_of(lambda: Identity([faces]))


def test_pairs_without_folds_share_no_picture_between_them(tmp_path):
    faces = PairFaces(pairs_csv(tmp_path / "p.csv"), people(tmp_path))
    folds_of = defaultdict(set)
    for pair in faces.pairs:
        for key in (pair.first, pair.second):
            folds_of[key].add(pair.fold)
    assert len({pair.fold for pair in faces.pairs}) == 3
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert faces.leaks() == []
    hanging = pairs_csv(tmp_path / "q.csv", size=12)
    assert "give a column fold" in message_of(lambda: PairFaces(hanging, tmp_path / "images"))


def test_pairs_in_lfws_format(tmp_path):
    images = people(tmp_path)
    path = tmp_path / "pairs.txt"
    blocks = [
        f"P{i}\t1\t2\nP{i + 1}\t1\t2\nP{i}\t1\tP{i + 1}\t2\nP{i + 1}\t1\tP{i}\t2" for i in (0, 2, 4)
    ]
    path.write_text("\n".join(["3\t2", *blocks]) + "\n")
    faces = PairFaces(path, images)
    assert [(p.same, p.fold) for p in faces.pairs] == [
        (same, fold) for fold in range(3) for same in (True, True, False, False)
    ]
    assert faces.people == [f"P{i}" for i in range(6)]
    for file in images.rglob("*.png"):
        file.rename(images / file.name)
    assert len(PairFaces(path, images).pairs) == 12, "also without people's folders"
    path.write_text(
        "\n".join(
            [
                "6",
                *(
                    "\n".join(b.split("\n")[k] for b in blocks for k in ks)
                    for ks in ((0, 1), (2, 3))
                ),
            ]
        )
    )
    assert len({pair.fold for pair in PairFaces(path, images).pairs}) == 3, "by people"


def test_people_and_pictures_in_several_folds_stop_the_run(tmp_path):
    images, out = people(tmp_path), tmp_path / "out"
    crossing = pairs_csv(tmp_path / "p.csv", folds=6)  # rings of four people, folds of two
    own = OwnData(pairs=str(crossing), images=str(images))
    assert "share 6 picture(s)" in message_of(lambda: own.face_sets(out))
    rows = list(csv.DictReader((out / "leaks.csv").open()))
    assert len({row["shared"] for row in rows}) == 6
    assert {row["side"] for row in rows} == {f"fold {i}" for i in range(6)}
    named = tmp_path / "pairs.txt"
    named.write_text("2\t1\nP0\t1\t2\nP1\t1\tP2\t1\nP3\t1\t2\nP1\t2\tP4\t1\n")
    own = OwnData(pairs=str(named), images=str(images))
    assert "share 1 person(s)" in message_of(lambda: own.face_sets(out))
    rows = list(csv.DictReader((out / "leaks.csv").open()))
    assert {(r["reason"], r["shared"]) for r in rows} == {("same person", "P1")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello there\n", "line 1: neither LFW's format"),
        ("first,second\na,b\n", "line 1: column same is missing"),
        ("first,second,same\na,b,perhaps\n", "line 2: same is 'perhaps', neither 1 nor 0"),
        ("first,second,same\na,b\n", "line 2: 2 columns instead of 3"),
        ("first,second,same\na,,1\n", "line 2: second is empty"),
        ("first,second,same\na,a,1\n", "line 2: a is paired with itself"),
        ("first,second,same,fold\na,b,1,\n", "line 2: fold is empty"),
        ("first,second,same\n", "no pair below the header"),
        ("first,second,same\na,b,1\n", "all pairs are the same person"),
        ("first,second,same\na,b,1\nc,d,0\n", "none of its 4 pictures is in"),
        ("1\t1\nAnn\t1\t2\nAnn\t1\tBen\n", "line 3: 'Ann\t1\tBen' is not name, number, name"),
    ],
)
def test_malformed_pairs(text, message, tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    found = message_of(lambda: PairFaces(path, tmp_path))
    assert message in found
    assert str(path) in found
