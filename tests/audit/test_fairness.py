"""Fairness scores and gaps, against loops; groups that are too small, or alike."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_recall

from linear_probe.experiments.audit.fairness import (
    UNKNOWN,
    check_grouping,
    fairness_figures,
    fairness_score,
    group_figures,
    group_recalls,
    ranked_groups,
)
from linear_probe.records.predictions import Predictions
from linear_probe.tasks.sample import Sample
from ssl_faces import InputError


def some(n=400):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, n)
    names = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    right = rng.random(n) < np.select([names == "a", names == "b"], [0.9, 0.7], 0.5)
    predicted = np.where(right, targets, (targets + 1) % 3)
    keys = [str(i) for i in range(n)]
    return Predictions(
        *("classification", keys, targets, predicted, np.zeros((n, 3))),
        classes=["x", "y", "z"],
        groups={"race": names.tolist()},
    )


def naive(targets, predicted, names, draws):
    """The score of the rows that were drawn, each as often as it was."""
    of_group = []
    for group in sorted(set(names)):
        recalls = []
        for label in sorted(set(targets)):
            rows = [i for i in draws if names[i] == group and targets[i] == label]
            recalls.append(sum(predicted[i] == label for i in rows) / len(rows))
        of_group.append(sum(recalls) / len(recalls))
    best = max(of_group)
    return min(recall / best for recall in of_group)


def test_score_and_replicates_by_a_loop():
    shown = some()
    sample = Sample(shown.keys, 20)
    fair, gap = fairness_figures(sample, shown, {"k": 1}, "a note", "gender")
    names = shown.groups["race"]
    lists = shown.targets.tolist(), shown.predicted.tolist(), names
    assert fair.value == pytest.approx(naive(*lists, list(range(400))))
    for replicate, row in zip(fair.replicates, sample.weights, strict=True):
        draws = np.repeat(np.arange(400), row.astype(int)).tolist()
        assert replicate == pytest.approx(naive(*lists, draws))
    assert (fair.metric, gap.metric) == (
        "gender fairness across race",
        "gender accuracy gap across race",
    )
    accuracies = [
        100 * np.mean([p == t for p, t, g in zip(*lists[:2], names, strict=True) if g == group])
        for group in "abc"
    ]
    assert gap.value == pytest.approx(max(accuracies) - min(accuracies))
    assert not gap.higher_is_better
    assert gap.low < gap.value < gap.high
    assert fair.hyperparameters == {"k": 1}


def test_group_recalls_are_those_of_torchmetrics():
    shown = some()
    names = np.array(shown.groups["race"])
    once = np.ones((1, 400), np.float32)
    found = group_recalls(shown.targets, shown.predicted, names.tolist(), ["a", "c"], once)[0]
    for value, group in zip(found, "ac", strict=True):
        targets, predicted = (
            torch.from_numpy(x[names == group]) for x in (shown.targets, shown.predicted)
        )
        expected = multiclass_recall(predicted, targets, num_classes=3, average="macro")
        assert value == pytest.approx(float(expected))


def test_recalls_are_of_classes_that_all_groups_have():
    targets = np.array([0, 1, 2, 0, 1, 0])
    names = ["a", "a", "a", "b", "b", "b"]
    predicted = np.array([0, 0, 2, 0, 1, 1])
    found = group_recalls(targets, predicted, names, ["a", "b"], np.ones((1, 6)))
    assert found.tolist() == [[0.5, 0.75]]  # of class 2 b has no row


def test_a_group_of_29_is_shown_and_not_ranked():
    shown = some()
    names = ["large"] * 186 + ["other"] * 185 + ["small"] * 29
    predicted = shown.targets.copy()
    predicted[371:] = (predicted[371:] + 1) % 3  # all of the small group wrong
    predicted[:18] = (predicted[:18] + 1) % 3
    shown = Predictions(
        *("classification", shown.keys, shown.targets, predicted, shown.scores),
        classes=shown.classes,
        groups={"race": names},
    )
    assert ranked_groups(names) == ["large", "other"]
    fair, gap = fairness_figures(Sample(shown.keys, 5), shown, {}, "")
    assert fair.value > 0.8
    assert gap.value == pytest.approx(100 * 18 / 186)
    assert "not ranked, as too few: small" in fair.note
    small = group_figures(Sample(shown.keys, 5), shown, {})["race", "small"]
    assert (small.value, small.n) == (0.0, 29)
    assert ranked_groups(["small"] * 30 + [UNKNOWN] * 40) == ["small"]


def test_scores_of_a_closed_form():
    assert fairness_score(np.array([[0.5, 1.0], [0.4, 0.4], [0.0, 0.0]])).tolist() == [0.5, 1, 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["White"] * 50, "race is 'White' for all 50 test pictures"),
        (["White"] * 50 + ["Black"] * 29, "fewer than two groups of 30 test pictures"),
    ],
)
def test_nothing_to_compare_is_told(names, message):
    with pytest.raises(InputError, match=message):
        check_grouping("race", names)
