"""The README's commands that score, compare and train heads, on small files in their places.

`ssl-faces sweep` and `dashboard` are run by tests/sweep/test_wandb_format.py.
"""

import shlex
from pathlib import Path

import pytest
import torch
import yaml

from ssl_faces.encoders.encoder import save_encoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.plan import engine
from tests.support.in_process import MAIN, InProcess
from tests.support.pages import ROOT, commands, section
from tests.support.small_sets import write_fer2013, write_keypoints, write_lfw, write_utkface

FEW_CLIPS = {"clips": 6, "people": 6, "frames": 4, "fps": 8.0, "size": 16, "nuisances": "none"}
FIT = {
    "data.sets": [{"class_path": "ssl_faces.rendered.RenderedClips", "init_args": FEW_CLIPS}],
    "data.batch_size": 2,
    "data.size": 16,
    "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
    "panels_every": 0,
    "probe_every": 0,
}
"""Arguments of `fit` for runs of a second."""

PROBE = {"task": "pose", "data": "rendered:64", "baselines": False, "bootstrap": 9}
HEAD = {"accelerator": "cpu", "precision": "32-true", "bootstrap": 20}


def smaller(name, read):
    """A config of the project with few methods, runs and steps."""
    fit = {**FIT, "data.cache": str(Path.cwd() / "packed")}
    if name == "suite/standard":
        read |= {"encoders": ["runs/identity"], "tasks": ["expression"]}
        read["probes"] = {"linear": {"arguments": {"bootstrap": 9}}}
        read["heads"] = {"inception_fer": read["heads"]["inception_fer"] | {"encoders": [None]}}
    elif name == "experiment/facecycle_small":
        read["stages"]["motion"]["arguments"] = {"model.input_size": 16, "model.map_size": 16}
        read |= {"arguments": {**fit, "trainer.max_steps": 2}, "probe": PROBE}
    elif name == "compare/small":
        read |= {"budget_pflop": 1e-6, "seeds": [0], "arguments": fit, "probe": PROBE}
        network = {"model.encoder.input_size": 16, "model.encoder.width": 0.0625}
        stage = {"configs": ["configs/method/simclr.yaml"], "arguments": network}
        read["methods"] = {"simclr": [stage]}
        settings = {"simclr": {"model.temperature": [0.1, 0.2]}}
        read["tuning"] |= {"share": 0.5, "settings": settings, "probe": PROBE}
    elif name == "head/inception_fer":
        read |= HEAD | {"training": read["training"] | {"epochs": 1}}
        read["head"]["init_args"] = {"width": 0.0625, "hidden": [16, 8]}
    elif name == "head/video_statistics":
        read["data"]["init_args"] |= {"clips": 24, "people": 8}
        read |= {"encoder": "runs/identity", "bootstrap": 20}
    elif name == "audit/utkface_gender":
        read |= {"encoder": "runs/identity", "compressions": [{"sparsity": 0.5}], "bootstrap": 9}
    elif name == "claims":
        claim = read["claims"]["inception_beats_plain"]
        claim["idea"] = {"configs": ["configs/head/inception_fer.yaml"]}
        claim["without"] = claim["idea"] | {"arguments": {"head.init_args.width": 0.125}}
        read |= {"seeds": [0], "arguments": {}, "claims": {"inception_beats_plain": claim}}
    return read


SMALLER = (
    *("suite/standard", "experiment/facecycle_small", "compare/small", "head/inception_fer"),
    *("head/video_statistics", "audit/utkface_gender", "claims"),
)


@pytest.fixture(name="place", scope="module")
def _place(tmp_path_factory):
    """A folder with small data in the usual folder, encoders in `runs`, and small configs."""
    place = tmp_path_factory.mktemp("readme")
    data = place / ".cache/ssl-faces/data"
    for write in (write_fer2013, write_keypoints, write_lfw, write_utkface):
        write(data)
    torch.manual_seed(0)
    encoder = FaceCycleEncoder(4, code_dim=8, code_size=32)
    save_encoder(encoder, place / "runs/identity/encoder", {"method": "none"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("HOME", str(place))
        patch.delenv("SSL_FACES_DATA", raising=False)
        patch.setenv("TORCH_HOME", str(place / "torch"))
        patch.setenv("WANDB_MODE", "disabled")
        patch.setattr(engine, "executor", InProcess())
        patch.setattr(engine, "_TICK", 0.0)
        for name in SMALLER:
            read = yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())
            path = place / f"configs/{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(smaller(name, read), sort_keys=False))
        yield place


def run(command, place, capsys):
    program, *words = shlex.split(command.replace("~", str(place)))
    code = MAIN[program](words)
    printed = capsys.readouterr()
    assert code == 0, f"{command}: {printed.err}"
    return printed.out


def test_score_and_compare(place, capsys):
    lines = commands(section("README.md", "Score and compare"))
    probe, report, compare, suite, job, methods, *others = lines
    assert [other.split()[1] for other in others] == ["sweep", "dashboard"]
    run(probe, place, capsys)
    run(report, place, capsys)
    assert (place / "report.html").exists()
    assert "identity=expression_map" in run(compare, place, capsys)
    run(suite, place, capsys)
    assert "inception_fer" in (place / "runs/suite/report.md").read_text()
    assert "MAE yaw" in run(job, place, capsys)
    run(methods, place, capsys)
    assert "| simclr " in (place / "runs/compare/comparison.md").read_text()


def test_heads_and_claims(place, capsys):
    head, on_features, video, audit, claims = commands(section("README.md", "Heads and claims"))
    assert "inception_fer" in run(head, place, capsys)
    assert "hybrid" in run(on_features, place, capsys)
    assert "identity" in run(video, place, capsys)
    assert "50 % pruned" in run(audit, place, capsys)
    run(claims, place, capsys)
    assert "Inception layers beat" in (place / "runs/claims/claims.md").read_text()
