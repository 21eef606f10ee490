"""All commands of all pages have arguments that exist. Other tests run many of them."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import linear_probe.cli
import ssl_faces.cli
from ssl_faces.bench.cli import BENCHES
from ssl_faces.common import arguments
from ssl_faces.common.arguments import Parser
from ssl_faces.common.settings_parser import SettingsErrors
from tests.support.pages import commands

ROOT = Path(__file__).parents[2]
MAIN = {"ssl-faces": ssl_faces.cli.main, "linear-probe": linear_probe.cli.main}
GIVEN = re.compile(r"\s*([A-Z_]+=\S+\s+)*(ssl-faces|linear-probe)\s")
"""A command, perhaps with variables before it."""


def pages():
    # CONTRIBUTING's are run by the test of its worked example.
    places = (
        "README.md",
        "checkpoints/*.md",
        "configs/*/*.md",
        "linear_probe/*.md",
        "ssl_faces/*/*.md",
    )
    return sorted(path for place in places for path in ROOT.glob(place))


def page_commands():
    """Each command once, with the page that has it first."""
    known = {}
    for page in pages():
        for line in commands(page.read_text()):
            # `fit` has its own test, which goes through all settings.
            if GIVEN.match(line) and " fit " not in line and "…" not in line:
                known.setdefault(line, page)
    return [
        pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}") for line, page in known.items()
    ]


class Parsed(BaseException):
    """The arguments are right."""


def stop(*_):
    raise Parsed


@pytest.fixture
def parses_only(monkeypatch):
    """Each command ends when its arguments are parsed; files need not exist."""
    monkeypatch.setattr(arguments, "check_exists", lambda path: None)
    for module in ("ssl_faces.apps.search", "ssl_faces.apps.serve.command"):
        monkeypatch.setattr(import_module(module), "index_folder", Path)
    for kind in (Parser, SettingsErrors):

        def parse(self, *more, kind=kind, **options):
            super(kind, self).parse_args(*more, **options)
            raise Parsed

        monkeypatch.setattr(kind, "parse_args", parse, raising=False)
    for name in BENCHES:
        monkeypatch.setattr(import_module(f"ssl_faces.bench.{name}"), "measure", stop)


@pytest.mark.usefixtures("parses_only")
@pytest.mark.parametrize("command", page_commands())
def test_its_arguments_exist(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=\S+", word)]
    with pytest.raises(Parsed):
        pytest.fail(f"{MAIN[words[0]](words[1:])}: {capsys.readouterr().err}")
