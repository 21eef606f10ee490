"""What of a folder's records stands in an audit's tables, and by which draws."""

import re
from pathlib import Path

import numpy as np
import pytest

from linear_probe.experiments.audit.tables import AS_IT_IS, audited, cost_table, group_tables
from linear_probe.records.record import RECORDS_FILE, Record, read_records, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates

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
