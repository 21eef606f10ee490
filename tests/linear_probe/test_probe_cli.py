"""`linear-probe` end to end, and what it says of input it can't use."""

import csv
import json
import shutil

import pytest

from linear_probe.cli import main
from linear_probe.features import frozen as features
from linear_probe.records.record import read_records
from tests.support.probing import refused, run

pytestmark = pytest.mark.usefixtures("few_rendered")
QUICK = ("--features", "expression", "--no-baselines")


def test_rendered_end_to_end(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--encoder", tiny, "--data", "rendered", "--out", out) == 0
    printed = capsys.readouterr().out
    records = read_records(out / "records.jsonl")
    rows = {(r.task, r.encoder, r.feature_space, r.metric) for r in records}
    probes = {(r.task, r.encoder, r.feature_space, r.metric, r.probe) for r in records}
    assert len(probes) == len(records)
    metrics = {
        "expression": ["accuracy", "mean class recall", "kNN accuracy"],
        "pose": ["MAE yaw", "MAE pitch", "MAE roll"],
        "identity": ["accuracy", "AUC", "EER", "TAR at FAR 1%"],
    }
    for task, side in (("expression", 48), ("pose", 32), ("identity", 64)):
        for metric in metrics[task]:
            for baseline in ("pixels", "HOG", "LBP"):
                assert (task, baseline, f"grey {side}x{side}", metric) in rows
            for encoder in (str(tiny), f"{tiny}, untrained"):
                for space in ("expression", "expression_map"):
                    assert (task, encoder, space, metric) in rows
    assert ("pose", "predict the mean", "", "MAE yaw") in rows
    for record in records:
        assert record.data_set == "rendered faces"
        assert record.low <= record.high
        assert record.n > 0
        assert record.hardware
        assert "torch" in record.versions
    assert f"{tiny}, untrained" in printed
    assert str(out / "records.jsonl") in printed
    assert list(csv.reader((out / "skipped.csv").open())) == [["set", "picture", "reason"]]

    assert main(["report", str(out), "--markdown"]) == 0
    assert "| predict the mean | - |" in capsys.readouterr().out


def test_same_seed_same_records_and_nothing_twice(small_data, tiny, tmp_path, monkeypatch):
    def without_seconds(folder):
        lines = (tmp_path / folder / "records.jsonl").read_text().splitlines()
        return [json.loads(line) | {"seconds": 0} for line in lines]

    # Of each task alone: tests/linear_probe/test_tasks.py.
    given = ("--encoder", tiny, "--data", small_data, "--task", "expression,identity")
    given += ("--baselines", "HOG,untrained", "--features", "expression")
    for folder in ("a", "b"):
        assert run(*given, "--out", tmp_path / folder) == 0
    first = without_seconds("a")
    assert without_seconds("b") == first
    # Again into the same folder: features from the cache, records replaced.
    monkeypatch.setattr(features, "extract", None)
    assert run(*given, "--out", tmp_path / "a") == 0
    assert without_seconds("a") == first


def test_a_second_encoder_joins_the_records(small_data, tmp_path, save_tiny, capsys):
    one, other = save_tiny(tmp_path / "one", 1), save_tiny(tmp_path / "other", 2)
    common = ("--data", small_data, "--out", tmp_path / "out", "--task", "pose")
    assert run("--encoder", one, "--features", "expression", *common) == 0
    assert run("--encoder", other, "--no-baselines", *common) == 0
    records = read_records(tmp_path / "out" / "records.jsonl")
    assert {(r.encoder, r.feature_space) for r in records} == {
        ("predict the mean", ""),
        ("pixels", "grey 32x32"),
        ("HOG", "grey 32x32"),
        ("LBP", "grey 32x32"),
        (f"{one}, untrained", "expression"),
        (str(one), "expression"),
        (str(other), "expression"),
        (str(other), "expression_map"),
    }
    capsys.readouterr()
    # Two of one architecture have one untrained row.
    assert run("--encoder", one, "--encoder", other, *common) == 0
    printed = capsys.readouterr().out
    assert f"{other}, untrained: the same as {one}, untrained" in printed


def test_tasks_without_data_are_skipped_aloud_unless_asked_for(small_data, tiny, tmp_path, capsys):
    shutil.rmtree(small_data / "lfw")
    arguments = ("--encoder", tiny, *QUICK, "--data", small_data, "--out", tmp_path / "out")
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert (
        "identity needs LFW, CPLFW, CFP or other pairs, none of which is there: task skipped"
        in printed
    )
    tasks = {record.task for record in read_records(tmp_path / "out" / "records.jsonl")}
    assert tasks == {"expression", "pose"}
    message = refused(capsys, run(*arguments, "--task", "identity,pose"))
    assert "identity needs LFW" in message


def test_skipped_pictures_are_listed(small_data, tiny, tmp_path, capsys):
    (small_data / "fer2013/Training/sad/Training_0.png").write_bytes(b"")
    (small_data / "youtube_keypoints/images/One_0_0.png").unlink()
    given = ("--encoder", tiny, *QUICK, "--task", "expression,pose", "--data", small_data)
    for _ in range(2):
        assert run(*given, "--out", tmp_path / "out") == 0
        assert "2 pictures skipped" in capsys.readouterr().out
        rows = list(csv.reader((tmp_path / "out" / "skipped.csv").open()))
        assert [row[:2] for row in rows[1:]] == [
            ["fer2013", "Training/sad/Training_0.png"],
            ["youtube_keypoints", "One_0_0.png"],
        ]


def test_without_real_faces_rendered_ones_are_scored_and_it_says_so(
    tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("SSL_FACES_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = ("--encoder", tiny, "--task", "pose", *QUICK)
    assert run(*arguments, "--out", tmp_path / "out") == 0
    assert "scoring on rendered faces" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        monkeypatch.setenv("SSL_FACES_DATA", str(tmp_path / name))
        message = refused(capsys, run(*arguments, "--out", tmp_path / "o"))
        assert f"$SSL_FACES_DATA: {tmp_path / name} is missing or empty; put" in message


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--encoder", "no/such"], "no/such"),
        (["--encoder", "{tiny}", "--task", "poses"], "unknown task 'poses' (did you mean pose?)"),
        (["--encoder", "{tiny}", "--task", "pose,"], "empty name"),
        (["--encoder", "{tiny}", "--features", "neck"], "unknown feature space 'neck'"),
        (["--encoder", "{tiny}", "--data", "no/such"], "no/such"),
        (["--encoder", "{tiny}", "--data", "{empty}"], "holds no pictures"),
        (["--encoder", "{tiny}", "--robustness", "fog"], "unknown factor 'fog'"),
        (["--encoder", "{tiny}", "--epochs", "9"], "--epochs has no effect without --protocol"),
        (
            ["--encoder", "{tiny}", "--protocol", "facecycle", "--task", "attributes"],
            "no task 'attributes'",
        ),
        ([], "--encoder"),
    ],
)
def test_wrong_arguments(arguments, shown, tiny, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    given = [argument.format(tiny=tiny, empty=empty) for argument in arguments]
    if "--data" not in given:
        given += ["--data", "rendered"]
    code = main(["run", "--out", str(tmp_path / "out"), *given])
    assert shown in refused(capsys, code)
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_no_data_set(small_data, tiny, tmp_path, capsys):
    folder = small_data / "fer2013" / "Training" / "sad"
    code = run("--encoder", tiny, "--data", folder, "--out", tmp_path / "out")
    assert "nothing to score on" in refused(capsys, code)
    assert run("--encoder", tiny, "--data", folder, "--out", tmp_path / "out", "--or-rendered") == 0
    assert "scoring on rendered faces" in capsys.readouterr().out


def test_cuda_where_there_is_none(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code = run("--encoder", tiny, "--out", tmp_path / "out", "--device", "cuda")
    assert "--device cuda" in refused(capsys, code)


def test_damaged_records_are_told_before_anything_is_computed(small_data, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "records.jsonl").write_text("{}\n")
    code = run("--encoder", tiny, "--data", small_data, "--out", out)
    assert "records.jsonl, line 1: not a record" in refused(capsys, code)
    assert [path.name for path in out.iterdir()] == ["records.jsonl"]
    assert (out / "records.jsonl").read_text() == "{}\n"
    assert "line 1" in refused(capsys, main(["report", str(out)]))
