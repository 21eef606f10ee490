"""Runs, a comparison and a sweep as their folders are, with known figures."""

import json

import pytest
import yaml
from PIL import Image

PROBE = "online/expression_linear/expression"


def write_run(folder, weight=1.0, name="FaceCycleContrast", best=40.0):
    """A run of 200 steps: a loss that falls, a probe every 100 steps, two panels."""
    out = folder / "csv" / "version_0"
    out.mkdir(parents=True)
    rows = [f"epoch,loss,loss/cycle,{PROBE},online/rank/expression,step"]
    for step in range(19, 200, 20):
        rows.append(f"0,{10 / (step + 1)},{1 / (step + 1)},,,{step}")
    rows += [f",,,{best - 5},50.0,100", f",,,{best},60.0,200"]
    (out / "metrics.csv").write_text("\n".join(rows) + "\n")
    settings = {
        "out": str(folder),
        "seed_everything": 0,
        "model": {
            "class_path": f"ssl_faces.methods.x.{name}",
            "init_args": {"independence_weight": weight, "encoder": {"name": "resnet18"}},
        },
        "data": {"positives": "picture"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "panels").mkdir()
    for step, colour in ((100, (200, 0, 0)), (200, (0, 0, 200))):
        Image.new("RGB", (300, 100), colour).save(folder / f"panels/step_{step:07d}.png")
    return folder


def write_records(path, encoder, value):
    record = {
        **{"task": "expression", "data_set": "FER-2013", "split": "Training -> PublicTest"},
        **{"encoder": encoder, "feature_space": "pooled", "metric": "accuracy", "unit": "%"},
        **{"value": value, "low": value - 1, "high": value + 1, "n": 3589},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


@pytest.fixture
def comparison(tmp_path):
    """Two methods, each with a seed, and their scores."""
    out = tmp_path / "compare"
    for method, best in (("hybrid", 44.0), ("simclr", 41.0)):
        run = write_run(out / method / "seed0/stage1", name=method.title(), best=best)
        write_records(out / "probe/records.jsonl", str(run), best + 2)
    write_records(out / "probe/records.jsonl", "HOG", 43.0)
    return out


@pytest.fixture
def swept(tmp_path):
    """Six trials: the figure is 40 + 10 log10(weight), whatever the temperature."""
    out = tmp_path / "sweep"
    notes = []
    for number in range(6):
        weight, temperature = [0.1, 1.0, 10.0][number % 3], [0.2, 0.1][number // 3]
        best = 40 + 10 * [-1, 0, 1][number % 3]
        write_run(out / f"trials/{number:04d}", weight, best=best)
        settings = {"model.independence_weight": weight, "model.temperature": temperature}
        notes.append({"state": "complete", "value": best, "values": [best - 5, best]})
        notes[-1] |= {"settings": settings, "params": settings}
    for number, note in enumerate(notes):
        (out / f"trials/{number:04d}.json").write_text(json.dumps(note))
    about = {
        "name": "independence",
        "metric": {"name": PROBE, "goal": "maximize"},
        "parameters": {
            "model.independence_weight": {"values": [0.1, 1.0, 10.0]},
            "model.temperature": {"values": [0.1, 0.2]},
        },
    }
    (out / "sweep.json").write_text(json.dumps(about))
    return out
