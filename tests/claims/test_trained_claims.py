"""Claims of encoders that `ssl-faces fit` trains first."""

import dataclasses
import shutil
from pathlib import Path

from linear_probe.plans.claims.run import keep, run_claims
from linear_probe.records.record import RECORDS_FILE, Record, read_records, write_records
from tests.claims.stand_ins import STAGE, claims, run_all, write_figures
from tests.support.cells import cells


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
