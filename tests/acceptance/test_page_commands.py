"""All commands of the pages have arguments that exist; the API reference documents all its own."""

import inspect
import re
import shlex
from html import unescape
from importlib import import_module
from pathlib import Path

import pytest
from docstring_parser import parse

import linear_probe
import linear_probe.cli
import ssl_faces
import ssl_faces.cli
from ssl_faces.bench.cli import BENCHES
from ssl_faces.common import arguments
from ssl_faces.common.arguments import Parser
from ssl_faces.common.reference import CONTRACTS, build
from ssl_faces.common.settings_parser import SettingsErrors
from tests.support.fits import completed
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


PUBLIC = [(p, name) for p in (ssl_faces, linear_probe) for name in p.__all__]


def public(package, name):
    value = getattr(package, name)
    return getattr(value, name, value)  # `methods` is a package and its function


def build_pages(arguments):
    build(Path(arguments[0]))
    return 0


def test_the_pages_are_built_without_a_warning(tmp_path):
    pytest.importorskip("pdoc")
    done = completed(tmp_path / "printed", str(tmp_path), command=build_pages)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    for package, name in PUBLIC:
        page = unescape((tmp_path / f"{package.__name__}.html").read_text())
        assert f'id="{name}"' in page, name
    for module in CONTRACTS:
        assert (tmp_path / f"{module.replace('.', '/')}.html").exists(), module
    assert "float32 [N, D] by feature space" in (tmp_path / "ssl_faces.html").read_text()


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_every_argument_is_documented(package, name):
    value = public(package, name)
    text = inspect.getdoc(value)
    assert text
    if inspect.isclass(value):
        return
    documented = {one for part in parse(text).params for one in part.arg_name.split(", ")}
    parameters = [p for p in inspect.signature(value).parameters if not p.startswith("_")]
    # One argument may be explained by the sentence itself.
    if len(parameters) > 1:
        assert set(parameters) <= documented
