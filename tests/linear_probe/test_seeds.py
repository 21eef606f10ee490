"""Several seeds in one run: the figures of as many runs, features of trained encoders once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from linear_probe.cli import main
from linear_probe.features.frozen import EncoderSource, Features, Pictures
from linear_probe.records.predictions import predictions_path, read_predictions
from linear_probe.records.record import read_records
from linear_probe.tasks import Expression
from ssl_faces.data.sets.discover import find_face_sets


def run(out, *arguments):
    given = ["run", "--bootstrap", "20", "--device", "cpu", "--out", out, *arguments]
    assert main([*map(str, given)]) == 0
    return read_records(out / "records.jsonl")


def alike(records):
    return {record.name: replace(record, seconds=0.0) for record in records}


def test_seeds_are_as_many_runs(small_data, tmp_path, save_tiny, monkeypatch, capsys):
    tiny = save_tiny(tmp_path / "tiny", seed=5)  # untrained weights of no seed asked for
    seen = {}
    call = EncoderSource.__call__

    def counting(self, images):
        seen[self.name] = seen.get(self.name, 0) + len(images)
        return call(self, images)

    monkeypatch.setattr(EncoderSource, "__call__", counting)
    common = (
        *("--encoder", tiny, "--features", "expression"),
        *("--task", "identity", "--data", small_data),
    )
    together = run(tmp_path / "both", "--seeds", "0,3", *common)
    assert seen == {str(tiny): 24, f"{tiny}, untrained": 48}
    assert " ±" in capsys.readouterr().out
    apart = [
        record for seed in ("0", "3") for record in run(tmp_path / seed, "--seed", seed, *common)
    ]
    assert {record.seed for record in together} == {0, 3}
    # One draw of test rows for all: their mean over seeds is as uncertain as one seed's.
    assert len({record.sample for record in together}) == 1
    assert alike(together) == alike(apart)
    for record in together:
        kept = read_predictions(predictions_path(tmp_path / "both", record))
        assert (kept is not None) == (record.metric == "accuracy")
        if kept is not None:
            assert 100 * np.mean(kept.targets == kept.predicted) == pytest.approx(record.value)


def test_expression_fits_seeds_as_one_problem(small_data):
    sets = find_face_sets(small_data, "all")
    tasks = [Expression(sets, seed=seed, replicates=20) for seed in (0, 1, 2)]
    noise = torch.randn(len(tasks[0].labels), 7, generator=torch.Generator().manual_seed(0))
    values = torch.nn.functional.one_hot(torch.from_numpy(tasks[0].labels), 7) + 0.7 * noise
    features = Features(values, tasks[0].indices)
    pictures = Pictures(tasks[0].faces, tasks[0].indices)
    together = Expression.score_together(tasks, features, pictures)
    assert len({figures[0].sample for figures in together}) == 1
    for task, figures in zip(tasks, together, strict=True):
        alone = task.score(features, pictures)
        assert [f.hyperparameters for f in figures] == [f.hyperparameters for f in alone]
        for ours, theirs in zip(figures, alone, strict=True):
            assert ours.value == pytest.approx(theirs.value)
            assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
        np.testing.assert_allclose(
            figures[0].predictions.scores, alone[0].predictions.scores, atol=1e-3
        )
    validation = {task.rows(features, pictures).validation.tobytes() for task in tasks}
    assert len(validation) == 3


def test_conditions_of_a_run(small_data, tmp_path, tiny):
    records = run(
        tmp_path / "out",
        *("--encoder", tiny, "--features", "expression", "--no-baselines", "--data", small_data),
        *("--task", "expression,identity", "--label-shares", "50", "--robustness", "darkness"),
    )
    points = {
        (r.task, r.condition["factor"], r.condition["level"])
        for r in records
        if r.condition and r.metric == "accuracy"
    }
    gammas = (1.5, 2, 3, 4, 6)
    assert points == {
        ("expression", "labels", 50),
        *((task, "darkness", gamma) for task in ("expression", "identity") for gamma in gammas),
    }
    for record in records:
        if record.condition:
            assert (
                "labels" if record.condition["factor"] == "labels" else "degraded"
            ) in record.note
    assert len({record.name for record in records}) == len(records)


def test_facecycles_protocol_stands_beside_ours(small_data, tmp_path, tiny, capsys):
    common = ("--encoder", tiny, "--features", "expression", "--no-baselines", "--data", small_data)
    out = tmp_path / "out"
    run(out, *common, "--task", "pose")
    records = run(out, *common, "--protocol", "facecycle", "--epochs", "2")
    assert {(r.task, r.probe) for r in records if r.feature_space} == {
        ("pose", "ridge regression"),
        ("pose", "least squares, FaceCycle's protocol"),
        ("expression", "linear layer by SGD, FaceCycle's protocol"),
        ("identity", "cosine similarity, FaceCycle's protocol"),
    }
    assert main(["report", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "accuracy 48.76" in printed
    assert "MAE yaw 11.70" in printed
    assert "accuracy 73.72" in printed
