"""Markdown, CSV and W&B reports, plots, and what runs leave for reports."""

import csv
import dataclasses
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from linear_probe.cli import main
from linear_probe.features.files import find_features
from linear_probe.features.frozen import FeatureCache, Pictures
from linear_probe.records.predictions import Predictions
from linear_probe.records.record import RECORDS_FILE, Record, write_records
from linear_probe.records.recorder import RunFolder
from linear_probe.reports import plots, wandb_tables
from linear_probe.reports.feature_map import coloured, feature_map, sampled
from linear_probe.reports.wandb_tables import log_to_wandb, parse_target
from ssl_faces import InputError
from ssl_faces.data.sets.fer2013 import Fer2013
from tests.support.records import ONE

BLUR = [
    replace(ONE, condition={"factor": "blur", "level": level, "unit": "px"}, value=value)
    for level, value in ((1, 40.5), (2, 30.25))
]
RECORDS = [replace(ONE, hyperparameters={"l2": 0.1}), replace(ONE, seed=1, value=46.0), *BLUR]


@pytest.fixture
def folder(tmp_path):
    write_records(tmp_path / RECORDS_FILE, RECORDS)
    RunFolder(tmp_path).add_command(["run", "--encoder", "my run"])
    return tmp_path


def test_csv_has_every_field_of_every_record(folder):
    assert main(["report", str(folder), "--out", str(folder / "r.CSV")]) == 0
    with (folder / "r.CSV").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    read = []
    for row in rows:
        fields = dict(row)
        for field in dataclasses.fields(Record):
            text = row[field.name]
            if str(field.type) in ("float", "int"):
                fields[field.name] = float(text) if field.type == "float" else int(text)
            elif str(field.type) == "bool":
                fields[field.name] = text == "True"
            elif str(field.type).startswith("dict"):
                fields[field.name] = json.loads(text)
        read.append(Record(**fields))
    assert read == RECORDS


def test_markdown_has_tables_curves_and_commands(folder):
    assert main(["report", str(folder), "--out", str(folder / "r.md")]) == 0
    text = (folder / "r.md").read_text()
    assert re.search(r"\| a \| expression_map \| 45.06 ± 1.33 \| 0, 1 \| 3,589 \|", text)
    assert "| a · expression_map | 40.50 [42.50, 45.75] | 30.25 [42.50, 45.75] | 45.06" in text
    assert "linear-probe run --encoder 'my run'" in text


def test_wandb_offline_needs_no_account(folder, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert main(["report", str(folder), "--wandb", "probes/first"]) == 0
    assert "W&B: 3 tables and plots logged to" in capsys.readouterr().out
    logged = [json.loads(p.read_text()) for p in folder.glob("wandb/offline-run-*/**/*.table.json")]
    (table,) = [one for one in logged if "encoder" in one["columns"]]
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert row["encoder"] == "a"
    assert row["accuracy %"] == pytest.approx((44.123 + 46.0) / 2)
    curve = next(one for one in logged if "blur (px)" in one["columns"])
    rows = [dict(zip(curve["columns"], row, strict=True)) for row in curve["data"]]
    assert [(row["1"], row["1, interval"], row["2"]) for row in rows] == [
        (40.5, "[42.50, 45.75]", 30.25)
    ]


def test_wandb_never_fails_a_report(folder, monkeypatch, capsys):
    tried = []

    def unreachable(*given):
        tried.append(given[-1])
        raise ConnectionError("no route\nto the server")

    monkeypatch.setattr(wandb_tables, "_log", unreachable)
    monkeypatch.setattr(wandb_tables, "has_account", lambda: True)
    monkeypatch.setenv("WANDB_MODE", "online")
    assert main(["report", str(folder), "--wandb", "probes"]) == 0
    assert tried == ["online", "offline"]
    assert "W&B: nothing logged (offline failed: no route to the server)" in capsys.readouterr().out
    monkeypatch.setattr(wandb_tables, "has_account", lambda: False)
    log_to_wandb(RECORDS, "probes")
    assert tried[2:] == ["offline"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert "WANDB_MODE=disabled" in log_to_wandb(RECORDS, "probes")


def test_wandb_targets():
    assert parse_target("a") == ("a", None)
    assert parse_target("a/b") == ("a", "b")
    for wrong in ("", "/", "a/", "a/b/c", " "):
        with pytest.raises(InputError, match="PROJECT"):
            parse_target(wrong)


def test_ticks_are_round_and_within():
    rng = np.random.default_rng(0)
    for low, width in zip(rng.normal(0, 50, 200), 10 ** rng.uniform(-3, 4, 200), strict=True):
        found = plots.ticks(low, low + width)
        assert 2 <= len(found) <= 7
        assert low - 1e-9 * width <= found[0] < found[-1] <= low + width * (1 + 1e-9)
        steps = np.diff(found)
        assert np.allclose(steps, steps[0])
        assert f"{steps[0]:.0e}"[0] in "125"


def test_intervals_are_drawn_in_proportion():
    bars = [plots.Bar("a", 10, 5, 20), plots.Bar("<b>", 15, 12.5, 17.5)]
    svg = plots.interval_plot("t", [(bar.name, [bar]) for bar in bars], "%")
    ends = [
        tuple(map(float, found))
        for found in re.findall(r'x1="([\d.]+)" y1="\d+" x2="([\d.]+)" y2="\d+" stroke', svg)
    ]
    scale = (ends[0][1] - ends[0][0]) / 15
    assert ends[1][0] - ends[0][0] == pytest.approx(7.5 * scale, abs=0.2)
    assert ends[1][1] - ends[1][0] == pytest.approx(5 * scale, abs=0.2)
    assert "<b>" not in svg
    assert "&lt;b&gt;" in svg


def test_groups_of_intervals_share_an_axis_and_have_their_colours():
    rows = [
        [plots.Bar("<old>", 10, 5, 20), plots.Bar("young", 15, 12.5, 17.5)],
        [plots.Bar("<old>", 11, 6, 21), plots.Bar("young", 16, 13.5, 18.5)],
    ]
    svg = plots.interval_plot("t", [*zip(["first", "<second>"], rows, strict=True)], "%")
    found = re.findall(r'x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="\2" stroke="(#\w+)"', svg)
    starts, heights, ends, colours = zip(*found, strict=True)
    assert [*map(float, heights)] == sorted({*map(float, heights)})  # each has its own
    assert list(colours) == [key.colour for key in plots.keys(["<old>", "young"])] * 2
    scale = (float(ends[0]) - float(starts[0])) / 15
    assert float(starts[2]) - float(starts[0]) == pytest.approx(scale, abs=0.2)
    assert "&lt;second&gt;, &lt;old&gt;: 11.00 [6.00, 21.00] %" in svg
    assert "<old>" not in svg


def test_single_points_have_bars_and_are_hollow_where_colours_come_again():
    count = len(plots.COLOURS) + 2
    lines = [
        plots.Line(f"p{i}", [i + 1], [10 * i], [10 * i - 5], [10 * i + 10]) for i in range(count)
    ]
    svg = plots.line_plot("t", lines, "x", "y")
    bars = re.findall(r'x1="([\d.]+)" y1="([\d.]+)" x2="\1" y2="([\d.]+)" stroke="(#\w+)"', svg)
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="3" fill="(#\w+)" stroke="(#\w+)"', svg)
    assert len(bars) == len(dots) == count
    for (at, low, high, colour), (x, y, fill, edge) in zip(bars, dots, strict=True):
        assert (at, colour) == (x, edge)
        # A third of the bar is below the point.
        assert (float(low) - float(y)) / (float(low) - float(high)) == pytest.approx(
            1 / 3, abs=0.05
        )
        assert fill in (edge, "#ffffff")
    drawn = [(fill, edge) for _, _, fill, edge in dots]
    assert len({*drawn}) == count


def test_the_map_keeps_clusters_together_and_is_the_same_each_time():
    rng = np.random.default_rng(0)
    of = np.arange(150) % 3
    features = (8 * np.eye(3)[of] @ rng.normal(size=(3, 40)) + rng.normal(size=(150, 40))).astype(
        np.float32
    )
    places = feature_map(features)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert (of[gaps.argmin(axis=1)] == of).mean() > 0.98
    assert (feature_map(features) == places).all()
    for wrong, expected in (
        (features[:10], "too few"),
        (np.ones((50, 4)), "constant features"),
        (np.full((50, 4), np.nan), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=expected):
            feature_map(wrong)


def test_values_are_coloured_by_equal_parts_and_large_sets_sampled():
    values = np.random.default_rng(0).normal(0, 20, 5000)
    keys = list(map(str, range(5000)))
    found = Predictions("regression", keys, values, values, np.zeros((5000, 0)))
    rows = sampled(found)
    assert len(set(rows.tolist())) == 2000
    colours, names = coloured(found, rows)
    assert np.bincount(colours).tolist() == [500] * 4
    assert len(names) == 4
    assert values[rows][colours == 0].max() < values[rows][colours == 3].min()


class _Mean:
    """The mean colour, as a source."""

    name, input_size, fingerprint = "mean", 8, "f" * 64

    def __init__(self):
        self.dims = {"colour": 3}

    def to(self, device): ...

    def __call__(self, images):
        return {"colour": images.mean(dim=(2, 3))}


def test_features_are_found_from_records_alone(small_data, tmp_path):
    faces = Fer2013(small_data / "fer2013", "all")
    pictures = Pictures(faces, np.arange(20, 60))
    cache = FeatureCache(tmp_path)
    cache.fill([_Mean()], pictures)
    record = ("f" * 16, "colour")
    keys = [faces.records[i].key for i in (50, 21, 33)]
    found = find_features(tmp_path, *record, keys)
    expected = [faces.read(i).reshape(-1, 3).mean(axis=0) / 255 for i in (50, 21, 33)]
    assert found == pytest.approx(np.array(expected), abs=0.02)
    assert find_features(tmp_path, *record, [faces.records[1].key]) is None
    assert find_features(tmp_path, "e" * 16, "colour", keys) is None
    assert find_features(tmp_path, "f" * 16, "other", keys) is None
    # Features of changed images are never those that a report shows.
    FeatureCache(tmp_path / "changed").fill([_Mean()], Pictures(faces, pictures.indices, True))
    assert find_features(tmp_path / "changed", *record, keys) is None
