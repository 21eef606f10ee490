"""Claims: what is told of records, and which of them are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from linear_probe.plans.claims.figures import figure
from linear_probe.plans.claims.run import run_claims
from linear_probe.plans.claims.settings import Call
from linear_probe.records.record import RECORDS_FILE, Record, read_records, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates
from ssl_faces import InputError
from tests.cells import cells
from tests.claims.stand_ins import Runs, claims


@pytest.mark.parametrize(
    ("idea", "without", "more", "said"),
    [
        ([60.0, 60.4, 60.2], [55.0, 55.4, 55.2], {}, "holds"),
        ([60.0, 60.4, 60.2], [60.1, 60.5, 60.3], {}, "not seen here"),
        ([55.0, 55.4, 55.2], [60.0, 60.4, 60.2], {}, "the contrary is seen"),
        ([60.0, 60.4, 60.2], [60.1, 60.5, 60.3], {"at_most_worse": 1.0}, "holds"),
        ([58.0, 58.4, 58.2], [60.1, 60.5, 60.3], {"at_most_worse": 1.0}, "the contrary is seen"),
        # Seeds that differ more than the heads do.
        ([52.0, 66.0, 59.0], [57.0, 57.1, 57.2], {}, "not seen here"),
    ],
)
def test_the_verdict_is_by_the_interval_over_rows_and_seeds(
    idea: list[float], without: list[float], more: dict[str, float], said: str, tmp_path: Path
) -> None:
    table = run_claims(claims(**more), tmp_path, Runs(idea, without), say=lambda line: None)
    assert cells(table)["verdict"] == said
    assert cells(table)["without"].startswith(f"{np.mean(without):.2f} [")
    text = (tmp_path / "claims.md").read_text()
    assert f"{np.mean(idea) - np.mean(without):+.2f} [" in text
    assert "FER-2013, n 100; a CPU" in text


def test_the_claims_of_a_paper_are_counted(tmp_path: Path) -> None:
    given = claims()
    better = given.claims["better"]
    swapped = better.model_copy(update={"idea": better.without, "without": better.idea})
    lost = better.model_copy(update={"probe": "kNN", "paper": "another"})
    given = given.model_copy(update={"claims": {"a": better, "b": swapped, "c": better, "d": lost}})
    with pytest.raises(InputError):
        run_claims(given, tmp_path, Runs([60.0, 60.2, 60.4], [50.0, 50.2, 50.4]), say=str)
    summary, _, each = (tmp_path / "claims.md").read_text().partition("### Claims of the papers")
    assert "| theirs | 2 | - | 1 | - | 3 |\n| another | - | - | - | 1 | - |" in summary
    assert each.count("| holds |") == 2


def test_what_was_tried_is_told_once_of_claims_that_do_not_hold(tmp_path: Path) -> None:
    given = claims(tried="twice as long")
    better = given.claims["better"]
    worse = better.model_copy(update={"idea": better.without, "without": better.idea})
    given = given.model_copy(update={"claims": {"a": worse, "b": better, "c": worse}})
    table = run_claims(given, tmp_path, Runs([60.0, 60.2], [50.0, 50.2]), say=str)
    assert [cells(table, i)["name"] for i in range(len(table.body))] == ["a", "b", "c"]
    assert table.notes[-1] == "a, c: twice as long"
    assert "\n- a, c: twice as long\n" in (tmp_path / "claims.md").read_text()


def test_only_seeds_that_both_sides_have_count(tmp_path: Path) -> None:
    runs = Runs([60.0, 90.0, 90.0], [50.0])
    row = cells(run_claims(claims(), tmp_path, runs, say=lambda line: None))
    assert row["with"].startswith("60.00 [")
    assert row["gain"].startswith("+10.00 [")
    assert (row["seeds"], row["verdict"]) == ("1", "holds")


def test_figures_of_other_test_rows_or_draws_are_not_compared(tmp_path: Path) -> None:
    runs = Runs([60.0, 60.1], [50.0, 50.1])
    run_claims(claims(), tmp_path, runs, say=lambda line: None)
    (first, *_) = tmp_path.glob(f"arms/*/{RECORDS_FILE}")
    one, other = read_records(first)
    write_records(first, [one, dataclasses.replace(other, sample="others")])
    table = run_claims(claims(), tmp_path, runs, say=lambda line: None, only_table=True)
    assert cells(table)["verdict"] == "not run"
    assert any("of several test samples or draws" in note for note in table.notes)


def test_all_machines_are_named(tmp_path: Path) -> None:
    runs = Runs([60.0], [55.0], machines=("a CPU", "another CPU"))
    table = run_claims(claims(), tmp_path, runs, say=lambda line: None)
    assert "FER-2013, n 100; a CPU and another CPU" in table.notes


def test_of_errors_less_is_a_gain(tmp_path: Path) -> None:
    runs = Runs([4.0, 4.1, 4.2], [6.0, 6.1, 6.2], metric="MAE age")
    table = run_claims(claims(metric="MAE age"), tmp_path, runs, say=lambda line: None)
    assert cells(table)["gain"].startswith("+2.00 [")
    assert cells(table)["verdict"] == "holds"


def test_a_claim_about_a_level_is_of_its_records(tmp_path: Path) -> None:
    runs = Runs([40.0, 41.0], [30.0, 31.0], level=8)
    table = run_claims(claims(level=8), tmp_path, runs, say=lambda line: None)
    assert cells(table)["verdict"] == "holds"
    with pytest.raises(InputError, match="no record of accuracy"):
        run_claims(claims(level=12), tmp_path, runs, say=lambda line: None)


def test_records_without_their_replicates_are_told(tmp_path: Path) -> None:
    runs = Runs([40.0], [30.0])
    run_claims(claims(), tmp_path, runs, say=lambda line: None)
    (file,) = (tmp_path / "arms").glob("a-b-*/replicates.safetensors")
    write_replicates(file, {})
    table = run_claims(claims(), tmp_path, runs, say=lambda line: None, only_table=True)
    assert cells(table)["verdict"] == "not run"
    assert any("replicates.safetensors: has none of" in note for note in table.notes)


def test_of_several_probes_the_claim_names_one(tmp_path: Path) -> None:
    run = Runs([60.0], [50.0])
    run("head", [f"--out={tmp_path}"])
    (record,) = read_records(tmp_path / RECORDS_FILE)
    other = dataclasses.replace(record, probe="kNN", value=1.0)
    write_records(tmp_path / RECORDS_FILE, [record, other])
    claim = claims().claims["better"]
    here = [Call([], [], tmp_path, {})]
    with pytest.raises(InputError, match="accuracy of cvt, kNN; a claim needs one probe"):
        figure(here, claim, [0, 1])
    found, _ = figure(here, claim.model_copy(update={"probe": "cvt"}), [0])
    assert found.value == 60.0
    # What a stage before was scored on is another task.
    earlier = dataclasses.replace(record, task="exogenous", value=2.0)
    write_records(tmp_path / RECORDS_FILE, [earlier, record])
    with pytest.raises(InputError, match="exogenous, expression; a claim needs one task"):
        figure(here, claim, [0, 1])
    found, _ = figure(here, claim.model_copy(update={"task": "expression"}), [0])
    assert found.value == 60.0


def test_seeds_may_choose_a_feature_space_each_but_one(tmp_path: Path) -> None:
    run = Runs([60.0, 50.0], [])
    run("video", [f"--out={tmp_path}"])
    records = read_records(tmp_path / RECORDS_FILE)
    chosen = [
        dataclasses.replace(record, feature_space=space)
        for record, space in zip(records, ("identity", "expression"), strict=True)
    ]
    write_records(tmp_path / RECORDS_FILE, chosen)
    write_replicates(tmp_path / REPLICATES_FILE, {r.name: np.full(200, r.value) for r in chosen})
    here, claim = [Call([], [], tmp_path, {})], claims().claims["better"]
    found, _ = figure(here, claim, [0, 1])
    assert found.value == 55.0
    write_records(tmp_path / RECORDS_FILE, [*chosen, records[0]])
    with pytest.raises(InputError, match="accuracy of end to end, identity by seed 0; a claim ne"):
        figure(here, claim, [0, 1])


def test_of_several_metrics_the_mean_is_compared(tmp_path: Path) -> None:
    def run(verb: str, words: Sequence[str]) -> list[Record]:
        folder = Path(words[-1].removeprefix("--out="))
        more = 0.0 if "b.yaml" in words else 0.1
        records, replicates = [], {}
        noise = np.random.default_rng(0).normal(0, 0.01, 200)
        for metric, value, sign in (("CCC valence", 0.7, 1), ("CCC arousal", 0.5, -1)):
            for seed in range(3):
                of = ("affect", "faces", "split", "head", "end to end", "head", metric)
                value += 0.001
                record = Record(*of, value + more, 0, 1, "", True, 100, seed, hardware="a CPU")
                records.append(record)
                # Errors that are each other's contrary: the mean has none.
                replicates[record.name] = record.value + sign * noise
        write_records(folder / RECORDS_FILE, records)
        write_replicates(folder / REPLICATES_FILE, replicates)
        return records

    several = claims(metric=["CCC valence", "CCC arousal"])
    row = cells(run_claims(several, tmp_path, run, say=lambda line: None))
    assert row["without"].startswith("0.602 [")
    assert row["gain"].startswith("+0.100 [+0.0")
    assert (row["seeds"], row["verdict"]) == ("3", "holds")
    low, high = (float(x) for x in row["without"].partition("[")[2].rstrip("]").split(", "))
    assert high - low == pytest.approx(2 * 4.303 * 0.001 / 3**0.5, abs=0.0012)
    with pytest.raises(InputError, match="no record of RMSE"):
        run_claims(claims(metric=["CCC valence", "RMSE"]), tmp_path, run, say=lambda line: None)


@pytest.mark.parametrize(
    ("bytes_of_idea", "said"), [(200, "holds"), (300, "the contrary is seen"), (None, "error")]
)
def test_a_claim_about_size_is_of_the_compressed_files(
    bytes_of_idea: int | None, said: str, tmp_path: Path
) -> None:
    def audit(verb: str, words: Sequence[str]) -> None:
        folder = Path(words[-1].removeprefix("--out="))
        records = [
            Record(
                *("attributes", "faces", "split", "hybrid", "map", probe, "accuracy"),
                *(value, 0, 100, "%", True, 50, 0),
                hyperparameters={"cost": {"compressed_bytes": size}} if size else {},
                hardware="a CPU",
            )
            for probe, value, size in (("8 bits", 79.9, bytes_of_idea), ("as it is", 80.0, 1000))
        ]
        noise = np.random.default_rng(0).normal(0, 0.2, 200)
        write_records(folder / RECORDS_FILE, records)
        write_replicates(folder / REPLICATES_FILE, {r.name: r.value + noise for r in records})

    arms = {
        name: {"command": "audit", "configs": ["a.yaml"], "row": {"probe": probe}}
        for name, probe in (("idea", "8 bits"), ("without", "as it is"))
    }
    claim = claims(at_most_worse=1.0, at_least_smaller=4, **arms)
    if said == "error":
        with pytest.raises(InputError, match="records of 8 bits don't tell a file's size"):
            run_claims(claim, tmp_path, audit, say=lambda line: None)
        return
    row = cells(run_claims(claim, tmp_path, audit, say=lambda line: None))
    assert row["verdict"] == said
    assert row["gain"].endswith(f"; {1000 / (bytes_of_idea or 1):.1f} times smaller")
