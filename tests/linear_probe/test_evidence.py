"""ROC curves and mistakes against naive loops; predictions that can't be used."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from linear_probe.records.collect import find_records
from linear_probe.records.predictions import (
    Predictions,
    predictions_path,
    read_predictions,
    write_predictions,
)
from linear_probe.records.record import RECORDS_FILE, write_records
from linear_probe.reports.evidence import gather, mistakes, roc
from linear_probe.reports.tables import task_figures
from ssl_faces import InputError
from tests.support.records import ONE

CLASSES = ["angry", "happy", "sad"]


def classified(n=90, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(3), n)
    return Predictions(
        *("classification", [f"k{i}" for i in range(n)], rng.integers(0, 3, n)),
        *(scores.argmax(axis=1), scores, CLASSES),
        {"skin": ["dark" if i < 20 else "light" if i < 60 else "other" for i in range(n)]},
    )


def verified(n=1000):
    rng = np.random.default_rng(1)
    same = rng.integers(0, 2, n)
    scores = (same + rng.normal(0, 1, n))[:, None]
    called = (scores[:, 0] > 0.5).astype(int)
    keys = [f"a{i}\tb{i}" for i in range(n)]
    return Predictions("verification", keys, same, called, scores, ["different", "same"])


def test_largest_errors_come_first():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    errors = Predictions("regression", list("wxyz"), np.zeros(4), values, np.zeros((4, 0)))
    assert [m.keys for m in mistakes(errors, 2)] == [["z"], ["y"]]


def test_roc():
    found = verified()
    curve = roc(found)
    false, true, area = curve
    assert area == pytest.approx(roc_auc_score(found.targets, found.scores[:, 0]))
    assert len(false) <= 200
    # What is drawn is the curve still, not only its ends.
    assert np.trapezoid(true, false) == pytest.approx(area, abs=0.003)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    for f, t in list(zip(false, true, strict=True))[1::40]:
        here = [
            np.isclose((found.scores[found.targets == 1, 0] >= threshold).mean(), t)
            for threshold in found.scores[:, 0]
            if np.isclose((found.scores[found.targets == 0, 0] >= threshold).mean(), f)
        ]
        assert any(here)
    assert roc(replace(found, targets=np.ones(1000, dtype=int))) is None


def test_most_confident_mistakes():
    found = classified()
    wrong = [i for i in range(90) if found.targets[i] != found.predicted[i]]
    wrong.sort(key=lambda i: -found.scores[i].max())
    assert [m.keys[0] for m in mistakes(found, 5)] == [f"k{i}" for i in wrong[:5]]
    first = mistakes(found, 5)[0]
    assert first.target == CLASSES[found.targets[wrong[0]]]
    assert first.confidence == pytest.approx(found.scores[wrong[0]].max())
    assert mistakes(replace(found, predicted=found.targets)) == []
    pairs = mistakes(verified(), 4)
    assert [m.predicted for m in pairs] == ["same", "same", "different", "different"]
    assert all(len(m.keys) == 2 for m in pairs)
    different = [
        s for s, t in zip(verified().scores[:, 0], verified().targets, strict=True) if not t
    ]
    assert pairs[0].confidence == pytest.approx(max(different))


def kept(folder, record, predictions):
    write_records(folder / RECORDS_FILE, [record])
    write_predictions(predictions_path(folder, record), predictions)
    found = find_records([folder])
    (table,) = task_figures([record])
    return gather(table, found)


def test_predictions_that_are_no_use_are_left_out_with_the_reason(tmp_path):
    good = classified()
    record = replace(ONE, encoder="a", n=90)
    evidence, problems = kept(tmp_path, record, good)
    assert (len(evidence), problems) == (1, [])
    evidence, problems = kept(tmp_path, record, classified(80))
    assert evidence == []
    assert len(problems) == 1
    assert "holds 80 rows, and the record is of 90" in problems[0]
    predictions_path(tmp_path, record).write_bytes(b"no safetensors")
    evidence, problems = gather(task_figures([record])[0], find_records([tmp_path]))
    assert evidence == []
    assert "can't be read" in problems[0]


def test_what_metrics_share_comes_once_and_of_seeds_the_first(tmp_path):
    records = [
        replace(ONE, encoder="a", n=90, seed=seed, metric=m) for seed in (0, 1) for m in ("a", "b")
    ]
    write_records(tmp_path / RECORDS_FILE, records)
    for record in records:
        write_predictions(predictions_path(tmp_path, record), classified(seed=record.seed))
    evidence, _ = gather(task_figures(records)[0], find_records([tmp_path]))
    assert [(one.record.metric, one.record.seed) for one in evidence] == [("a", 0)]


def test_rows_named_with_their_folder_keep_their_predictions(tmp_path):
    for name, value in (("a", 40.0), ("b", 50.0)):
        record = replace(ONE, encoder="a", n=90, value=value)
        write_records(tmp_path / name / RECORDS_FILE, [record])
        write_predictions(predictions_path(tmp_path / name, record), classified(seed=int(value)))
    found = find_records([tmp_path / "a", tmp_path / "b"])
    (table,) = task_figures([one.record for one in found])
    evidence, problems = gather(table, found)
    assert problems == []
    assert [one.row.encoder for one in evidence] == ["a", "a (b)"]
    assert (evidence[1].predictions.targets == classified(seed=50).targets).all()


def some():
    return Predictions(
        "classification",
        ["a.jpg", "b\udcff.jpg", "c.jpg"],
        np.array([0, 1, 1]),
        np.array([0, 0, 1]),
        np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], dtype=np.float32),
        ["no", "yes"],
        {"race": ["x", "y", "x"]},
    )


def test_read_as_written(tmp_path):
    write_predictions(tmp_path / "p" / "x.safetensors", some())
    found = read_predictions(tmp_path / "p" / "x.safetensors")
    for name, value in vars(some()).items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_none_and_broken(tmp_path):
    assert read_predictions(tmp_path / "x.safetensors") is None
    (tmp_path / "x.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="can't be read"):
        read_predictions(tmp_path / "x.safetensors")


def test_columns_of_different_lengths():
    with pytest.raises(ValueError, match="different lengths"):
        Predictions("regression", ["a"], np.zeros(2), np.zeros(2), np.zeros((2, 0)))
