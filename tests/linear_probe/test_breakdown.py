"""Confusions, recalls and groups from kept predictions, against scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, recall_score

from linear_probe.cli import main
from linear_probe.records.predictions import Predictions, predictions_path, write_predictions
from linear_probe.records.record import RECORDS_FILE, write_records
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
