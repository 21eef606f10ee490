"""Bad values in YAML files of jobs, comparisons, sweeps, suites and claims are refused by name."""

import math
from pathlib import Path

import pytest
import yaml

from linear_probe.plans.claims.settings import read_claims
from linear_probe.plans.suite import read as read_suite
from ssl_faces.plan.comparison import read as read_comparison
from ssl_faces.plan.job import read as read_job
from ssl_faces.plan.sweep.settings import read as read_sweep
from tests.inputs.bad import BAD_FILES, write_bad_files
from tests.support.refusals import message_of

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs/method/simclr.yaml")
_ARM = {"command": "run", "arguments": {}}
_STAGE = {"configs": [CONFIG], "arguments": {"trainer.max_steps": 2}}
READERS = {
    "job": (
        read_job,
        {
            **{"stages": {"one": _STAGE}, "seed": 0, "probe": {"batch_size": 8, "max_train": 100}},
            "resources": {
                "fit": {"cpus": 2, "gpus": 1, "memory_gb": 1.5, "hours": 2.5, "attempts": 3}
            },
        },
    ),
    "compare": (
        read_comparison,
        {
            "budget_pflop": 1.5,
            "seeds": [0],
            "methods": {"a": [{"configs": [CONFIG], "share": 1.0}]},
        },
    ),
    "sweep": (
        read_sweep,
        {
            "program": "ssl-faces",
            "method": "random",
            "metric": {"name": "a", "goal": "minimize"},
            "parameters": {"a": {"min": 0.5, "max": 2.5}, "b": {"values": [1, 2]}},
            "run_cap": 3,
            "command": ["ssl-faces", "fit", "-c", CONFIG, "${args}"],
        },
    ),
    "suite": (
        read_suite,
        {"encoders": ["a"], "tasks": ["pose"], "probes": {"p": {"arguments": {"seed": 0}}}},
    ),
    "claims": (
        read_claims,
        {
            "seeds": [0],
            "smallest": [{"effect": 1.0, "metrics": ["accuracy"], "reason": "a point"}],
            "claims": {
                "a": {
                    **{"says": "a", "paper": "b", "published": "c", "level": 0.5},
                    **{"idea": {**_ARM, "fit": [_STAGE]}, "without": _ARM, "at_most_worse": 1.5},
                }
            },
        },
    ),
}
BAD_NUMBERS = (math.nan, math.inf, -math.inf, -1, -(10**30), 10**30, "ten", [1], {"a": 1}, True)
# Numbers that may be negative, or have no largest value.
_ALLOWED = {
    **dict.fromkeys(("min", "max", "level"), (-1, -(10**30), 10**30)),
    **dict.fromkeys(("budget_pflop", "at_most_worse", "effect"), (10**30,)),
}


def numbers(settings, path=()):
    """Paths of all numbers in a file but those of a command's arguments, which reads them."""
    if isinstance(settings, dict):
        inner = [(k, v) for k, v in settings.items() if k not in ("arguments", "values")]
    elif isinstance(settings, list):
        inner = list(enumerate(settings))
    else:
        return [path] if isinstance(settings, int | float) else []
    return [result for key, value in inner for result in numbers(value, (*path, key))]


def changed(settings, path, value):
    if not path:
        return value
    inner = changed(settings[path[0]], path[1:], value)
    if isinstance(settings, dict):
        return {**settings, path[0]: inner}
    return [inner if i == path[0] else one for i, one in enumerate(settings)]


def test_the_files_that_are_changed_are_good(tmp_path):
    for kind, (read, good) in READERS.items():
        path = tmp_path / f"{kind}.yaml"
        path.write_text(yaml.safe_dump(good))
        assert read(path)


@pytest.mark.parametrize(
    ("kind", "path"), [(k, path) for k, (_, good) in READERS.items() for path in numbers(good)]
)
def test_bad_numbers(kind, path, tmp_path):
    read, good = READERS[kind]
    file = tmp_path / "file.yaml"
    for value in BAD_NUMBERS:
        if value is True and path[-1] in ("min", "max"):
            continue  # YAML's own 1
        if value is not True and value in _ALLOWED.get(path[-1], ()):
            continue
        file.write_text(yaml.safe_dump(changed(good, path, value)))
        message = message_of(read, file)
        name = [key for key in path if isinstance(key, str)][-1]
        assert str(file) in message
        assert name in message, f"{kind} {path} {value!r}: {message}"


@pytest.mark.parametrize("kind", READERS)
def test_bad_files(kind, tmp_path):
    bad = tmp_path / "bad"
    write_bad_files(bad)
    for name in BAD_FILES:
        message = message_of(READERS[kind][0], bad / name)
        assert name in message


@pytest.mark.parametrize("kind", READERS)
def test_null_bytes(kind, tmp_path):
    file = tmp_path / "file.yaml"
    read, good = READERS[kind]
    file.write_text(yaml.safe_dump({**good, "description": "a\0b"}))
    assert "description: a null byte" in message_of(read, file)
