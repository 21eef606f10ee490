"""Across databases: learnt on one set, scored on all of another, from the command line."""

import numpy as np
import pytest
import torch

from linear_probe.features.frozen import Features, Pictures
from linear_probe.records.record import read_records
from linear_probe.tasks import Expression
from linear_probe.tasks.face_sets import crossed
from ssl_faces.data import CKPlus, Fer2013, OuluCasia, RafDb, cross_database
from tests.support.layouts import ckplus, oulucasia, rafdb, sfew
from tests.support.probing import refused, run
from tests.support.small_sets import write_fer2013, write_lfw


def test_scored_on_all_of_the_other_set_and_copies_are_not_learnt_from(tmp_path):
    fer = write_fer2013(tmp_path)
    ck = oulucasia(tmp_path / "oulu", people=4)
    tested = ck / "OriginalImg/VL/Strong/P002/Fear/000.jpeg"
    for copy in ("Training_0.png", "Training_3.png"):
        (fer / "Training" / "happy" / copy).write_bytes(tested.read_bytes())
    task = Expression([cross_database(Fer2013(fer, "all"), OuluCasia(ck, "all"))], replicates=20)
    assert (task.data_set, task.folds) == ("FER-2013 -> Oulu-CASIA", None)
    values = np.eye(7)[task.labels[task.indices]]
    values = values + 0.1 * np.random.default_rng(0).standard_normal(values.shape)
    features = Features(torch.from_numpy(values).float(), task.indices)
    pictures = Pictures(task.faces, task.indices)
    rows = task.rows(features, pictures)
    assert (len(rows.train), len(rows.test), rows.copies) == (7 * 12 - 2, 4 * 6 * 4, 2)
    key = [task.faces.records[i].key for i in task.indices]
    assert {key[i].partition("/")[0] for i in rows.train} == {"train"}
    assert {key[i].partition("/")[0] for i in rows.test} == {"test"}
    accuracy = task.score(features, pictures)[0]
    assert (accuracy.n, accuracy.value) == (96, pytest.approx(100))
    assert "trained on 82 pictures; 2 training pictures left out" in accuracy.note
    assert "intervals by bootstrap over people" in task.protocol


def test_figures_on_one_test_set_share_their_draws(tmp_path):
    """So that two training sets can be compared."""
    fer = Fer2013(write_fer2013(tmp_path), "all")
    raf = RafDb(rafdb(tmp_path / "raf"), "all")
    ck = CKPlus(ckplus(tmp_path / "ck"), "all")
    found = [Expression([cross_database(train, ck)], replicates=20) for train in (fer, raf)]
    drawn = [task.sample(task.indices[task.is_test[task.indices]]) for task in found]
    assert drawn[0].name == drawn[1].name
    np.testing.assert_array_equal(drawn[0].weights, drawn[1].weights)


def test_each_set_with_each_other(tmp_path):
    fer = Fer2013(write_fer2013(tmp_path), "all")
    raf = RafDb(rafdb(tmp_path / "raf"), "all")
    ck = CKPlus(ckplus(tmp_path / "ck"), "all")
    titles = [faces.title for faces in crossed([fer, raf], [raf, ck], "expression")]
    assert titles == ["FER-2013 -> RAF-DB", "FER-2013 -> CK+", "RAF-DB -> CK+"]


@pytest.mark.usefixtures("few_rendered")
def test_end_to_end(tiny, tmp_path, capsys):
    fer, other = write_fer2013(tmp_path), sfew(tmp_path / "sfew")
    out = tmp_path / "out"
    given = ("--encoder", tiny, "--features", "expression", "--no-baselines", "--out", out)
    assert run(*given, "--data", fer, "--test-data", other) == 0
    assert run(*given, "--data", "rendered", "--test-data", fer, "--seeds", "0,1") == 0
    records = read_records(out / "records.jsonl")
    assert {(r.task, r.data_set, r.split, r.n, r.seed) for r in records} == {
        (
            *("expression", "FER-2013 -> SFEW 2.0"),
            *("training part of FER-2013 -> all of SFEW 2.0, 7 classes", 28, 0),
        ),
        *(
            (
                *("expression", "rendered faces -> FER-2013"),
                *("training part of rendered faces -> all of FER-2013, 7 classes", 112, seed),
            )
            for seed in (0, 1)
        ),
    }
    assert "expression: FER-2013 -> SFEW 2.0" in capsys.readouterr().out


def test_data_that_do_not_serve(tiny, tmp_path, capsys):
    fer, other = write_fer2013(tmp_path / "one"), sfew(tmp_path / "sfew")
    write_lfw(tmp_path / "two")
    given = ("--encoder", tiny, "--out", tmp_path / "out", "--data", fer)

    def refusal(*more):
        return refused(capsys, run(*given, *more))

    assert "--test-data has no set with the label expression (found: LFW); give" in refusal(
        "--test-data", tmp_path / "two"
    )
    assert "the task pose has no classes" in refusal("--test-data", other, "--task", "pose")
    assert "FER-2013 and FER-2013 have the same pictures" in refusal("--test-data", fer)
    assert f"{tmp_path / 'gone'} does not exist" in refusal("--test-data", tmp_path / "gone")
    assert "--data has no set with the label category (found: FER-2013)" in refusal(
        *("--test-data", other, "--task", "classes")
    )
    code = run(
        *given[:4], "--train", fer / "Training", "--test", fer / "PublicTest", "--test-data", other
    )
    assert "--data and --test-data can't be combined with data of your own" in refused(capsys, code)
