"""Configs by name: which file a name stands for, and the sentence for a name of none."""

from pathlib import Path

import pytest

from linear_probe.experiments.job_files import read_job as read_verb
from linear_probe.plans.suite import read as read_suite
from ssl_faces.common.config_files import AUDITS, CONFIGS, HEADS, find_config, with_files
from ssl_faces.plan.job import read as read_job
from tests.support.refusals import message_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """A folder without `configs`."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "folders", "file"),
    [
        ("simclr_small", ("method", "data"), "method/simclr_small.yaml"),
        ("mixed", ("method", "data"), "data/mixed.yaml"),
        ("compare/encoder_small", ("method",), "compare/encoder_small.yaml"),
        ("configs/method/dino.yaml", ("method",), "method/dino.yaml"),
        ("cvt", HEADS, "head/cvt.yaml"),
        ("utkface_gender", AUDITS, "audit/utkface_gender.yaml"),
        ("facecycle_small", ("experiment",), "experiment/facecycle_small.yaml"),
        ("small", ("compare",), "compare/small.yaml"),
        ("claims", ("",), "claims.yaml"),
    ],
)
def test_names_of_configs(name, folders, file):
    assert find_config(name, folders) == CONFIGS / file


@pytest.mark.parametrize("own", ["simclr", "simclr.yaml"])
def test_a_file_in_the_current_folder_wins(own):
    Path(own).write_text("{}")
    assert find_config("simclr") == Path(own)


def test_a_folder_of_that_name_does_not(tmp_path):
    Path("simclr").mkdir()
    assert find_config("simclr") == CONFIGS / "method/simclr.yaml"


@pytest.mark.parametrize("path", ["no.yaml", "configs/method/no.yaml", "/no/such", "x" * 300 + "."])
def test_other_paths_stay_as_they_are(path):
    assert find_config(path) == Path(path)


def test_unknown_names():
    text = message_of(find_config, "simclr_smal")
    assert text.startswith("config 'simclr_smal': no such file, and no config has this name")
    assert "near it are simclr_small" in text
    known = ", ".join(sorted(path.stem for path in (CONFIGS / "audit").glob("*.yaml")))
    assert message_of(find_config, "q", AUDITS).endswith(f"there are {known}")


def test_arguments():
    own = str(CONFIGS / "method/mae.yaml")
    words = ["fit", "-c", "mae", "--config=mae", "--config", "a.yaml", "--out", "mae"]
    assert with_files(words) == [
        *("fit", "-c", own, f"--config={own}", "--config", "a.yaml", "--out", "mae")
    ]


def test_plans_find_configs_by_name_and_from_any_folder(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("stages: {a: {configs: [simclr_small, configs/data/mixed.yaml]}}")
    (step,) = read_job(plan).steps(tmp_path / "out")
    assert {len(step.decides[name]) for name in ("simclr_small", "configs/data/mixed.yaml")} == {16}
    for path in (CONFIGS / "experiment").glob("*.yaml"):
        assert read_job(path).steps(tmp_path / "out")
    assert read_suite(find_config("standard", ("suite",))).heads
    plan.write_text("stages: {a: {configs: [simclr_smal]}}")
    assert message_of(read_job, plan).startswith(f"{plan}: config 'simclr_smal': no such file, and")


def test_a_verb_of_linear_probe_finds_its_config(tmp_path):
    job, _, _ = read_verb("head", ["-c", "plain_fer", "--out", str(tmp_path)])
    assert job.task == "expression"
    text = message_of(read_verb, "audit", ["-c", "utkface", "--out", str(tmp_path)])
    assert "near it are utkface_gender" in text
