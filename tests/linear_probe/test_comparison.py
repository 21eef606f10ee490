"""The table of a comparison, from made-up records whose means and winners are known."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from linear_probe.cli import main
from linear_probe.records.record import RECORDS_FILE, read_records
from linear_probe.records.replicates import REPLICATES_FILE
from linear_probe.reports.comparison import comparison
from linear_probe.reports.comparison_table import as_table, write_comparison
from linear_probe.stats.intervals import few_people_note
from linear_probe.tasks.identity import WHITENED
from ssl_faces import InputError
from tests.support.comparisons import a_method, a_run, outcome, save, scored


def cells(folder):
    """The table's cells by row and heading."""
    table = as_table(comparison(folder))
    return {row[0]: dict(zip(table.header, map(marked, row), strict=True)) for row in table.cells}


def marked(cell):
    return f"**{cell}**" if cell.best else str(cell)


def test_means_intervals_and_what_they_took(tmp_path):
    rows = [
        scored("out/a/seed0", "map", outcome(0.50)),
        scored("out/a/seed1", "map", outcome(0.54)),
        scored("out/b/seed0", "map", outcome(0.60)),
        scored("HOG", "grey", outcome(0.90)),
        scored("out/a/seed0, untrained", "map", outcome(0.30)),
    ]
    rows += [
        scored(r.encoder, "map", outcome(0.4), metric="kNN accuracy", probe="kNN")
        for r, _ in rows[:2]
    ]
    few = few_people_note(6)
    rows = [(replace(r, note=few) if r.probe == "kNN" else r, draws) for r, draws in rows]
    both = [a_run("out/a/seed0"), a_run("out/a/seed1", 1, seconds=150.0)]
    one = a_method("b", a_run("out/b/seed0", uses_identity_labels=True, two_image_share=0.753))
    failed = a_method("c", error="its loss is not finite")
    folder = save(tmp_path, rows, [a_method("a", *both), one, failed])
    found = cells(folder)
    assert list(found) == ["a", "b", "c", "HOG", "a, untrained"]
    # Two seeds: spread sqrt(8) / 2 x 2; the interval is wider than that of a single one.
    assert found["a"]["expression accuracy %"].startswith("52.00 ± 2.83 [")
    assert found["a"]["expression kNN accuracy %"].startswith("40.00 ± 0.00 [3")
    assert found["a"]["features"] == "map"
    assert found["a"]["identity labels"] == "no"
    took = [found["a"][name] for name in ("seeds", "steps", "pairs", "PFLOP", "minutes")]
    assert took == ["0, 1", "100 + 20", "1,920", "0.25", "2.0"]
    low, high = np.percentile(rows[2][1], (2.5, 97.5))
    assert found["b"]["expression accuracy %"] == f"**60.00 [{low:.2f}, {high:.2f}]**"
    assert found["b"]["expression kNN accuracy %"] == "-"
    assert found["b"]["identity labels"] == "yes"
    assert [found[name]["two-image pairs %"] for name in "ab"] == ["", "75"]
    assert found["c"]["features"] == "failed: its loss is not finite"
    assert as_table(comparison(folder)).notes.count(f"expression, FER-2013: {few}") == 1
    # Better than all, and not among those that compete.
    assert found["HOG"]["expression accuracy %"].startswith("90.00 [")


def test_who_is_tied_with_the_best(tmp_path):
    """Of 1,000 rows 30 that differ in one direction are significant, 2 of 3 are not."""
    best = outcome(0.6)
    close = best.copy()
    close[[0, 1]], close[999] = False, True
    rows = [
        scored("out/close", "map", close),
        scored("out/best", "map", best),
        scored("out/worse", "map", outcome(0.57)),
        scored("out/other", "map", outcome(0.57), metric="kNN accuracy", probe="kNN"),
    ]
    methods = [a_method(name, a_run(f"out/{name}")) for name in ("close", "best", "worse", "other")]
    folder = save(tmp_path, rows, methods)
    found = cells(folder)
    heading = "expression accuracy %"
    assert [name for name, row in found.items() if "**" in row[heading]] == ["best"]
    assert [name for name, row in found.items() if "≈" in row[heading]] == ["close"]
    table = write_comparison(folder)
    assert any("2 paired tests" in note and "Holm" in note for note in table.notes)
    lines = list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))
    by_name = {line["method"]: line for line in lines}
    assert float(by_name["worse"]["gap"]) == pytest.approx(-3)
    assert float(by_name["worse"]["p_corrected"]) == pytest.approx(2 / 1000)
    assert by_name["close"]["tied"] == "yes"
    assert float(by_name["close"]["p"]) > 0.05
    assert by_name["best"]["best"] == "yes"
    assert by_name["best"]["gap"] == ""
    assert (folder / "comparison.md").read_text().count("\n| ") == 6
    # Scored on other rows, it is not tested.
    rows[2] = (replace(rows[2][0], sample="t"), rows[2][1])
    found = cells(save(tmp_path, rows, methods))
    assert found["worse"][heading].startswith("57.00 [")
    assert "≈" not in found["worse"][heading]


def test_errors_are_better_when_low(tmp_path):
    yaw = {"task": "pose", "metric": "MAE yaw", "unit": "degrees", "higher_is_better": False}
    rows = [
        (
            replace(scored(name, "map", outcome(0.5), **yaw)[0], value=v, low=v, high=v),
            np.full(1000, v),
        )
        for name, v in (("out/a", 9.0), ("out/b", 7.0))
    ]
    found = cells(save(tmp_path, rows, [a_method(n, a_run(f"out/{n}")) for n in "ab"]))
    assert found["b"]["pose MAE yaw °"] == "**7.00 [7.00, 7.00]**"
    assert found["a"]["pose MAE yaw °"] == "9.00 [9.00, 9.00]"


def test_spaces_are_chosen_on_the_validation_split(tmp_path):
    """By the mean over seeds, for all metrics of the task; what the test part says is no matter."""
    yaw = {"task": "pose", "metric": "MAE yaw", "unit": "degrees", "higher_is_better": False}
    rows = []
    for seed, (code, conv) in enumerate(((50.0, 45.0), (50.0, 58.0))):
        name = f"out/a/seed{seed}"
        rows += [
            scored(name, "code", outcome(0.7), validation={"accuracy": code}),
            scored(name, "map", outcome(0.6), validation={"accuracy": conv}),
            scored(name, "code", outcome(0.5), metric="kNN accuracy", probe="kNN"),
            scored(name, "map", outcome(0.4), metric="kNN accuracy", probe="kNN"),
            # A low error is the better one.
            scored(name, "code", outcome(0.1), validation={"MAE": 3.0}, **yaw),
            scored(name, "map", outcome(0.2), validation={"MAE": 4.0}, **yaw),
        ]
    runs = [a_run(f"out/a/seed{seed}", seed) for seed in (0, 1)]
    found = cells(save(tmp_path, rows, [a_method("a", *runs)]))["a"]
    assert found["features"] == "expression: map; pose: code"
    assert found["expression accuracy %"].startswith("60.00 ")
    assert found["expression kNN accuracy %"].startswith("40.00 ")
    assert found["pose MAE yaw °"].startswith("10.00 ")
    fixed = a_method("a", *runs, spaces={"expression": "code"})
    folder = save(tmp_path, rows, [fixed])
    found = cells(folder)["a"]
    assert found["features"] == "code"
    assert found["expression accuracy %"].startswith("70.00 ")
    assert any("as the comparison's config says" in n for n in comparison(folder).notes)
    wrong = a_method("a", *runs, spaces={"expression": "conv"})
    with pytest.raises(InputError, match=r"no feature space 'conv'; there are code, map"):
        comparison(save(tmp_path, rows, [wrong]))
    wrong = a_method("a", *runs, spaces={"posture": "code"})
    with pytest.raises(
        InputError, match=r"spaces.a.posture: .* not scored; there are expr.*, pose"
    ):
        comparison(save(tmp_path, rows, [wrong]))


def test_validation_scores_choose_between_short_runs(tmp_path, capsys):
    """The best space of each run on the validation split; errors are negative; folds are none."""
    pose = {"task": "pose", "metric": "MAE yaw", "unit": "degrees"}
    pose["higher_is_better"] = False
    rows = [
        scored("out/a-0", "code", outcome(0.9), validation={"accuracy": 30.0}),
        scored("out/a-0", "map", outcome(0.1), validation={"accuracy": 40.0}),
        scored("out/a-1", "code", outcome(0.5), validation={"accuracy": 35.0}),
        # Of a task's figures the first one counts.
        scored("out/a-0", "code", outcome(0.9), metric="kNN accuracy", probe="kNN"),
        scored("out/a-0", "code", outcome(0.2), validation={"MAE": 9.0}, **pose),
        scored("out/a-0", "map", outcome(0.1), validation={"MAE": 12.0}, **pose),
        scored("HOG", "", outcome(0.5), validation={"accuracy": 99.0}),
    ]
    methods = [a_method(name, a_run(f"out/{name}")) for name in ("a-0", "a-1")]
    chosen = {"a": {"model.temperature": 0.2}, "b": {}}
    about = {"share": 0.2, "runs": 2, "task": "expression,pose", "chosen": chosen}
    folder = save(tmp_path, rows, [*methods, a_method("b-0")], tuning=about)
    assert main(["tuning", str(folder)]) == 0
    assert "tuning.json" in capsys.readouterr().out
    scores = json.loads((folder / "tuning.json").read_text())
    assert scores == {
        "a-0": {"expression": 40.0, "pose": -9.0},
        "a-1": {"expression": 35.0},
        "b-0": {},
    }
    notes = " ".join(as_table(comparison(folder)).notes)
    assert "2 runs of 0.2 of the budget" in notes
    assert "(expression,pose); a: model.temperature 0.2; b: as configured" in notes
    assert "nothing was tuned" not in notes


def test_each_fold_of_pairs_chooses_by_the_others(tmp_path):
    cosine = {"task": "identity", "probe": "cosine similarity"}
    white = {"task": "identity", "probe": WHITENED}

    def folds(*reached):
        return {"hyperparameters": {"other folds": {"accuracy": list(reached)}}}

    rows = [
        scored("out/a", "code", outcome(0.6), **cosine, **folds(61, 62, 50)),
        scored("out/a", "map", outcome(0.7), **cosine, **folds(60, 60, 99)),
        scored("out/a", "code", outcome(0.5), **white),
        scored("out/a", "map", outcome(0.8), **white),
    ]
    folder = save(tmp_path, rows, [a_method("a", a_run("out/a"))])
    found = cells(folder)["a"]
    assert found["features"] == "code"
    assert found["identity accuracy %"].startswith("60.00")
    assert found["identity accuracy, whitened %"].startswith("50.00")
    assert any("chosen by 67% of the folds" in note for note in comparison(folder).notes)


def test_what_earlier_comparisons_left_is_no_row(tmp_path):
    rows = [
        scored("out/a", "map", outcome(0.6)),
        scored("out/old", "map", outcome(0.9)),
        scored("out/old, untrained", "map", outcome(0.9)),
    ]
    assert list(cells(save(tmp_path, rows, [a_method("a", a_run("out/a"))]))) == ["a"]


def test_bad_input(tmp_path, capsys):
    def refused():
        assert main(["comparison", str(tmp_path)]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    assert "give the --out of `ssl-faces compare`" in refused()
    rows = [scored("out/a", "map", outcome(0.6))]
    save(tmp_path, rows, [a_method("a", {**a_run("out/a"), "wings": 2})])
    assert "comparison.json: can't be used" in refused()
    save(tmp_path, rows, [a_method("a", a_run("out/a"))])
    (tmp_path / "probe" / REPLICATES_FILE).unlink()
    assert "no bootstrap replicates of out/a" in refused()
    (tmp_path / "probe" / RECORDS_FILE).unlink()
    assert "can't be read" in refused()


@pytest.mark.usefixtures("few_rendered")
def test_records_of_a_real_run(tmp_path, save_tiny, capsys):
    """Every column of the usual tasks is found among the records, for methods and baselines."""
    encoders = [str(save_tiny(tmp_path / f"{name}0", seed)) for seed, name in enumerate("ab")]
    words = ["run", *(w for name in encoders for w in ("--encoder", name)), "--data", "rendered"]
    words += ["--task", "expression,pose,identity,attributes", "--bootstrap", "50"]
    words += ["--features", "expression"]
    assert main([*words, "--device", "cpu", "--out", str(tmp_path / "probe")]) == 0
    methods = [a_method(n, a_run(e)) for n, e in zip("ab", encoders, strict=True)]
    about = {"budget_pflop": 1, "folder": str(tmp_path), "scores": "probe", "methods": methods}
    (tmp_path / "comparison.json").write_text(json.dumps(about))
    capsys.readouterr()
    assert main(["comparison", str(tmp_path)]) == 0
    assert "Methods compared, 1 PFLOP" in capsys.readouterr().out
    table = as_table(comparison(tmp_path))
    assert table.header[3:-5] == [
        *("expression accuracy %", "expression kNN accuracy %"),
        *("pose MAE yaw °", "pose MAE pitch °", "pose MAE roll °"),
        *("identity accuracy %", "identity accuracy, whitened %"),
        *("gender accuracy %", "MAE age years"),
    ]
    found = cells(tmp_path)
    # Both have the same networks, so one row is enough of what they are untrained.
    assert list(found) == ["a", "b", "pixels", "HOG", "LBP", "a, untrained", "predict the mean"]
    for name, row in found.items():
        shown = [row[heading] != "-" for heading in table.header[3:-5]]
        expected = [heading.startswith("pose") for heading in table.header[3:-5]]
        assert shown == expected if name == "predict the mean" else all(shown)
    records = read_records(tmp_path / "probe" / RECORDS_FILE)
    of_pairs = [r for r in records if (r.task, r.metric) == ("identity", "accuracy")]
    assert of_pairs
    for r in of_pairs:
        others = r.hyperparameters["other folds"]["accuracy"]
        assert len(others) == len(r.hyperparameters["thresholds"])
        # A threshold is the best of the pairs that it was chosen on.
        assert min(others) >= 50
