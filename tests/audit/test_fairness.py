"""Fairness scores and gaps, against loops; groups that are too small, or alike."""

import re
from pathlib import Path

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
from linear_probe.experiments.audit.tables import AS_IT_IS, audited, cost_table, group_tables
from linear_probe.records.predictions import Predictions
from linear_probe.records.record import RECORDS_FILE, Record, read_records, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates
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


ROOT = Path(__file__).parents[2]
COST = {"file_bytes": 9, "parameters": 100, "milliseconds": 1.0}


def record(probe, value, seed=0, sample="s", **more):
    cost = {**COST, "compressed_bytes": 4096 if probe == AS_IT_IS else 1024, "nonzero": 50}
    chosen = {"classifier": f"of {seed}", "groups": ["race"], "cost": cost, "as_it_was": []}
    return Record(
        *("attributes", "UTKFace", "split", "hybrid", "expression", probe, "gender accuracy"),
        *(value, value - 1, value + 1, "%", True, 400, seed),
        hyperparameters={**chosen, **more.pop("hyperparameters", {})},
        sample=sample,
        **more,
    )


def of_group(probe, value, group, seed=0):
    return record(probe, value, seed, condition={"factor": "race", "level": group, "unit": ""})


def test_changes_are_of_the_same_draws_and_older_figures_are_left_out(tmp_path):
    records = [
        *(record("8 bits", 88.0), record(AS_IT_IS, 90.0), record("16 values", 85.0, sample="old")),
        record("4 values", 80.0, hyperparameters={"classifier": "another"}),
        *(of_group(probe, v, "White") for probe, v in ((AS_IT_IS, 95.0), ("8 bits", 96.0))),
        *(of_group(probe, v, "Black") for probe, v in ((AS_IT_IS, 80.0), ("8 bits", 70.0))),
    ]
    noise = np.random.default_rng(0).normal(0, 3, 200)
    write_records(tmp_path / RECORDS_FILE, records)
    write_replicates(tmp_path / REPLICATES_FILE, {r.name: r.value + noise for r in records})
    (one,) = audited(tmp_path)
    assert one.names == [AS_IT_IS, "8 bits"]
    first, second = cost_table(one).body
    assert first[:6] == [AS_IT_IS, "4.0", "1.00x", "100", "50.0", "1.00"]
    # Draws are shared, so that a change is surer than the figures.
    assert second[2] == "4.00x"
    assert second[-1] == "-2.00 [-2.00, -2.00], p 0.005"
    (table,) = group_tables(one)
    assert [head.partition(",")[0] for head in table.header[1::2]] == ["Black", "White"]
    assert table.body[1][2] == "-10.00 [-10.00, -10.00]"
    assert table.body[1][4] == "+1.00 [+1.00, +1.00]"


def test_several_seeds_are_one_row(tmp_path):
    records = [
        record(probe, value + seed, seed)
        for seed in (0, 1, 2)
        for probe, value in ((AS_IT_IS, 90.0), ("8 bits", 88.0))
    ]
    records += [
        of_group(probe, 90.0, group, seed)
        for seed in (0, 1, 2)
        for probe in (AS_IT_IS, "8 bits")
        for group in ("Black", "White")
    ]
    noise = np.random.default_rng(0).normal(0, 0.1, 200)
    write_records(tmp_path / RECORDS_FILE, records)
    write_replicates(tmp_path / REPLICATES_FILE, {r.name: r.value + noise for r in records})
    (one,) = audited(tmp_path)
    assert one.figures[AS_IT_IS, ("gender accuracy", "", "")].value == pytest.approx(91)
    low, high = one.figures[AS_IT_IS, ("gender accuracy", "", "")].interval
    assert high - low > 3  # of seeds that differ by a point
    assert "seeds 0, 1, 2" in cost_table(one).notes[0]


@pytest.mark.parametrize(
    ("name", "heading"), [("utkface_gender", "## Gender"), ("rendered_expression", "## Expression")]
)
def test_the_kept_page_says_what_its_records_say(name, heading):
    """All but changes: they are of replicates, which are not kept."""
    kept = read_records(ROOT / f"checkpoints/records/audit_{name}.jsonl.gz")
    known = {
        (r.probe, f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]") for r in kept if not r.condition
    }
    _, _, section = (ROOT / "checkpoints/audit/audit.md").read_text().partition(heading)
    section, _, _ = section.partition("\n## ")
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if "] |" in line]
    assert len(rows) == 2 * len({r.probe for r in kept}) == 28
    for compression, *cells in rows:
        figures = [cell for cell in cells if re.match(r"\d[\d.]* \[", cell)]
        assert len(figures) >= 2
        for figure in figures:
            assert (compression, figure) in known
