"""Claims: which records are compared, and the verdicts."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from linear_probe.plans.claims.figures import figure
from linear_probe.plans.claims.run import keep, run_claims
from linear_probe.plans.claims.settings import Call
from linear_probe.records.record import RECORDS_FILE, Record, read_records, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates
from ssl_faces import InputError
from tests.claims.stand_ins import STAGE, Runs, claims, run_all, write_figures
from tests.support.cells import cells

GOOD, BAD = [60.0, 60.4, 60.2], [55.0, 55.4, 55.2]


@pytest.mark.parametrize(
    ("idea", "without", "more", "verdict"),
    [
        (GOOD, BAD, {}, "supported"),
        (GOOD, [60.1, 60.5, 60.3], {}, "no effect of interest"),
        # Too small to matter, though the interval excludes 0.
        (GOOD, [59.9, 60.3, 60.1], {}, "no effect of interest"),
        (BAD, GOOD, {}, "contradicted"),
        (GOOD, [60.1, 60.5, 60.3], {"at_most_worse": 1.0}, "supported"),
        ([58.0, 58.4, 58.2], GOOD, {"at_most_worse": 1.0}, "contradicted"),
        ([58.0, 61.4, 58.2], GOOD, {"at_most_worse": 1.0}, "inconclusive"),
        # Seeds that differ more than the heads do.
        ([52.0, 66.0, 59.0], [57.0, 57.1, 57.2], {}, "inconclusive"),
        # Seeds are paired: what is hard for a seed is so for both sides.
        ([55.0, 65.0, 59.0], [52.0, 62.1, 55.9], {}, "supported"),
        # One seed would have no variance over seeds.
        (GOOD[:1], BAD[:1], {}, "one seed: no verdict"),
    ],
)
def test_the_verdict_is_by_the_interval_over_rows_and_seeds(idea, without, more, verdict, tmp_path):
    row = cells(run_all(claims(**more), tmp_path, Runs(idea, without)))
    # Of one claim Holm's correction changes nothing.
    assert (row["verdict"], row["after Holm"]) == (verdict, verdict)
    assert row["without"].startswith(f"{np.mean(without):.2f} [")
    assert ("seeds" in row["would settle it"]) == (verdict == "inconclusive")
    assert row["smallest"] == ("-1.00" if more else "1.00")
    text = (tmp_path / "claims.md").read_text()
    assert f"{np.mean(idea) - np.mean(without):+.2f} [" in text
    assert "FER-2013, n 100; a CPU" in text
    assert "set beforehand" in text


def test_many_claims_are_corrected_for_their_number(tmp_path):
    """Seeds that differ in their gain: p is about 0.02, too much for one of eight."""
    one = claims().claims["better"]
    many = claims().model_copy(update={"claims": {f"claim{i}": one for i in range(8)}})
    runs = Runs(GOOD, [55.0, 57.4, 55.2])
    table = run_all(many, tmp_path, runs)
    row = cells(table, 0)
    assert (row["verdict"], row["after Holm"]) == ("supported", "inconclusive")
    assert any("8 claims were tested" in note and "0.4 verdicts" in note for note in table.notes)


@pytest.mark.parametrize(
    ("runs", "more", "column", "start"),
    [
        # Of errors less is a gain.
        (
            Runs([4.0, 4.1, 4.2], [6.0, 6.1, 6.2], metric="MAE"),
            {"metric": "MAE"},
            "gain",
            "+2.00 [",
        ),
        # Only seeds of both arms count.
        (Runs([60.0, 90.0, 90.0], [50.0]), {}, "gain", "+10.00 ["),
        (Runs([60.0, 90.0, 90.0], [50.0]), {}, "seeds", "1"),
        (Runs([40.0, 41.0], [30.0, 31.0], level=8), {"level": 8}, "verdict", "supported"),
    ],
)
def test_cells_of_rows(runs, more, column, start, tmp_path):
    assert cells(run_all(claims(**more), tmp_path, runs))[column].startswith(start)


def test_a_level_without_records(tmp_path):
    with pytest.raises(InputError, match="no record of accuracy"):
        run_all(claims(level=12), tmp_path, Runs(GOOD, BAD, level=8))


def test_the_claims_of_a_paper_are_counted(tmp_path):
    """And what was tried is printed once, of claims that are not supported."""
    better = claims(tried="twice as long").claims["better"]
    worse = better.model_copy(update={"idea": better.without, "without": better.idea})
    lost = better.model_copy(update={"probe": "kNN", "paper": "another"})
    named = {"a": worse, "b": better, "c": worse, "d": lost}
    given = claims().model_copy(update={"claims": named})
    with pytest.raises(InputError):
        run_all(given, tmp_path, Runs(GOOD, BAD))
    text = (tmp_path / "claims.md").read_text()
    summary, _, each = text.partition("### Claims of the papers")
    assert (
        "| theirs | 1 | - | - | 2 | - | - | 3 |\n| another | - | - | - | - | - | 1 | - |" in summary
    )
    assert each.count("| supported | supported |") == 1
    assert text.count("twice as long") == 1
    assert "\n- a, c, d: twice as long\n" in text


def test_records_that_cannot_be_compared(tmp_path):
    """Of other test rows or draws, or without replicates."""
    runs = Runs([60.0, 60.1], [50.0, 50.1], machines=("a CPU", "another CPU"))
    table = run_all(claims(), tmp_path, runs)
    assert "FER-2013, n 100; a CPU and another CPU" in table.notes
    first = next(tmp_path.glob(f"arms/a-b-*/{RECORDS_FILE}"))
    text, (one, other) = first.read_text(), read_records(first)
    write_records(first, [one, dataclasses.replace(other, sample="others")])
    reasons = [run_claims(claims(), tmp_path)]
    first.write_text(text)
    write_replicates(first.with_name(REPLICATES_FILE), {})
    reasons.append(run_claims(claims(), tmp_path))
    for table, note in zip(reasons, ("several test samples or draws", "has none of"), strict=True):
        assert cells(table)["verdict"] == "not run"
        assert any(note in line for line in table.notes)


@pytest.mark.parametrize(
    ("change", "select", "message"),
    [
        ({"probe": "kNN"}, {"probe": "cvt"}, "accuracy of cvt, kNN; a claim needs one probe"),
        # A stage before is scored on another task.
        ({"task": "exogenous"}, {"task": "expression"}, "exogenous, expression; a claim needs one"),
        (
            {"feature_space": "identity"},
            None,
            "accuracy of end to end, identity by seed 0; a claim",
        ),
    ],
)
def test_a_claim_is_about_one_record_of_a_seed(change, select, message, tmp_path):
    Runs([60.0, 50.0], [])("head", [f"--out={tmp_path}"])
    records = read_records(tmp_path / RECORDS_FILE)
    more = dataclasses.replace(records[0], value=1.0, **change)
    write_records(tmp_path / RECORDS_FILE, [*records, more])
    claim, here = claims().claims["better"], [Call([], [], tmp_path, {})]
    with pytest.raises(InputError, match=message):
        figure(here, claim, [0, 1])
    if select is not None:
        mean, _ = figure(here, claim.model_copy(update=select), [0])
        assert mean.value == 60.0


def test_each_seed_may_choose_its_feature_space(tmp_path):
    Runs([60.0, 50.0], [])("video", [f"--out={tmp_path}"])
    records = read_records(tmp_path / RECORDS_FILE)
    spaces = zip(records, ("identity", "expression"), strict=True)
    write_figures(tmp_path, [dataclasses.replace(r, feature_space=name) for r, name in spaces])
    mean, _ = figure([Call([], [], tmp_path, {})], claims().claims["better"], [0, 1])
    assert mean.value == 55.0


def test_of_several_metrics_the_mean_is_compared(tmp_path):
    def run(verb, words):
        records, replicates = [], {}
        noise = np.random.default_rng(0).normal(0, 0.01, 200)
        for metric, value, sign in (("CCC valence", 0.7, 1), ("CCC arousal", 0.5, -1)):
            for seed in range(3):
                of = ("affect", "faces", "split", "head", "end to end", "head", metric)
                value += 0.001 + (0.0 if seed or "b.yaml" in words else 0.1)
                records.append(Record(*of, value, 0, 1, "", True, 100, seed, hardware="a CPU"))
                # Opposite errors: the mean has none.
                replicates[records[-1].name] = value + sign * noise
        write_figures(Path(words[-1].removeprefix("--out=")), records, replicates)

    several = claims(metric=["CCC valence", "CCC arousal"])
    row = cells(run_all(several, tmp_path, run))
    assert row["without"].startswith("0.602 [")
    # Pairs of seeds with the same gain add nothing.
    assert row["gain"] == "+0.100 [+0.100, +0.100]"
    assert (row["seeds"], row["verdict"]) == ("3", "supported")
    low, high = (float(x) for x in row["without"].partition("[")[2].rstrip("]").split(", "))
    assert high - low == pytest.approx(2 * 4.303 * 0.001 / 3**0.5, abs=0.0012)
    with pytest.raises(InputError, match="no record of RMSE"):
        run_all(claims(metric=["CCC valence", "RMSE"]), tmp_path, run)


@pytest.mark.parametrize(
    ("size_of_idea", "verdict"), [(200, "supported"), (300, "contradicted"), (None, "")]
)
def test_a_claim_about_size_is_of_the_compressed_files(size_of_idea, verdict, tmp_path):
    def cost(size):
        half = {"float16_bytes": 600} if size == 1000 else {}
        return {"compressed_bytes": size, **half}

    def audit(verb, words):
        folder = Path(words[-1].removeprefix("--out="))
        seed = int(words[-2].removeprefix("--seed="))
        earlier = read_records(folder / RECORDS_FILE) if seed else []
        records = [
            Record(
                *("attributes", "faces", "split", "hybrid", "map", probe, "accuracy"),
                *(value, 0, 100, "%", True, 50, seed),
                hyperparameters={"cost": cost(size)} if size else {},
                hardware="a CPU",
            )
            for probe, value, size in (
                ("8 bits", 79.9 + seed, size_of_idea),
                ("as it is", 80.0 + seed, 1000),
            )
        ]
        write_figures(folder, [*earlier, *records])

    arms = {
        name: {"command": "audit", "configs": ["a.yaml"], "row": {"probe": probe}}
        for name, probe in (("idea", "8 bits"), ("without", "as it is"))
    }
    claim = claims(at_most_worse=1.0, at_least_smaller=4, **arms)
    if size_of_idea is None:
        with pytest.raises(InputError, match="records of 8 bits don't have a file's size"):
            run_all(claim, tmp_path, audit)
        return
    row = cells(run_all(claim, tmp_path, audit))
    assert row["verdict"] == verdict
    both = f"{1000 / size_of_idea:.1f} times smaller than in float32, {600 / size_of_idea:.1f}"
    assert row["gain"].endswith(f"; {both} than in float16")


def trained(row, motion="motion.yaml", verb="truth"):
    """An arm that is trained by `ssl-faces fit` in two stages."""
    second = {"trainer.max_steps": 3, "model.motion_checkpoint": "{previous}/last.ckpt"}
    return {
        "command": verb,
        "arguments": {"run": "{fit}", "no-untrained": True},
        "fit": [STAGE | {"configs": [motion]}, {"configs": ["second.yaml"], "arguments": second}],
        "row": {"encoder": row},
    }


class Truths:
    """Stands for `linear-probe truth`: errors of two rows of a folder, a seed each."""

    def __init__(self):
        self.calls: list[list[str]] = []
        self.fits: list[list[str]] = []

    def __call__(self, verb, words):
        self.calls.append([verb, *words])
        given = dict(word.removeprefix("--").split("=") for word in words if "=" in word)
        folder, fit = Path(given["out"]), given["run"]
        seed = int(folder.name.removeprefix("seed"))
        records = [
            Record(
                *("frontal face", "faces", "split", encoder, "", "none", "face L1"),
                *(value + seed / 10, 0, 20, "%", False, 50, 0),
                hardware="a CPU",
            )
            for encoder, value in ((fit, 6.0), ("return the input", 9.0))
        ]
        write_figures(folder, records)


def run_trained(out, seeds, **without):
    runs = Truths()
    claim = claims(
        metric="face L1", idea=trained("{fit}"), without=trained("return the input", **without)
    )
    claim = claim.model_copy(update={"seeds": seeds})
    table = run_all(claim, out, runs)
    return runs, cells(table)


def folder_of(fit):
    return fit[fit.index("--out") + 1]


def test_encoders_are_trained_first_by_every_seed(tmp_path):
    runs, row = run_trained(tmp_path, [0, 1, 2])
    # Both rows are of the same folders, which are made once.
    assert [call[0] for call in runs.calls] == ["truth"] * 3
    assert len(runs.fits) == 6
    first, second = runs.fits[2:4]
    seed = ["--seed_everything", "1", "--data.seed", "1"]
    assert first[:8] == ["-c", "motion.yaml", "--trainer.max_steps", "5", *seed]
    assert f"{folder_of(first)}/last.ckpt" in second
    assert f"--run={folder_of(second)}" in runs.calls[1]
    assert "--no-untrained" in runs.calls[1]
    assert folder_of(first).endswith("/seed1")
    assert (row["seeds"], row["verdict"]) == ("3", "supported")
    assert row["gain"].startswith("+3.00 [")


def test_seeds_of_earlier_calls_count(tmp_path):
    run_trained(tmp_path, [0])
    runs, row = run_trained(tmp_path, [4])
    assert len(runs.calls) == 1
    assert row["seeds"] == "2"
    assert row["with"].startswith("6.20 [")


def test_records_give_the_same_table_wherever_they_are(tmp_path):
    run_trained(tmp_path / "here", [0, 1])
    shutil.copytree(tmp_path / "here/arms", tmp_path / "there/arms")
    claim = claims(metric="face L1", idea=trained("{fit}"), without=trained("return the input"))

    def row(folder):
        return cells(run_claims(claim, tmp_path / folder))

    assert row("there") == row("here")
    assert (row("there")["seeds"], row("there")["verdict"]) == ("2", "supported")
    lost = ("with", "without", "gain", "seeds", "after Holm", "smallest")
    nothing = dict.fromkeys(lost, "-") | {"verdict": "not run"}
    assert row("nowhere") == row("here") | nothing
    # A run that was stopped half way.
    for path in (tmp_path / "there").glob(f"arms/*/seed1/{RECORDS_FILE}"):
        write_records(path, [])
    assert row("there") == row("here") | nothing


def test_the_records_of_a_table_are_kept_and_no_more(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    run_trained(here, [0])
    claim = claims(metric="face L1", idea=trained("{fit}"), without=trained("return the input"))
    for path in here.glob(f"arms/*/seed0/{RECORDS_FILE}"):
        records = read_records(path)
        other = dataclasses.replace(records[0], metric="face SSIM")
        write_records(path, [*records, other])
    assert keep(claim, here, there) == 2

    def row(folder):
        return cells(run_claims(claim, folder))

    assert row(there) == row(here)
    # What was trained is named from its folder of claims, wherever that was.
    names = [r.encoder for path in there.rglob(RECORDS_FILE) for r in read_records(path)]
    assert sorted(name.split("/")[0] for name in names) == ["fits", "return the input"]
    # Of another run with another seed: both are there then.
    run_trained(tmp_path / "later", [1])
    keep(claim, tmp_path / "later", there)
    assert row(there)["seeds"] == "2"


def test_stages_that_begin_alike_are_shared(tmp_path):
    runs, _ = run_trained(tmp_path, [0], motion="other.yaml")
    assert len({folder_of(fit) for fit in runs.fits}) == len(runs.fits) == 4
    # What another verb scores is trained once all the same.
    runs, _ = run_trained(tmp_path / "other", [0], verb="run")
    assert len(runs.fits) == 2
    # An encoder that is there is not trained again.
    for path in (tmp_path / "other").rglob(RECORDS_FILE):
        path.unlink()
    runs, _ = run_trained(tmp_path / "other", [0], verb="run")
    assert (len(runs.fits), len(runs.calls)) == (0, 2)
