"""The YAML of a comparison: what it may say, and one sentence where it may not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from ssl_faces.common.errors import InputError
from ssl_faces.common.yaml_settings import Probe, flags
from ssl_faces.plan.compare.settings import read
from tests.compare.conftest import ROOT, Write, compare, stage1, two_stages


def test_the_configs_that_come_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert len(read(Path("configs/compare/small.yaml")).methods) == 13
    assert len(read(Path("configs/compare/ablation.yaml")).methods) == 8
    comparison = read(Path("configs/compare/facecycle_encoder.yaml"))
    stages = comparison.methods["facecycle"]
    assert [comparison.share("facecycle", i) for i in range(len(stages))] == [0.8, 0.2]
    assert "--precision" in comparison.probe.words()


def test_shares_are_equal_where_none_is_given(write: Write) -> None:
    stages = [{k: v for k, v in stage.items() if k != "share"} for stage in two_stages()]
    comparison = read(write(methods={"facecycle": stages, "motion": [stage1()]}))
    assert comparison.share("facecycle", 0) == comparison.share("facecycle", 1) == 0.5
    assert comparison.share("motion", 0) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"budget": 3}, "budget: unknown key; take it out"),
        ({"budget_pflop": None}, "budget_pflop: is missing"),
        ({"budget_pflop": -1}, "budget_pflop: -1; give a number above 0"),
        ({"budget_pflop": float("inf")}, "budget_pflop: inf; give a number above 0"),
        ({"budget_pflop": "much"}, "budget_pflop: much; give a number above 0"),
        ({"seeds": []}, "seeds: list should have at least 1 item"),
        ({"seeds": [0, 0]}, "seeds: a seed is there twice"),
        ({"seeds": [-1]}, "seeds.0: -1; give a whole number from 0"),
        ({"methods": {}}, "methods: dictionary should have at least 1 item"),
        ({"methods": {"a": []}}, "methods.a: no stage"),
        ({"methods": {"../a": [stage1()]}}, "methods.../a"),
        ({"methods": {"probe": [stage1()]}}, "'probe' is the folder of the scores"),
        ({"methods": {"a": [{"arguments": {}}]}}, "methods.a.0.configs: is missing"),
        ({"methods": {"a": [{"configs": ["none.yaml"]}]}}, "none.yaml: no such file"),
        ({"methods": {"a": [{**stage1(), "share": 0.5}]}}, "shares of its 1 stages are not 1"),
        ({"methods": {"a": two_stages()[1:]}}, "not 1 together"),
        ({"methods": {"a": [stage1(**{"trainer.max_steps": 3})]}}, "'trainer.max_steps' follows"),
        ({"methods": {"a": [stage1(x="{previous}/y")]}}, "{previous} in its first stage"),
        ({"arguments": {"out": "x"}}, "arguments: 'out' follows from the comparison"),
        ({"probe": {"encoder": "x"}}, "probe.encoder: unknown key"),
        ({"probe": {"precision": "8"}}, "probe.precision: input should be '32', 'bf16' or 'auto'"),
        ({"spaces": {"b": {}}}, "spaces: no method 'b'"),
    ],
)
def test_what_it_can_not_say(
    changed: dict[str, Any],
    said: str,
    write: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(**changed)
    assert compare(path, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert message.startswith(f"ssl-faces: error: {path}: ")
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"- 1", b"a: [", b"\xff\xfe", b""])
def test_files_that_are_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.yaml: n"):
        read(path)
    with pytest.raises(InputError, match="can't be read"):
        read(tmp_path / "none.yaml")


_values = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-12 or x == 0),
    st.dictionaries(st.integers(0, 99), st.floats(0, 1), min_size=1),
    st.lists(st.integers(), min_size=1),
)


@given(_values)
def test_arguments_arrive_as_they_are_written(value: Any) -> None:
    parser = ArgumentParser(exit_on_error=False)
    kind: Any = dict[int, float] if isinstance(value, dict) else type(value)
    parser.add_argument("--key", type=list[int] if isinstance(value, list) else kind)
    assert parser.parse_args(flags({"key": value})).key == value
    # As they come from the file, too.
    assert yaml.safe_load(yaml.safe_dump({"key": value})) == {"key": value}


def test_probe_arguments_are_those_of_linear_probe_run() -> None:
    from linear_probe.arguments import parser

    probe = Probe(
        task="pose",
        features="map",
        data="rendered",
        or_rendered=True,
        baselines=False,
        max_train=100,
    )
    words = ["run", "--encoder", "x", "--out", "y", *probe.words()]
    found = parser().parse_args(words)
    for name, value in probe:
        if name == "baselines":
            assert (found.baselines == "none") is not value
        else:
            assert getattr(found, name) == value, name


def test_help_needs_no_torch() -> None:
    code = "import sys; from ssl_faces.cli import main\n"
    code += "try: main(['compare', '--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Stopped, the same command goes on" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == "False"
