"""The leakage matrix from records, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from linear_probe.cli import main
from linear_probe.records.predictions import Predictions, predictions_path, write_predictions
from linear_probe.records.record import RECORDS_FILE, write_records
from linear_probe.reports.leakage import leakage, scores
from ssl_faces import InputError
from tests.support.records import ONE

ANGLES = np.array([-30.0, 0.0, 10.0, 50.0, 20.0])  # median 10; mean distance 20


def keep(folder, record, targets, kind):
    n = len(targets)
    predictions = Predictions(kind, [""] * n, targets, targets, np.zeros((n, 0)))
    write_predictions(predictions_path(folder, record), predictions)


def some(folder, space, recall, error, area, seed=0):
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
    records = some(tmp_path, "expression", 62.5, 10.0, 60.0)
    records += some(tmp_path, "identity", 25.0, 20.0, 90.0)
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
    records = some(tmp_path, "expression", 62.5, 10.0, 60.0)
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
    records = some(tmp_path, "expression", 50.0, 11.0, 60.0)
    records += some(tmp_path, "expression", 60.0, 11.0, 60.0, seed=1)
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
