"""The API reference is built without a warning, and documents every argument of the public API."""

import inspect
from html import unescape
from pathlib import Path

import pytest
from docstring_parser import parse

import linear_probe
import ssl_faces
from ssl_faces.common.reference import CONTRACTS, build
from tests.support.fits import completed

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
