"""Claims: which heads are trained, what the table says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from linear_probe.cli import main
from linear_probe.heads.claims import Arm, Claims, figure, read_claims, run_claims
from linear_probe.job_files import parser
from linear_probe.record import RECORDS_FILE, Record, read_records, write_records
from linear_probe.replicates import REPLICATES_FILE, write_replicates
from linear_probe.tasks import MissingData
from ssl_faces import InputError

ROOT = Path(__file__).parents[2]
BASE = {
    "seeds": [0, 1, 2],
    "arguments": {"task": "expression"},
    "claims": {
        "better": {
            "says": "the idea is better",
            "published": "90 %",
            "idea": {"configs": ["a.yaml"]},
            "without": {"configs": ["a.yaml", "b.yaml"], "arguments": {"head.init_args.k": 3}},
        }
    },
}


def claims(**more: object) -> Claims:
    given = yaml.safe_load(yaml.safe_dump(BASE))
    given["claims"]["better"] |= more
    return Claims.model_validate(given)


class Runs:
    """Stands in for training: accuracies by arm, with replicates around them."""

    def __init__(
        self,
        idea: list[float],
        without: list[float],
        level: float | None = None,
        metric: str = "accuracy",
    ) -> None:
        self.of, self.level, self.metric = {"idea": idea, "without": without}, level, metric
        self.words: list[list[str]] = []

    def __call__(self, verb: str, words: Sequence[str]) -> list[Record]:
        self.words.append(list(words))
        folder = Path(next(w for w in words if w.startswith("--out=")).removeprefix("--out="))
        condition = (
            {}
            if self.level is None
            else {"factor": "resolution", "level": self.level, "unit": "px"}
        )
        records = [
            Record(
                *("expression", "FER-2013", "split", words[-1][-8:], "end to end", "cvt"),
                *(self.metric, value, value - 1, value + 1, "%"),
                *(self.metric == "accuracy", 100, seed),
                condition=condition,
                hardware="a CPU",
            )
            for seed, value in enumerate(self.of["without" if "b.yaml" in words else "idea"])
        ]
        write_records(folder / RECORDS_FILE, records)
        noise = np.random.default_rng(0).normal(0, 0.2, 200)
        write_replicates(folder / REPLICATES_FILE, {r.name: r.value + noise for r in records})
        return records


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
    assert table.body[0][-1] == said
    assert table.body[0][3].startswith(f"{np.mean(without):.2f} [")
    text = (tmp_path / "claims.md").read_text()
    assert f"{np.mean(idea) - np.mean(without):+.2f} [" in text
    assert "FER-2013, n 100; a CPU" in text


def test_what_is_trained(tmp_path: Path) -> None:
    runs = Runs([1.0], [2.0])
    run_claims(claims(), tmp_path, runs, say=lambda line: None)
    common = ["--label=a", "--task=expression"]
    seeds = "--seeds=[0, 1, 2]"
    assert [words[:-1] for words in runs.words] == [
        ["-c", "a.yaml", *common, seeds],
        [
            *("-c", "a.yaml", "-c", "b.yaml", "--label=a+b, k 3", "--task=expression"),
            *("--head.init_args.k=3", seeds),
        ],
    ]
    assert runs.words[0][-1].startswith(f"--out={tmp_path}/arms/a-")
    assert runs.words[1][-1].startswith(f"--out={tmp_path}/arms/a-b-")


def test_arms_that_are_alike_share_a_folder_and_others_do_not(tmp_path: Path) -> None:
    arm = claims().claims["better"].without

    def out(arm: Arm, seeds: Sequence[int] = (0, 1), **common: object) -> str:
        return arm.words(common, seeds, tmp_path)[-1]

    assert out(arm) == out(Arm.model_validate(arm.model_dump()))
    others = [
        out(arm, (0, 2)),
        out(arm, task="classes"),
        out(arm.model_copy(update={"arguments": {}})),
        out(arm.model_copy(update={"command": "video"})),
    ]
    assert len({out(arm), *others}) == 5


def test_of_errors_less_is_a_gain(tmp_path: Path) -> None:
    runs = Runs([4.0, 4.1, 4.2], [6.0, 6.1, 6.2], metric="MAE age")
    table = run_claims(claims(metric="MAE age"), tmp_path, runs, say=lambda line: None)
    assert table.body[0][4].startswith("+2.00 [")
    assert table.body[0][-1] == "holds"


def test_all_heads_are_in_one_page_with_their_curves(tmp_path: Path) -> None:
    runs = Runs([40.0, 41.0], [30.0, 31.0], level=8)
    run_claims(claims(level=8), tmp_path, runs, say=lambda line: None)
    page = (tmp_path / "claims.html").read_text()
    assert "<svg" in page
    assert "resolution" in page


def test_a_claim_about_a_level_is_of_its_records(tmp_path: Path) -> None:
    runs = Runs([40.0, 41.0], [30.0, 31.0], level=8)
    table = run_claims(claims(level=8), tmp_path, runs, say=lambda line: None)
    assert table.body[0][-1] == "holds"
    with pytest.raises(InputError, match="accuracy of nothing; a claim needs one data set"):
        run_claims(claims(level=12), tmp_path, runs, say=lambda line: None)


def test_of_several_probes_the_claim_names_one(tmp_path: Path) -> None:
    run = Runs([60.0], [50.0])
    run("head", [f"--out={tmp_path}"])
    (record,) = read_records(tmp_path / RECORDS_FILE)
    other = dataclasses.replace(record, probe="kNN", value=1.0)
    write_records(tmp_path / RECORDS_FILE, [record, other])
    claim = claims().claims["better"]
    with pytest.raises(InputError, match="accuracy of cvt, kNN; a claim needs one probe"):
        figure(tmp_path, claim)
    found, _ = figure(tmp_path, claim.model_copy(update={"probe": "cvt"}))
    assert found.value == 60.0
    # What a stage before was scored on is another task.
    earlier = dataclasses.replace(record, task="exogenous", value=2.0)
    write_records(tmp_path / RECORDS_FILE, [earlier, record])
    with pytest.raises(InputError, match="exogenous, expression; a claim needs one task"):
        figure(tmp_path, claim)
    found, _ = figure(tmp_path, claim.model_copy(update={"task": "expression"}))
    assert found.value == 60.0


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
    row = run_claims(several, tmp_path, run, say=lambda line: None).body[0]
    assert row[3].startswith("0.602 [")
    assert row[4].startswith("+0.100 [+0.0")
    assert row[5:] == ["3", "holds"]
    low, high = (float(x) for x in row[3].partition("[")[2].rstrip("]").split(", "))
    assert high - low == pytest.approx(2 * 4.303 * 0.001 / 3**0.5, abs=0.0012)
    with pytest.raises(InputError, match="RMSE of nothing"):
        run_claims(claims(metric=["CCC valence", "RMSE"]), tmp_path, run, say=lambda line: None)


def test_without_data_the_row_says_so(tmp_path: Path) -> None:
    def lacking(verb: str, words: Sequence[str]) -> list[Record]:
        raise MissingData("task expression needs FER-2013; add it to the data folder")

    table = run_claims(claims(tried="nothing yet"), tmp_path, lacking, say=lambda line: None)
    assert table.body[0][-1] == "no data"
    assert any("needs FER-2013" in note for note in table.notes)
    assert any("nothing yet" in note for note in table.notes)


def test_the_config_names_heads_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = read_claims(Path("configs/head/claims.yaml"))
    for claim in found.claims.values():
        for arm in (claim.idea, claim.without):
            given = parser(arm.command).parse_args(
                arm.words(found.arguments, found.seeds, Path("out"))
            )
            assert given.seeds == found.seeds
        assert claim.idea != claim.without


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("claims: {}", "seeds: Field required"),
        (yaml.safe_dump(BASE).replace("published", "publishde"), "claims.better.published"),
        ("a: [", "no YAML"),
    ],
)
def test_bad_files(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert main(["claims", "-c", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "o")]) == 2
    assert told in capsys.readouterr().err
    assert main(["claims", "-c", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "o")]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_an_unknown_claim_is_told() -> None:
    with pytest.raises(InputError, match="--only worse: there are better"):
        run_claims(claims(), Path("none"), Runs([1.0], [1.0]), only=["worse"])
