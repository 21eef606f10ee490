"""Bad values for all settings of methods, data, heads and jobs; every number has a range."""

import dataclasses
import inspect
import math
import pkgutil
import types
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import linear_probe.heads
import ssl_faces.methods
from linear_probe.cli import main as probe_main
from linear_probe.experiments.job_files import read_job
from linear_probe.experiments.verbs import VERBS
from linear_probe.experiments.video.data import VideoData
from linear_probe.heads.face_gcn.data import LandmarkData
from linear_probe.heads.goals import Categories
from linear_probe.heads.head import Head
from ssl_faces.cli import main
from ssl_faces.common.arguments import Range
from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import range_of
from ssl_faces.data.faces import FaceSet
from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.method import Method
from ssl_faces.methods.simclr import SimCLR
from ssl_faces.pairs.module import FaceData
from ssl_faces.rendered import RenderedClips, RenderedFaces
from ssl_faces.training.fit import FaceCLI, build

BAD = (
    *(-1, 0, 0.5, -0.5, 1.5, 10**30, -(10**30), math.nan, math.inf, -math.inf, True, None),
    *("", "ten", "nan", "a\0b", [], [1], [1, 2, 3], ["a"], {}, {"a": 1}, [[]]),
)


class Setting(NamedTuple):
    """A setting of a class or a command.

    Attributes:
        path: its keys within the settings.
        allowed: range of its number, if it is one.
        nullable: whether it may be None.
    """

    path: tuple[str, ...]
    allowed: Range | None
    nullable: bool


def classes(base):
    """The classes that a config can name."""
    for one in base.__subclasses__():
        if not inspect.isabstract(one) and one.__module__.startswith(("ssl_faces", "linear_probe")):
            yield one
        yield from classes(one)


def settings_of(call, path=()):
    """All settings of a class, including those of its dataclasses."""
    hints = get_type_hints(
        call if dataclasses.is_dataclass(call) else call.__init__, include_extras=True
    )
    for name in inspect.signature(call).parameters:
        hint = hints[name]
        options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        nullable = types.NoneType in options
        for option in options:
            if dataclasses.is_dataclass(option):
                yield from settings_of(option, (*path, name))
        allowed = [range_of(o) for o in options if range_of(o) is not None]
        yield Setting((*path, name), allowed[0] if allowed else None, nullable)


def bare_numbers(hint):
    """Whether a type has an int or a float without a range."""
    if hint in (int, float):
        return True
    if get_origin(hint) is Annotated:
        return range_of(hint) is None
    if get_origin(hint) in (dict, Mapping):
        return bare_numbers(get_args(hint)[1])
    if get_origin(hint) is Callable or not get_args(hint):
        return False
    return any(bare_numbers(one) for one in get_args(hint))


for package in (ssl_faces.methods, linear_probe.heads):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        import_module(module.name)
JOBS = [getattr(import_module(verb.module), verb.job) for verb in VERBS.values()]
CONFIGURED = [
    *(FaceData, *classes(Method), *classes(Head), *classes(VideoData), *JOBS),
    *classes(LandmarkData),
]


@pytest.mark.parametrize("one", CONFIGURED, ids=lambda one: one.__name__)
def test_every_number_has_a_range(one):
    """Face sets check their own numbers."""
    pending, seen = [one], set()
    while pending:
        call = pending.pop()
        hints = get_type_hints(
            call if dataclasses.is_dataclass(call) else call.__init__, include_extras=True
        )
        for name, hint in hints.items():
            if call.__name__ == "FaceGCN" or name == "return":
                continue  # settings of a job, checked already
            assert not bare_numbers(hint), f"{call.__name__}.{name}: {hint}"
            for option in (hint, *get_args(hint)):
                if (
                    isinstance(option, type)
                    and dataclasses.is_dataclass(option)
                    and option not in seen
                ):
                    seen.add(option)
                    pending.append(option)


class _Parsed(Exception):
    pass


class _Reader(FaceCLI):
    """Keeps the parser, which takes long to build."""

    found: Any = None

    def parse_arguments(self, parser, args):
        _Reader.found = parser
        raise _Parsed


@cache
def reader():
    with pytest.raises(_Parsed):
        build(_Reader, FaceData, ["fit"])
    return _Reader.found


def changed(given, path, value):
    """A copy with another value at this path."""
    if not path:
        return value
    inner = given.get(path[0])
    return {**given, path[0]: changed(inner if isinstance(inner, dict) else {}, path[1:], value)}


def small(method):
    """Settings of a method that is built quickly."""
    names = inspect.signature(method).parameters
    of_vits = method.name in ("mae", "ijepa", "dinov2")
    encoder = {"name": "vit_tiny" if of_vits else "resnet18", "input_size": 32}
    usual = {
        "encoder": encoder,
        "size": "small",
        "trunk_weights": "random",
        "input_size": 32,
        "projection_dim": 8,
        "hidden_dim": 8,
        "prototypes": 8,
        "decoder_width": 4,
    }
    return {name: value for name, value in usual.items() if name in names}


def check(call, setting, value):
    """A value outside the range is refused by a sentence that names the setting; others may be."""
    key = setting.path[-1]
    try:
        call()
    except InputError as error:
        message = str(error)
        assert "\n" not in message
        names = (key, key.rstrip("s"), key.replace("_", " "), "null byte", ": expected")
        assert any(name in message for name in names), f"{key}: {value!r}: {message}"
        return
    if setting.allowed is not None and not (value is None and setting.nullable):
        setting.allowed(value)


METHODS = [one for one in classes(Method) if one is not FaceCycleIdentity]
OF_FIT = [
    *((one, setting) for one in METHODS for setting in settings_of(one)),
    *((FaceData, setting) for setting in settings_of(FaceData)),
    *((one, setting) for one in (RenderedFaces, RenderedClips) for setting in settings_of(one)),
]


def check_fit(one, setting, value, folder):
    whole = {
        "model": {"class_path": "ssl_faces.methods.simclr.SimCLR", "init_args": small(SimCLR)},
        "data": {"rendered": 64, "size": 32, "cache": str(folder)},
    }
    if issubclass(one, Method):
        args = changed(small(one), setting.path, value)
        whole["model"] = {"class_path": f"{one.__module__}.{one.__name__}", "init_args": args}
    elif issubclass(one, FaceSet):
        usual = {"people": 8, "count" if one is RenderedFaces else "clips": 8}
        path = f"{one.__module__}.{one.__name__}"
        args = changed(usual, setting.path, value)
        whole["data"]["sets"] = [{"class_path": path, "init_args": args}]
    else:
        whole["data"] = changed(whole["data"], setting.path, value)
    config = write(folder, whole)

    def call():
        parsed = reader().parse_args(["fit", "-c", config, "--out", str(folder / "out")])
        reader().instantiate(parsed)

    check(call, setting, value)


OF_HEADS = [
    (one, setting)
    for one in classes(Head)
    if one.__name__ not in ("FaceGCN", "MAFER")
    for setting in settings_of(one)
    if setting.path[0] not in ("goal", "encoder")
]
OF_JOBS = [
    (verb, setting)
    for verb, job in zip(VERBS, JOBS, strict=True)
    for setting in settings_of(job)
    if setting.path != ("head",)
]


def check_head(one, setting, value, folder):
    names = inspect.signature(one).parameters
    usual = {"picture_size": 16, "width": 0.0625, "dim": 8, "heads": 2}
    usual |= {"hidden": 8 if one.name == "thin" else [8, 8], "backbone": "resnet10t"}
    args = {name: given for name, given in usual.items() if name in names}
    args = changed(args, setting.path, value)
    head = {"class_path": f"{one.__module__}.{one.__name__}", "init_args": args}
    words = [write(folder, {"head": head}), f"--out={folder / 'out'}"]

    def call():
        job, _, _ = read_job("head", ["-c", *words])
        job.head(Categories(7), None)

    check(call, setting, value)


def check_job(verb, setting, value, folder):
    usual = {
        "head": {"head": {"class_path": "linear_probe.heads.cvt.CVT"}},
        "video": {
            "data": {"class_path": "linear_probe.experiments.video.data.RenderedVideos"},
            "encoder": "a",
        },
        "audit": {"compressions": [{"quantise": "static"}]},
        "landmarks": {"data": {"class_path": "linear_probe.heads.face_gcn.data.RenderedLandmarks"}},
    }
    config = write(folder, changed(usual[verb], setting.path, value))
    check(lambda: read_job(verb, ["-c", config, f"--out={folder / 'out'}"]), setting, value)


def write(folder, content):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


CASES = [
    *((check_fit, *case) for case in OF_FIT),
    *((check_head, *case) for case in OF_HEADS),
    *((check_job, *case) for case in OF_JOBS),
]


@settings(max_examples=50)
@given(case=st.sampled_from(CASES), value=st.sampled_from(BAD))
def test_some_bad_values(case, value, tmp_path_factory):
    run, owner, setting = case
    run(owner, setting, value, tmp_path_factory.mktemp("case"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"{getattr(c[1], '__name__', c[1])}.{'.'.join(c[2].path)}"
)
def test_all_bad_values(case, tmp_path):
    run, owner, setting = case
    for value in BAD:
        run(owner, setting, value, tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seed_everything=-1",), "seed_everything: -1; give a whole number from 0 to 4,294"),
        (("--panels_every=-1",), "panels_every: -1; give a whole number from 0"),
        (("--checkpoint_every=0",), "checkpoint_every: 0; give a whole number from 1"),
        (("--data.size=0",), "data.size: 0; give a whole number from 8 to 1,024"),
        (("--out=",), "--out: empty; give a value, or leave it out"),
        (("--model.temperature=[1]",), "model.temperature: expected float, not [1]"),
        (("-c", "{latin1}"), "latin1.yaml is not UTF-8"),
        (("--data={latin1}",), "latin1.yaml is not UTF-8"),
        (("--model.optimizer={latin1}",), "model: the file is not UTF-8; save it as UTF-8"),
        (("-c", "{list}"), "no settings in it; write a line KEY: VALUE for each"),
        (
            ("-c", "facecycle_identity_small"),
            "configuration: model.motion_checkpoint: missing; see `ssl-faces fit --help`",
        ),
    ],
)
def test_refusals_of_fit(words, message, tmp_path, capsys):
    places = {name: str(tmp_path / f"{name}.yaml") for name in ("latin1", "list")}
    Path(places["latin1"]).write_bytes(b"model: \xe9\n")
    Path(places["list"]).write_text("- 1\n- 2\n")
    arguments = [word.format(**places) for word in words]
    out = tmp_path / "out"
    assert main(["fit", "--model=ssl_faces.methods.simclr.SimCLR", f"--out={out}", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


SIMCLR = "ssl_faces.methods.simclr.SimCLR"
FER = "linear_probe.heads.inception_fer.PlainFER"


@pytest.mark.parametrize(
    ("call", "content", "message"),
    [
        (*(main, "data: {batchsize: 4}"), "data.batchsize: unknown key (did you mean data.batch_"),
        (
            *(main, f"model: {{class_path: {SIMCLR}, init_args: {{temprature: 1}}}}"),
            "model.temprature: unknown key (did you mean temperature?)",
        ),
        (
            *(main, f"model: {{class_path: {SIMCLR}, init_args: {{encoder: {{widht: 1}}}}}}"),
            "model.encoder.widht: unknown key (did you mean encoder.width?)",
        ),
        (*(probe_main, "taks: pose"), "taks: unknown key (did you mean task?)"),
        (
            *(probe_main, f"head: {{class_path: {FER}, init_args: {{widht: 1}}}}"),
            "head.widht: unknown key (did you mean width?)",
        ),
    ],
)
def test_unknown_keys_name_their_file_and_the_nearest_key(
    call, content, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text(content)
    verb, config = ("fit", "simclr_small") if call is main else ("head", "plain_fer")
    Path("good.yaml").write_text("trainer: {max_steps: 1}" if call is main else "bootstrap: 9")
    configs = ("-c", config, "-c", "wrong.yaml", "--config=good.yaml")
    assert call([verb, *configs, "--out", "out"]) == 2
    assert f"error: configuration: wrong.yaml: {message}" in capsys.readouterr().err
    assert not Path("out").exists()
