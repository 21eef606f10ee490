"""Rows over seeds and probes, and curves."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from linear_probe.report import table
from linear_probe.rows import cell, rows
from tests.linear_probe.conftest import ONE


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def line_of(text: str, start: str) -> list[str]:
    (found,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return cells(found)


def test_mean_spread_and_mean_interval_over_seeds() -> None:
    values = [44.0, 45.0, 47.5]
    seeds = [replace(ONE, value=v, low=v - 1, high=v + 2 + i, seed=i) for i, v in enumerate(values)]
    mean = np.mean(values)
    ends = f"[{mean - 1:.2f}, {mean + 3:.2f}]"
    assert cell(seeds) == f"{mean:.2f} ±{np.std(values, ddof=1):.2f} {ends}"
    assert cell(seeds[:1]) == "44.00 [43.00, 46.00]"
    text = table(seeds)
    assert line_of(text, "runs/a")[2] == cell(seeds)
    assert "seeds 0, 1, 2: mean ± standard deviation" in text


def test_a_row_of_fewer_seeds_says_so() -> None:
    text = table([ONE, replace(ONE, seed=1), replace(ONE, encoder="b", seed=1)])
    assert line_of(text, "b,")[0] == "b, seed 1 only"
    assert line_of(text, "runs/a")[0] == "runs/a"


def test_probes_of_one_metric_have_rows_of_their_own() -> None:
    knn = replace(ONE, metric="kNN accuracy", probe="kNN", value=30.0)
    sgd = replace(ONE, probe="SGD", value=48.0)
    for order in ([ONE, knn, sgd], [knn, ONE, sgd]):
        found = rows(order)
        assert [(row.probe, set(row.figures)) for row in found] == [
            ("logistic regression", {"accuracy", "kNN accuracy"}),
            ("SGD", {"accuracy"}),
        ]
    text = table([ONE, knn, sgd])
    header, *body = [cells(x) for x in text.splitlines() if x.strip().startswith(("enc", "runs/a"))]
    assert header[:3] == ["encoder", "features", "probe"]
    assert [row[2] for row in body] == ["logistic regression", "SGD"]


def test_a_reference_by_no_probe_needs_no_column() -> None:
    mean = replace(ONE, encoder="predict the mean", feature_space="", probe="none")
    assert "probe" not in cells(table([ONE, mean]).splitlines()[2])


def test_curves_stand_apart_from_the_table() -> None:
    points = [
        replace(
            ONE,
            value=value,
            low=value - 1,
            high=value + 1,
            condition={"factor": "labels", "level": level, "unit": "%"},
        )
        for level, value in ((10.0, 30.0), (1.0, 20.0))
    ]
    text = table([ONE, *points])
    head, curve = text.split(
        "\n\nexpression: FER-2013, Training -> PublicTest: accuracy % by labels"
    )
    assert "30.00" not in head
    assert "44.12" in head
    lines = [cells(line) for line in curve.splitlines() if line.strip()]
    assert lines[0] == ["encoder", "features", "1 %", "10 %", "as it is"]
    assert lines[2] == [
        *("runs/a", "expression_map", "20.00 [19.00, 21.00]", "30.00 [29.00, 31.00]"),
        "44.12 [42.50, 45.75]",
    ]
    assert "labels" not in table([ONE, *points], validation=True)


@pytest.mark.parametrize("metric", ["accuracy", "mean class recall"])
def test_a_curve_is_of_the_first_metric(metric: str) -> None:
    point = {"factor": "blur", "level": 2.0, "unit": "% of the side"}
    found = [
        replace(ONE, metric=m, condition=point)
        for m in (metric, *{"accuracy", "mean class recall"} - {metric})
    ]
    assert f": {metric} % by blur" in table(found)
