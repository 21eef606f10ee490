"""Sweep files are W&B's: its schema takes them, and its agent makes the same commands of them."""

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator, FormatChecker

from ssl_faces.cli import main
from ssl_faces.common.errors import InputError
from ssl_faces.plan import engine
from ssl_faces.plan.sweep.search import distribution
from ssl_faces.plan.sweep.settings import Parameter, read
from ssl_faces.plan.sweep.study import read_notes
from ssl_faces.plan.sweep.words import check_command, command_of, examples, fit_words
from ssl_faces.training.fit import default_loggers, default_out
from tests.support.in_process import InProcess
from tests.sweep.conftest import METRIC, ROOT, sweep

FILES = sorted((ROOT / "configs/sweep").glob("*.yaml"))

# Of the package `sweeps` 0.3.0 (MIT), by Weights & Biases, whose server validates by it. Its
# dependencies would have an old numpy, so that only the schema is here.
SCHEMA = json.loads((Path(__file__).parent / "wandb_sweep_schema.json").read_text())


def violations(content):
    formats = FormatChecker()
    formats.checks("float")(lambda value: isinstance(value, float))
    formats.checks("integer")(lambda value: isinstance(value, int))
    validator = Draft7Validator(SCHEMA, format_checker=formats)
    return [error.message for error in validator.iter_errors(content)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wandbs_schema_takes_our_files(path):
    content = yaml.safe_load(path.read_text())
    assert violations(content) == []
    assert violations({**content, "metod": "grid"})  # it does look
    assert content["metric"]["name"].startswith("online/")
    sweep = read(path)
    words = fit_words(command_of(sweep, {}))
    for i, word in enumerate(words):
        if word == "-c":
            assert (ROOT / words[i + 1]).is_file()


def test_there_are_the_sweeps_that_the_page_names():
    page = (ROOT / "configs/sweep/README.md").read_text()
    assert len(FILES) >= 3
    for path in FILES:
        assert path.name in page


def agents_command(content, settings, folder):
    """What `wandb agent` would run, by its own code."""
    from wandb import wandb_agent

    made = []

    class Noted:
        def __init__(self, command, **_):
            made.append(command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DIR", str(folder))
        patch.setenv("WANDB_RUN_ID", "r")
        patch.setenv("WANDB_SWEEP_PARAM_PATH", "p")
        patch.setattr(wandb_agent, "AgentProcess", Noted)
        agent = wandb_agent.Agent(None, None)
        agent._sweep_command = [*content["command"]]
        args = {name: {"value": value} for name, value in settings.items()}
        program = content.get("program")
        agent._command_run({"run_id": "r", "args": args, "program": program})
    return made[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wandbs_agent_runs_the_same_command(path, tmp_path):
    content = yaml.safe_load(path.read_text())
    sweep = read(path)
    for settings in examples(sweep.parameters):
        assert agents_command(content, settings, tmp_path) == command_of(sweep, settings)


def test_every_placeholder_has_the_same_value(write, tmp_path, monkeypatch):
    monkeypatch.setenv("FACES", "a b")
    names = ("env", "interpreter", "program", "args", "args_no_equals", "args_no_hyphens")
    names += ("args_no_boolean_flags", "args_json")
    path = write(
        command=[*(f"${{{name}}}" for name in names), "--x=${envvar:FACES}", "${envvar:NONE}", 3],
        program="train.py",
    )
    settings = {"a": 1, "b.c": 0.25, "yes": True, "no": False, "crop": [0.5, 1.0], "t": "x y"}
    content = yaml.safe_load(path.read_text())
    assert agents_command(content, settings, tmp_path) == command_of(read(path), settings)
    with pytest.raises(InputError, match=r"command: \$\{args_json_file\} has no value"):
        command_of(read(write(command=["${args_json_file}"])), settings)


@pytest.mark.parametrize(
    "given",
    [
        {"value": 3},
        {"values": [1, "a", True]},
        {"min": 1, "max": 9},
        {"min": 0.5, "max": 2.0},
        {"min": 1, "max": 9, "distribution": "uniform"},
        {"min": 0.1, "max": 10, "distribution": "log_uniform_values"},
        {"min": 0, "max": 8, "q": 2, "distribution": "q_uniform"},
        {"min": 0.0, "max": 1.0, "q": 0.25, "distribution": "q_uniform"},
    ],
)
def test_numbers_are_drawn_as_wandbs_own_optuna_does(given):
    theirs = pytest.importorskip("wandb.sdk.sweeps.scheduler.optuna")
    parameter = Parameter.model_validate(given)
    assert distribution(parameter) == theirs.sweep_parameter_to_distribution(given)
    assert violations({"method": "random", "parameters": {"x": given}}) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_fit_takes_every_setting_of_our_files(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    check_command(read(path), path)


def test_a_run_of_wandbs_agent_has_a_folder_of_its_own(tmp_path, monkeypatch):
    """And is online under the agent's id; any other is offline."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert default_out() == Path("runs/run")
    assert default_loggers(tmp_path / "plain")[1]._offline
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert default_out() == Path("runs/sweep_s1/r1")
    logger = default_loggers(tmp_path / "swept")[1]
    assert not logger._offline
    assert logger._wandb_init["id"] == "r1"
    assert (tmp_path / "swept/wandb_id").read_text() == "r1"


METHOD = str(ROOT / "configs/method/facecycle_contrast.yaml")


def test_a_sweep_of_training_runs(tmp_path, monkeypatch, capsys):
    """The metric of our files is what the run really logs, and its settings are the trial's."""
    monkeypatch.setattr(engine, "executor", InProcess())
    faces = {"count": 1200, "people": 600, "size": 32, "nuisances": "none"}
    data = {"class_path": "ssl_faces.rendered.RenderedFaces", "init_args": faces}
    (tmp_path / "few.yaml").write_text(yaml.safe_dump({"data": {"sets": [data]}}))
    of_ours = yaml.safe_load((ROOT / "configs/sweep/hybrid_independence.yaml").read_text())
    # fmt: off
    command = [
        "ssl-faces", "fit", "-c", METHOD, "-c", str(tmp_path / "few.yaml"),
        "--data.size=32", "--data.batch_size=4", f"--data.cache={tmp_path / 'packed'}",
        "--model.encoder.name=resnet18", "--model.encoder.input_size=32",
        "--model.encoder.width=0.0625", "--model.code_dim=16", "--trainer.accelerator=cpu",
        "--trainer.devices=1", "--trainer.precision=32-true", "--trainer.max_steps=2",
        "--trainer.max_epochs=-1", "--trainer.enable_model_summary=false", "--probe_every=1",
        "--panels_every=1", "${args}",
    ]
    # fmt: on
    path = tmp_path / "sweep.yaml"
    parameters = {"model.independence_weight": {"values": [0.0, 2.5]}}
    content = {**of_ours, "command": command, "parameters": parameters}
    path.write_text(yaml.safe_dump(content))
    assert content["metric"]["name"] == METRIC
    out = tmp_path / "out"
    assert sweep(path, out) == 0
    assert capsys.readouterr().out.count("kept back from training") == 2
    notes = read_notes(out)
    assert [note["state"] for note in notes] == ["complete", "complete"]
    for note, weight in zip(notes, (0.0, 2.5), strict=True):
        run = out / "trials" / note["folder"]
        settings = yaml.safe_load((run / "config.yaml").read_text())
        assert settings["model"]["init_args"]["independence_weight"] == weight
        card = json.loads((run / "encoder/card.json").read_text())
        assert note["value"] == pytest.approx(card["online"]["figures"][METRIC], abs=1e-3)
        assert 0 <= note["value"] <= 100
        assert len(note["values"]) == 2
    page = tmp_path / "page.html"
    assert main(["dashboard", str(out), "--out", str(page)]) == 0
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    data_of = json.loads(found[1])
    assert data_of["objective"] == METRIC
    assert [run["settings"]["model.independence_weight"] for run in data_of["runs"]] == [0.0, 2.5]
    assert all([one["step"] for one in run["panels"]] == [1, 2] for run in data_of["runs"])
    assert any(name.startswith("online/rank/") for name in data_of["metrics"]["Collapse"])
