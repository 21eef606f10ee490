"""Confusions, recalls and groups from kept predictions, and the leakage matrix, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, recall_score

from linear_probe.cli import main
from linear_probe.records.predictions import Predictions, predictions_path, write_predictions
from linear_probe.records.record import RECORDS_FILE, write_records
from linear_probe.reports.leakage import leakage, scores
from linear_probe.reports.part_tables import breakdown
from linear_probe.stats.breakdown import FEWEST, by_group, confusion, ranked_gap, recalls
from ssl_faces import InputError
from tests.support.records import ONE


def some(n=200):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, n)
    targets[targets == 2] = 3  # no row of class 2
    predicted = np.where(rng.random(n) < 0.6, targets, rng.integers(0, 4, n))
    group = rng.choice(["a", "b", "c"], n, p=[0.6, 0.35, 0.05]).tolist()
    names = ["w", "x", "y", "z"]
    keys = [str(i) for i in range(n)]
    return Predictions(
        *("classification", keys, targets, predicted, np.zeros((n, 4))), names, {"race": group}
    )


def test_recalls_and_confusion_are_scikit_learns():
    predictions = some()
    found = recalls(predictions)
    assert [figure.part for figure in found] == ["recall w", "recall x", "recall z"]
    expected = recall_score(
        predictions.targets, predictions.predicted, labels=[0, 1, 3], average=None
    )
    np.testing.assert_allclose([figure.value for figure in found], 100 * expected)
    assert [figure.n for figure in found] == [(predictions.targets == i).sum() for i in (0, 1, 3)]
    for figure, share in zip(found, expected, strict=True):
        # Wilson's interval in closed form.
        z2 = norm.ppf(0.975) ** 2 / figure.n
        centre = (share + z2 / 2) / (1 + z2)
        half = np.sqrt(z2 * share * (1 - share) + z2**2 / 4) / (1 + z2)
        assert (figure.low, figure.high) == pytest.approx(
            (100 * (centre - half), 100 * (centre + half))
        )
    expected = confusion_matrix(predictions.targets, predictions.predicted, labels=[0, 1, 2, 3])
    assert (confusion(predictions) == expected).all()


def test_groups_by_a_loop_few_last():
    predictions = some()
    found = by_group(predictions, "race")
    assert {figure.part for figure in found} == {"a", "b", "c"}
    for figure in found:
        rows = [i for i, name in enumerate(predictions.groups["race"]) if name == figure.part]
        right = sum(predictions.targets[i] == predictions.predicted[i] for i in rows)
        assert figure.value == pytest.approx(100 * right / len(rows))
        assert figure.n == len(rows)
    assert found[0].value >= found[1].value
    assert found[2].part == "c"
    assert [figure.ranked for figure in found] == [True, True, False]
    assert found[2].n < FEWEST
    assert ranked_gap(found) == pytest.approx(found[0].value - found[1].value)
    assert ranked_gap(found[1:]) is None


def test_groups_of_values_are_mean_absolute_errors():
    rng = np.random.default_rng(1)
    targets, guesses = rng.normal(size=80) * 9, rng.normal(size=80) * 9
    groups = ["x"] * 40 + ["y"] * 40
    predictions = Predictions(
        *("regression", groups, targets, guesses, np.zeros((80, 0))), groups={"band": groups}
    )
    found = by_group(predictions, "band")
    expected = sorted(np.abs(targets - guesses).reshape(2, 40).mean(axis=1))
    assert [figure.value for figure in found] == pytest.approx(expected)
    errors = np.abs(targets - guesses).reshape(2, 40)
    half = sorted(1.96 * errors.std(axis=1, ddof=1) / 40**0.5, key=lambda h: h)
    assert sorted(figure.high - figure.value for figure in found) == pytest.approx(half)


def test_command(tmp_path, capsys):
    record = replace(ONE, n=200)
    write_records(tmp_path / RECORDS_FILE, [record])
    with pytest.raises(InputError, match="no predictions were kept"):
        breakdown(tmp_path)
    write_predictions(predictions_path(tmp_path, record), some())
    with pytest.raises(InputError, match="no row 'else'"):
        breakdown(tmp_path, "else")
    assert main(["breakdown", str(tmp_path), "runs/a=expression_map", "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert "| recall w |" in printed
    assert "| c (few) |" in printed
    matrix = confusion(some())
    assert f"| w | {' | '.join(map(str, matrix[0]))} |" in printed


ANGLES = np.array([-30.0, 0.0, 10.0, 50.0, 20.0])  # median 10; mean distance 20


def keep(folder, record, targets, kind):
    n = len(targets)
    predictions = Predictions(kind, [""] * n, targets, targets, np.zeros((n, 0)))
    write_predictions(predictions_path(folder, record), predictions)


def kept_records(folder, space, recall, error, area, seed=0):
    base = replace(ONE, feature_space=space, seed=seed, n=5)
    expression = [
        replace(base, value=70.0),
        replace(base, metric="mean class recall", value=recall),
    ]
    pose = [
        replace(
            base,
            task="pose",
            data_set="YouTube keypoints",
            probe="ridge regression",
            metric=f"MAE {angle}",
            unit="degrees",
            higher_is_better=False,
            value=error,
        )
        for angle in ("yaw", "pitch", "roll")
    ]
    identity = [
        replace(base, task="identity", data_set="LFW", probe=probe, metric=metric, value=value)
        for probe, value in (("cosine similarity", area), ("Euclidean distance", 99.0))
        for metric in ("accuracy", "AUC")
    ]
    keep(folder, expression[0], np.array([0, 1, 2, 6, 6]), "classification")
    for record in pose:
        keep(folder, record, ANGLES, "regression")
    for record in identity[::2]:
        keep(folder, record, np.array([0, 1, 0, 1, 1]), "verification")
    return [*expression, *pose, *identity]


def test_normalised_by_hand(tmp_path):
    records = kept_records(tmp_path, "expression", 62.5, 10.0, 60.0)
    records += kept_records(tmp_path, "identity", 25.0, 20.0, 90.0)
    write_records(tmp_path / RECORDS_FILE, records)
    found = scores(tmp_path)
    ours = {row: {k: v.normalised for k, v in of.items()} for row, of in found.items()}
    # Four classes: chance is 25 %; the best constant errs by 20 degrees; half of an area is chance.
    assert ours["a=expression"] == pytest.approx({"expression": 0.5, "pose": 0.5, "identity": 0.2})
    assert ours["a=identity"] == pytest.approx({"expression": 0.0, "pose": 0.0, "identity": 0.8})
    assert found["a=expression"]["identity"].raw == "AUC 60.00 %"
    assert main(["leakage", str(tmp_path)]) == 0
    text = leakage(tmp_path, markdown=True)
    assert "| a | expression | 0.50 | 0.50 | 0.20 |" in text
    assert "not in these records: light, age, gender, race" in text
    assert "mean class recall 62.50 %" in text


def test_light_is_a_factor_where_it_was_scored(tmp_path):
    records = kept_records(tmp_path, "expression", 62.5, 10.0, 60.0)
    light = [
        replace(r, task="light", data_set="rendered faces", metric=f"MAE {angle}", value=value)
        for r, angle, value in zip(records[2:4], ("azimuth", "elevation"), (5.0, 15.0), strict=True)
    ]
    for record in light:
        keep(tmp_path, record, ANGLES, "regression")
    write_records(tmp_path / RECORDS_FILE, [*records, *light])
    score = scores(tmp_path)["a=expression"]["light"]
    assert score.normalised == pytest.approx((0.75 + 0.25) / 2)
    assert score.raw == "MAE azimuth 5.00 degrees, MAE elevation 15.00 degrees"
    assert "| a | expression | 0.50 | 0.50 | 0.20 | 0.50 |" in leakage(tmp_path, markdown=True)


def test_the_mean_over_seeds_without_points_of_curves(tmp_path):
    records = kept_records(tmp_path, "expression", 50.0, 11.0, 60.0)
    records += kept_records(tmp_path, "expression", 60.0, 11.0, 60.0, seed=1)
    records += [
        replace(r, value=1.0, condition={"factor": "blur", "level": 1, "unit": ""}) for r in records
    ]
    write_records(tmp_path / RECORDS_FILE, records)
    score = scores(tmp_path)["a=expression"]["expression"]
    assert score.normalised == pytest.approx((55 - 25) / 75)
    assert score.raw == "mean class recall 55.00 %"


def test_without_what_tells_chance(tmp_path):
    with pytest.raises(InputError, match=r"records\.jsonl"):
        leakage(tmp_path)
    write_records(tmp_path / RECORDS_FILE, [replace(ONE, metric="mean class recall")])
    with pytest.raises(InputError, match="no predictions"):
        leakage(tmp_path)
    write_records(tmp_path / RECORDS_FILE, [replace(ONE, task="age of stars")])
    with pytest.raises(InputError, match="holds no figure"):
        leakage(tmp_path)
