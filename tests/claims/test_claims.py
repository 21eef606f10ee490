"""Claims: what is trained and scored, and what is kept of it."""

import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import yaml
from PIL import Image

from linear_probe.cli import main
from linear_probe.cli import parser as cli_parser
from linear_probe.experiments.job_files import parser
from linear_probe.experiments.verbs import VERBS
from linear_probe.plans.claims.run import keep, run_claims
from linear_probe.plans.claims.settings import Arm, Claims, read_claims
from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.tasks import MissingData
from ssl_faces import InputError
from ssl_faces.plan import engine
from tests.claims.stand_ins import BASE, STAGE, Runs, claims, run_all, write_figures
from tests.support.cells import cells
from tests.support.in_process import InProcess

ROOT = Path(__file__).parents[2]


def test_what_is_trained(tmp_path):
    runs = Runs([1.0], [2.0])
    run_all(claims(), tmp_path, runs)
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


def test_a_label_names_the_tasks_before(tmp_path):
    before = [{"task": "people", "training": {"steps": 4}}, {"task": "attributes"}]
    arm = Arm.model_validate({"configs": ["a.yaml"], "arguments": {"before": before}})
    (call,) = arm.calls({}, [0], tmp_path)
    assert "--label=a, before people and attributes" in call.words


def test_equal_arms_share_a_folder_and_others_do_not(tmp_path):
    arm = claims().claims["better"].without

    def out(arm, seeds=(0, 1), **common):
        return arm.calls(common, seeds, tmp_path)[0].folder

    # Further seeds are added to those that are there.
    assert out(arm) == out(Arm.model_validate(arm.model_dump())) == out(arm, (0, 2))
    others = [arm.model_copy(update={"arguments": {}}), arm.model_copy(update={"command": "video"})]
    assert len({out(arm), out(arm, task="classes"), *map(out, others)}) == 4


def test_records_of_a_config_that_has_changed_are_not_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yaml"):
        Path(name).write_text("training: {epochs: 8}\n")
    arms = claims().claims["better"]
    fitted = Arm.model_validate(
        {"command": "run", "fit": [{"configs": ["b.yaml"], "arguments": {"trainer.max_steps": 3}}]}
    )

    def out():
        (call,) = fitted.calls({}, [0], Path("out"))
        return [
            *(arm.calls({}, [0], Path("out"))[0].folder for arm in (arms.idea, arms.without)),
            *(call.folder, call.fits[0].out),
        ]

    before = out()
    Path("b.yaml").write_text("# a comment\ntraining:\n  epochs: 8\n")
    assert out() == before
    Path("b.yaml").write_text("training: {epochs: 9}\n")
    assert [one == other for one, other in zip(out(), before, strict=True)] == [
        *(True, False, False, False)
    ]


def test_what_there_are_records_of_is_not_run_again(tmp_path):
    first = Runs([60.0, 60.4], [55.0, 55.4])
    table = run_all(claims(), tmp_path, first)
    assert len(first.words) == 2
    # Kept records are records, though what was trained for them is not there.
    keep(claims(), tmp_path, tmp_path / "kept")
    again = Runs([60.0, 60.4, 60.2], [55.0, 55.4, 55.2])
    run_all(claims(), tmp_path / "kept", again)
    assert [words[-2] for words in again.words] == ["--seeds=[2]", "--seeds=[2]"]
    never = Runs([], [])
    after = run_all(claims(), tmp_path / "kept", never)
    assert not never.words
    assert cells(after)["seeds"] == "3"
    assert cells(table)["seeds"] == "2"
    # Of what another claim asks for there are none, though the folder is the same.
    other = Runs([60.0, 60.4, 60.2], [55.0, 55.4, 55.2], level=8.0)
    run_all(claims(level=8.0), tmp_path / "kept", other)
    assert [words[-2] for words in other.words] == ["--seeds=[0, 1, 2]"] * 2


def test_all_heads_are_in_one_page_with_their_curves(tmp_path):
    runs = Runs([40.0, 41.0], [30.0, 31.0], level=8)
    run_all(claims(level=8), tmp_path, runs)
    page = (tmp_path / "claims.html").read_text()
    assert "<svg" in page
    assert "resolution" in page


def test_without_data_the_row_says_so(tmp_path):
    def lacking(verb, words):
        raise MissingData("task expression needs FER-2013; add it to the data folder")

    table = run_all(claims(tried="nothing yet"), tmp_path, lacking)
    assert cells(table)["verdict"] == "no data"
    assert any("needs FER-2013" in note for note in table.notes)
    assert any("nothing yet" in note for note in table.notes)


def test_an_arm_that_fails_stops_no_other_claim(tmp_path, capsys):
    both = claims()
    idea = both.claims["better"].idea.model_copy(update={"configs": ["c.yaml"]})
    both.claims["later"] = both.claims["better"].model_copy(update={"idea": idea})
    runs = Runs([60.0, 60.4, 60.2], [55.0, 55.4, 55.2])

    def fails(verb, words):
        if words[:3] == ["-c", "a.yaml", "--label=a"]:
            raise InputError("head.dim: 7; give a multiple of 8")
        return runs(verb, words)

    with pytest.raises(InputError, match=r"better: head\.dim: 7; give a multiple of 8: see .*md"):
        run_all(both, tmp_path, fails)
    first, second = (
        line for line in (tmp_path / "claims.md").read_text().splitlines() if "90 %" in line
    )
    assert "| not run | - |" in first
    assert second.startswith("| later | ")
    assert "| supported | supported |" in second
    assert "failed: better: idea: head.dim: 7; give a multiple of 8" in capsys.readouterr().out


def test_the_config_asks_for_what_there_is(monkeypatch):
    monkeypatch.chdir(ROOT)
    of_file = read_claims(Path("configs/claims.yaml"))
    commands = set()
    for claim in of_file.claims.values():
        assert claim.idea != claim.without
        for arm in (claim.idea, claim.without):
            for call in arm.calls(of_file.arguments, [0], Path("out")):
                commands.add((arm.command, *call.words))
                for fit in call.fits:
                    for config in fit.argv[3:6:2]:
                        assert Path(config).is_file()
    for verb, *words in commands:
        if verb in VERBS:
            given = parser(verb).parse_args(words)
            assert getattr(given, "seeds", None) == [0] or given.seed == 0
        else:
            cli_parser().parse_args([verb, *words])


def test_a_head_is_trained_before_its_audit(tmp_path):
    calls = []
    head = {"configs": ["h.yaml"], "arguments": {"max_train": None}}

    def arm(probe, **of_head):
        return {
            "command": "audit",
            "configs": ["a.yaml"],
            "trained": head | of_head,
            "arguments": {"head": "{trained}"},
            "row": {"probe": probe},
        }

    def verb(name, words):
        calls.append((name, words))
        folder = Path(words[-1].removeprefix("--out="))
        if name == "head":
            write_figures(folder, [])
        else:
            earlier = (
                read_records(folder / RECORDS_FILE) if (folder / RECORDS_FILE).exists() else []
            )
            seed = int(words[-2].removeprefix("--seed="))
            records = [
                Record(
                    *("expression", "faces", "split", "head", "end to end", probe, "accuracy"),
                    *(value + seed / 10, 0, 100, "%", True, 50, seed),
                    hardware="a CPU",
                )
                for probe, value in (("8 bits", 60.0), ("as it is", 50.0))
            ]
            write_figures(folder, [*earlier, *records])

    of_two = claims(idea=arm("8 bits"), without=arm("as it is"))
    of_two = of_two.model_copy(update={"seeds": [0, 1]})
    row = cells(run_all(of_two, tmp_path, verb))
    assert (row["verdict"], row["seeds"]) == ("supported", "2")
    # One head a seed for both arms, before their audit.
    assert [name for name, _ in calls] == ["head", "audit", "head", "audit"]
    (_, trained), (_, audited) = calls[2:]
    assert trained[-2] == "--seeds=[1]"
    assert "--max_train=null" in trained
    assert f"--head={trained[-1].removeprefix('--out=')}" in audited
    # Another head is another arm.
    other = Arm.model_validate(arm("8 bits", arguments={"max_train": 5}))
    assert other.calls({}, [0], tmp_path)[0].folder != Path(audited[-1].removeprefix("--out="))


def test_notes_are_printed_whatever_the_verdict_is(tmp_path):
    table = run_all(
        claims(note="built in", tried="nothing"), tmp_path, Runs([60.0] * 3, [50.0] * 3)
    )
    assert cells(table)["verdict"] == "supported"
    assert "better: built in" in table.notes
    assert not any("nothing" in note for note in table.notes)


def bad_arm(**more):
    given = yaml.safe_load(yaml.safe_dump(BASE))
    given["claims"]["better"]["idea"] |= more
    return yaml.safe_dump(given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: {}", "seeds: is missing"),
        (
            yaml.safe_dump(BASE).replace("published", "publishde"),
            "claims.better.publishde: unknown key (did you mean published?)",
        ),
        ("a: [", "not YAML"),
        (bad_arm(command="run"), "`linear-probe run` takes none"),
        (bad_arm(command="audit", configs=[]), "configs: `linear-probe audit` needs one"),
        (bad_arm(fit=[STAGE]), "`linear-probe head` trains on its own"),
        (bad_arm(trained={"configs": ["h.yaml"]}), "audits are of an arm of `linear-probe head`"),
        (bad_arm(row={"space": "identity"}), "row: 'space'; records have data_set, encoder"),
        (
            bad_arm(command="run", configs=[], fit=[STAGE | {"arguments": {}}]),
            "trainer.max_steps is missing",
        ),
    ],
)
def test_bad_files(text, message, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(text)
    assert main(["claims", "-c", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "o")]) == 2
    assert message in capsys.readouterr().err
    assert main(["claims", "-c", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "o")]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_some_claims_are_compared_and_archived_alone(tmp_path, capsys):
    given = yaml.safe_load(yaml.safe_dump(BASE))
    other = {"idea": {"configs": ["c.yaml"]}, "without": {"configs": ["c.yaml", "b.yaml"]}}
    given["claims"]["faster"] = given["claims"]["better"] | other
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(given))
    runs = Runs([60.0, 60.4, 60.2], [55.0, 55.4, 55.2])
    run_all(Claims.model_validate(given), tmp_path, runs)
    words = ["claims", "-c", str(tmp_path / "c.yaml"), "--out", str(tmp_path), "--table"]
    kept = tmp_path / "kept"
    assert main([*words, "--only", "faster", "--keep", str(kept)]) == 0
    assert "6 records kept" in capsys.readouterr().out
    assert {folder.name[0] for folder in (kept / "arms").iterdir()} == {"c"}
    table = (tmp_path / "claims.md").read_text()
    assert "| faster |" in table
    assert "| better |" not in table
    assert main([*words, "--only", "worse"]) == 2
    assert "--only worse: there are better, faster" in capsys.readouterr().err


NOT_YET_RUN = re.compile(
    "(expression|identity)_code_(predicts|verifies)|cycles|frontalization|translation|compressed"
    "|pruned|cvt|thin_dispelling_.*(scale|shapes)|hallucinat|recognised"
    "|(identity|attributes)_helps?_|identity_and|gcn"
)
"""Claims whose arms have changed since the records were made; narrow it as they are run."""


@pytest.mark.parametrize("kept", ["claims", "claims/tried"])
def test_a_kept_table_is_what_its_records_say(kept, tmp_path):
    """And what is not supported has what was tried."""
    shutil.copytree(ROOT / "checkpoints" / kept / "arms", tmp_path / "arms")
    of_file = read_claims(ROOT / "configs" / f"{kept.replace('/', '_')}.yaml")
    table = run_claims(of_file, tmp_path)
    verdicts = {
        row["name"]: row["verdict"] for row in map(partial(cells, table), range(len(table.body)))
    }
    for name, verdict in verdicts.items():
        assert verdict != "not run" or (kept == "claims" and NOT_YET_RUN.search(name)), name
    assert (tmp_path / "claims.md").read_text() == (
        ROOT / "checkpoints" / kept / "claims.md"
    ).read_text()
    if kept == "claims":
        assert [
            n
            for n, v in verdicts.items()
            if v not in ("supported", "not run") and not of_file.claims[n].tried
        ] == []


def test_verdicts_of_real_commands(tmp_path, monkeypatch, capsys):
    """A claim without its data, and one whose arm is wrong."""
    monkeypatch.setattr(engine, "executor", InProcess())
    monkeypatch.setenv("SSL_FACES_DATA", str(tmp_path / "none"))
    head = {"configs": [str(ROOT / "configs/head/inception_fer.yaml")]}
    given = yaml.safe_load(yaml.safe_dump(BASE)) | {"seeds": [0], "arguments": {}}
    Image.new("RGB", (16, 16)).save(tmp_path / "face.png")
    data = {"arguments": {"task": "expression", "data": str(tmp_path)}}
    given["claims"]["better"] |= {"idea": head | data, "without": head | data}
    wrong = given["claims"]["better"] | {"idea": head | {"arguments": {"head.nothing": 1}}}
    given["claims"]["wrong"] = wrong
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(given))
    words = ["claims", "-c", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "linear-probe: error: wrong: " in capsys.readouterr().err
    text = (tmp_path / "out/claims.md").read_text()
    assert text.count("| no data | - |") == text.count("| not run | - |") == 1
