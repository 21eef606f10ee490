"""Bad values for every argument of every command: used, or refused in one sentence."""

import re
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linear_probe.records.record import write_records
from ssl_faces import save_encoder
from ssl_faces.networks.backbone import BackboneEncoder
from tests.inputs.bad import (
    BAD_FILES,
    COMMANDS,
    MAIN,
    cases,
    names_it,
    outcome,
    parser_of,
    range_in,
    stop_before_work,
    write_bad_files,
)
from tests.support.records import ONE

ALL = [(program, command) for program, commands in COMMANDS.items() for command in commands]


@cache
def cases_of(program, command):
    return list(cases(program, command))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Valid files and folders for the other arguments."""
    root = tmp_path_factory.mktemp("good")
    torch.manual_seed(0)
    encoder = BackboneEncoder("resnet18", 32, 0.125, {"expression": 8, "identity": 6})
    draw = np.random.default_rng(0)
    (root / "faces").mkdir()
    for number in range(3):
        pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"faces/{number}.png")
    (root / "records").mkdir()
    write_records(root / "records/records.jsonl", [ONE])
    return {
        "encoder": str(save_encoder(encoder, root / "encoder", {})),
        "faces": str(root / "faces"),
        "face": str(root / "faces/0.png"),
        "records": str(root / "records"),
        "row": f"{ONE.encoder}={ONE.feature_space}",
        "run": str(root / "encoder"),
        "none": str(root / "none.yaml"),
    }


@pytest.fixture(autouse=True)
def _no_work(monkeypatch):
    stop_before_work(monkeypatch)


@pytest.mark.parametrize(
    ("program", "command"),
    # The benches of a method pass their options on to `fit`.
    [one for one in ALL if one[1] not in ("bench cost", "bench plan", "bench step")],
)
def test_unknown_options_are_named_first(program, command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert MAIN[program]([*command.split(), "--ouw=x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    pattern = rf"unknown option --ouw( \(did you mean --\w+\?\))?; see `{program} {command} --help`"
    assert re.search(pattern, line)
    assert "--out" not in COMMANDS[program][command] or "did you mean --out?" in line


def check(case, places, folder):
    bad = folder / "bad"
    here = folder / "here"
    here.mkdir(parents=True)
    write_bad_files(bad)
    sentence = outcome(case, {**places, **{name: str(bad / name) for name in BAD_FILES}}, here)
    if case.must_be_refused:
        assert sentence is not None, f"{case}: taken"
    if sentence is not None and places["none"] not in sentence:
        assert names_it(case, sentence), f"{case}: {sentence}"


@pytest.mark.parametrize(("program", "command"), ALL)
def test_every_number_has_a_range(program, command):
    for action in parser_of(program, command)._actions:
        assert action.type not in (int, float), f"{program} {command}: {action.option_strings}"
        if range_in(action.type) is not None:
            assert any(
                case.must_be_refused and case.name in action.option_strings
                for case in cases_of(program, command)
            )


@settings(max_examples=25)
@given(data=st.data())
def test_some_bad_values(data, places, tmp_path_factory):
    program, command = data.draw(st.sampled_from(ALL).filter(lambda of: cases_of(*of)))
    case = data.draw(st.sampled_from(cases_of(program, command)))
    check(case, places, tmp_path_factory.mktemp("case"))


@pytest.mark.slow
@pytest.mark.parametrize(("program", "command"), ALL)
def test_all_bad_values(program, command, places, tmp_path):
    for number, case in enumerate(cases_of(program, command)):
        check(case, places, tmp_path / str(number))
