"""A user's own folders and tables: what is scored, and what stops a run."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from linear_probe.records.record import read_records
from linear_probe.tasks import Affect, Attributes, Classes, Expression, Pose
from linear_probe.tasks.own_data import OwnData
from linear_probe.tasks.own_table import joined_tables, table_faces
from ssl_faces.data import EXPRESSIONS
from tests.support.probing import refused, run_own
from tests.support.refusals import message_of
from tests.support.small_sets import noise, save_grey

# Class folders ----------------------------------------------------------------------------------


def folders(root, names=("cat", "dog", "owl"), count=12):
    rng = np.random.default_rng(4)
    for side, number in (("train", count), ("test", count // 3)):
        for i, name in enumerate(names):
            for k in range(number):
                pixels = noise(rng, 10)
                pixels[12 * i : 12 * i + 12] += 140
                save_grey(root / side / name / f"{k}.png", pixels)
    return [str(root / "train"), str(root / "test")]


def test_class_folders_end_to_end(tiny, tmp_path, capsys):
    train, test = folders(tmp_path)
    assert run_own(tmp_path / "out", tiny, "--train", train, "--test", test) == 0
    records = read_records(tmp_path / "out" / "records.jsonl")
    assert {(r.task, r.data_set, r.split) for r in records} == {
        ("classes", test, f"{train} -> {test}")
    }
    by_metric = {record.metric: record for record in records}
    assert by_metric["accuracy"].n == 12
    assert by_metric["accuracy"].value > 90
    assert "trained on 36 pictures" in by_metric["accuracy"].note
    assert f"classes: {test}" in capsys.readouterr().out


def test_class_folders_of_expressions_are_the_task_expression(tmp_path):
    train, test = folders(tmp_path, ("Anger", "happy"))
    (tmp_path / "test" / "Anger").rename(tmp_path / "test" / "angry")
    (faces,) = OwnData(train=train, test=test).face_sets(tmp_path)
    assert Expression.serves(faces)
    assert not Classes.serves(faces)
    found = {r.key.split("/")[1]: EXPRESSIONS[r.labels["expression"]] for r in faces.records}
    assert found == {"Anger": "angry", "angry": "angry", "happy": "happy"}


def test_leaking_pictures_stop_the_run_and_are_listed(tiny, tmp_path, capsys):
    train, test = folders(tmp_path)
    for source, target in (("cat/0.png", "cat/new.png"), ("dog/1.png", "owl/other.png")):
        (tmp_path / "test" / target).write_bytes((tmp_path / "train" / source).read_bytes())
    out = tmp_path / "out"
    message = refused(capsys, run_own(out, tiny, "--train", train, "--test", test))
    assert "--train and --test share 2 picture(s)" in message
    assert str(out / "leaks.csv") in message
    rows = list(csv.DictReader((out / "leaks.csv").open()))
    assert {(row["reason"], row["side"], row["picture"]) for row in rows} == {
        ("same bytes", "train", "cat/0.png"),
        ("same bytes", "test", "cat/new.png"),
        ("same bytes", "train", "dog/1.png"),
        ("same bytes", "test", "owl/other.png"),
    }
    assert len({row["shared"] for row in rows}) == 2
    assert not (out / "records.jsonl").exists()
    for name in ("cat/new.png", "owl/other.png"):
        (tmp_path / "test" / name).unlink()
    OwnData(train=train, test=test).face_sets(out)
    assert not (out / "leaks.csv").exists(), "the list of an earlier run"


def test_classes_that_are_not_on_both_sides(tmp_path):
    train, test = folders(tmp_path)
    own = OwnData(train=train, test=test)
    (tmp_path / "test" / "owl").rename(tmp_path / "test" / "Owl")
    assert f"--train {train} has no folder 'Owl'" in message_of(lambda: own.face_sets(tmp_path))
    (tmp_path / "train" / "Owl").mkdir()
    assert f"--test {test} has no folder 'owl'" in message_of(lambda: own.face_sets(tmp_path))
    (tmp_path / "test" / "owl").mkdir()
    text = message_of(lambda: own.face_sets(tmp_path))
    assert f"--train {train}: the folder 'Owl' holds no picture" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "x"], "--train goes with --test"),
        (["--images", "x"], "--images goes with --pairs"),
        (["--test-csv", "x"], "--test-csv goes with --train-csv"),
        (["--train", "no/such", "--test", "no/such"], "no/such: No such file or directory"),
        (["--train-csv", "no/such.csv", "--test-csv", "no/such.csv"], "no/such.csv: No such file"),
        (["--pairs", "no/such.csv", "--images", "."], "no/such.csv: No such file"),
    ],
)
def test_arguments(arguments, message, tmp_path, capsys):
    code = run_own(tmp_path / "out", "hybrid", *arguments)
    assert message in refused(capsys, code)


def rows_of(kind, faces):
    """The rows of a task, with features of nothing."""
    import torch

    from linear_probe.features.frozen import Features, Pictures

    task = kind([faces], replicates=5)
    features = Features(torch.zeros(len(task.indices), 2), task.indices)
    return task.rows(features, Pictures(faces, task.indices))


# Tables -----------------------------------------------------------------------------------------

LABELS = ["expression", "yaw", "pitch", "roll", "age", "gender", "race", "valence", "arousal"]
HEADER = ["image", "person", *LABELS]


def table(root, side, people, change=None):
    """Yaw is how bright the left half is, valence the right one; four pictures a person."""
    rng = np.random.default_rng(people.start)
    rows = []
    for person in people:
        for k in range(4):
            yaw, valence = rng.uniform(-40, 40), rng.uniform(-1, 1)
            pixels = noise(rng, 60)
            pixels[:, :24] += int(yaw)
            pixels[:, 24:] += int(30 * valence)
            name = f"{side}_{person}_{k}.png"
            save_grey(root / "images" / name, pixels)
            row = [
                name,
                f"p{person}",
                ("happy", "Sadness")[k % 2],
                f"{yaw:.3f}",
                str(person),
                str(k),
            ]
            row += [
                str(20 + person),
                "fm"[person % 2],
                "abc"[person % 3],
                f"{valence:.3f}",
                f"0.{k}",
            ]
            rows.append({**dict(zip(HEADER, row, strict=True)), **(change or {})})
    path = root / f"{side}.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, HEADER)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_a_table_serves_every_task_of_its_columns(tiny, tmp_path, capsys):
    train, test = table(tmp_path, "train", range(12)), table(tmp_path, "test", range(12, 18))
    (tmp_path / "images" / "test_13_2.png").unlink()
    out = tmp_path / "out"
    assert run_own(out, tiny, "--train-csv", train, "--test-csv", test) == 0
    warning = "only 6 test people: intervals and p-values are too narrow"
    assert warning in capsys.readouterr().out
    records = read_records(out / "records.jsonl")
    assert all(warning in record.note for record in records)
    found = defaultdict(set)
    for record in records:
        found[record.task].add(record.metric)
        assert record.n == 23
        assert (record.data_set, record.split) == (test, f"{train} -> {test}")
        assert record.low <= record.value <= record.high or record.metric.startswith("RMSE")
    assert found == {
        "expression": {"accuracy", "mean class recall", "kNN accuracy"},
        "pose": {"MAE yaw", "MAE pitch", "MAE roll"},
        "attributes": {
            *("MAE age", "gender accuracy", "gender mean class recall"),
            *("race accuracy", "race mean class recall"),
        },
        "affect": {"CCC valence", "RMSE valence", "CCC arousal", "RMSE arousal"},
    }
    assert "people" in next(r.note for r in records if r.task == "pose")
    rows = list(csv.reader((out / "skipped.csv").open()))
    assert rows[1][1] == "test/test_13_2.png"
    assert "named in test.csv, line " in rows[1][2]


def test_labels_of_a_table(tmp_path):
    table(tmp_path, "train", range(2))
    train, test = table_faces(tmp_path / "train.csv", table(tmp_path, "test", range(2, 4)))
    sample = train[5]
    assert EXPRESSIONS[sample["expression"]] == "sad"
    assert sample["age"] == 21
    assert train.class_names["gender"][sample["gender"]] == "m"
    assert test.class_names["race"][test[0]["race"]] == "c"
    assert sample["pose"][1:].tolist() == [1, 1]
    assert -1 <= sample["valence"] <= 1
    assert train.people == ["p0", "p1"]


def test_a_person_on_both_sides_stops_the_run(tmp_path):
    train, test = table(tmp_path, "train", range(4)), table(tmp_path, "test", range(3, 6))
    own = OwnData(train_csv=train, test_csv=test)
    text = message_of(lambda: own.face_sets(tmp_path / "out"))
    assert "--train-csv and --test-csv share 1 person(s)" in text
    rows = list(csv.DictReader((tmp_path / "out" / "leaks.csv").open()))
    assert {(r["reason"], r["shared"]) for r in rows} == {("same person", "p3")}
    assert sorted((r["side"], r["picture"]) for r in rows) == sorted(
        (side, f"{side}_3_{k}.png") for side in ("train", "test") for k in range(4)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": ""}, "line 2: image is empty"),
        ({"image": "a.png"}, "line 3: a.png was already given in line 2"),
    ],
)
def test_rows_without_a_picture_of_their_own(change, message, tmp_path):
    train = table(tmp_path, "train", range(2), change)
    test = table(tmp_path, "test", range(2, 4))
    assert f"{train}, {message}" in message_of(lambda: table_faces(train, test))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"expression": "bored"}, "expression is 'bored', none of angry, disgust"),
        ({"yaw": "left"}, "yaw is 'left', not a number from -180 to 180"),
        ({"yaw": ""}, "yaw is '', not a number"),
        ({"yaw": "nan"}, "yaw is 'nan', not a number"),
        ({"age": "-3"}, "age is '-3', not a number from 0"),
        ({"valence": "1.5"}, "valence is '1.5', not a number from -1 to 1"),
    ],
)
def test_rows_with_an_invalid_label_are_skipped_unless_many_are(change, reason, tmp_path):
    test = table(tmp_path, "test", range(2, 4))
    whole = Path(table(tmp_path, "train", range(2)))
    good = whole.read_text().splitlines()
    bad = Path(table(tmp_path, "train", range(2), change)).read_text().splitlines()
    whole.write_text("\n".join([good[0], bad[1], *good[2:]]))
    train, _ = table_faces(whole, test)
    assert len(train) == len(good) - 2
    (skipped,) = train.skipped
    assert skipped.reason.startswith(f"train.csv, line 2: {reason}")
    whole.write_text("\n".join(bad))
    message = f"{whole}: 8 of its 8 rows can't be used; the first: train.csv, line 2: {reason}"
    assert message in message_of(lambda: table_faces(whole, test))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image,age", "a.png,3,4"], "line 2: 3 columns instead of 2"),
        (["image,expression", "a.png,happy"], "line 1: column age is missing, which"),
        (["picture,yaw,pitch,age", "a.png,1,2,3"], "line 1: column roll is missing, which goes"),
        (["name,age", "a.png,3"], "line 1: no column of pictures; the first line must name image"),
        (["image,mood", "a.png,3"], "line 1: column age is missing, which"),
        (["image,age,age", "a.png,3,3"], "line 1: column age comes twice"),
        (["image,age"], "no row below the header"),
        (["image,age", "a.png,3"], "1 of its 1 pictures are missing, such as a.png"),
    ],
)
def test_malformed_tables(lines, message, tmp_path):
    good = tmp_path / "good.csv"
    extra = ",yaw,pitch,roll" if "yaw" in lines[0] else ""
    save_grey(tmp_path / "b.png", np.zeros((9, 9)))
    good.write_text(f"image,age{extra}\nb.png,3{',1,2,3' if extra else ''}\n")
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join(lines) + "\n")
    for one, other in ((bad, good), (good, bad)):
        text = message_of(lambda one=one, other=other: table_faces(one, other))
        assert message in text or "column expression is missing" in text or "column roll" in text
        assert str(bad) in text


@pytest.mark.parametrize(
    ("kind", "change", "side", "message"),
    [
        (
            Expression,
            {"expression": "fear"},
            "test",
            "no training picture has the expression 'fear'",
        ),
        (
            Expression,
            {"expression": "fear"},
            "both",
            "every training picture has the expression 'f",
        ),
        (Attributes, {"race": "x"}, "test", "no training picture has the race 'x'"),
        (Attributes, {"gender": "x"}, "both", "every training picture has the gender 'x'"),
        (Attributes, {"age": "30"}, "both", "age is 30 in all 12 training pictures"),
        (Pose, {"roll": "7"}, "both", "roll is 7 in all 12 training pictures"),
        (Affect, {"arousal": "0.5"}, "both", "arousal is 0.5 in all 12 training pictures"),
        (Affect, {"arousal": "0.5"}, "test", "arousal is 0.5 in all 8 test pictures"),
    ],
)
def test_labels_that_nothing_can_be_learnt_from(kind, change, side, message, tmp_path):
    train = table(tmp_path, "train", range(3), change if side == "both" else None)
    test = table(tmp_path, "test", range(3, 5), change)
    faces = joined_tables(*table_faces(train, test))
    assert message in message_of(lambda: rows_of(kind, faces))
