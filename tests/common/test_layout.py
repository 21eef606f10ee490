"""The layout: rooms import only rooms below them, and no files import each other in a circle."""

import ast
import gc
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ROOMS = [
    *(
        f"ssl_faces.{room}"
        for room in (
            *("common", "data", "rendered", "pairs", "encoders", "networks", "losses", "methods"),
            *("callbacks", "training", "prepare", "plan", "bench", "apps", "cli"),
        )
    ),
    "ssl_faces",
    *(
        f"linear_probe.{room}"
        for room in (
            *("arguments", "features", "sources", "records", "stats", "probes", "tasks", "reports"),
            *(
                "heads",
                "experiments",
                "plans",
                "bench",
                "api",
                "head_commands",
                "commands",
                "parser",
                "cli",
            ),
        )
    ),
    "linear_probe",
]
"""Folders and loose modules from the lowest to the highest. A registry may import the files of a
higher folder by its name, as `encoders` does with `networks`."""


def names_of(tree):
    """All that a file imports, also in functions and for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.fixture(scope="module")
def imports():
    """The modules of both packages that each of their modules imports."""
    paths = {}
    for package in ("ssl_faces", "linear_probe"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            paths[name] = path
    # A finalizer that parses, as one whose error is printed does, breaks a parse that it interrupts
    # (Python 3.11's SystemError: AST constructor recursion depth mismatch).
    gc.disable()
    try:
        trees = {name: ast.parse(path.read_bytes()) for name, path in paths.items()}
    finally:
        gc.enable()
    return {
        module: {
            name if name in trees else parent
            for name in names_of(tree)
            if name in trees or (parent := name.rpartition(".")[0]) in trees
        }
        for module, tree in trees.items()
    }


def room_of(module):
    return ".".join(module.split(".")[:2])


def test_rooms_import_only_lower_rooms(imports):
    place = {room: number for number, room in enumerate(ROOMS)}
    upwards = [
        f"{module} imports {name}"
        for module, names in imports.items()
        for name in names
        if place[room_of(name)] > place[room_of(module)]
    ]
    assert not upwards


def test_no_files_import_each_other_in_a_circle(imports):
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
