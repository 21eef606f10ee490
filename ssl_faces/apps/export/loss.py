"""The cost of 8 bits: rotation of features and loss of accuracy; and the bytes and time saved."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.apps.export.faces import Faces
from ssl_faces.apps.export.formats import onnx_features
from ssl_faces.bench.apart import run_in_subprocess
from ssl_faces.bench.result import markdown
from ssl_faces.bench.timing import processor_side_by_side, ratio
from ssl_faces.common.hardware import hardware

COSINE = (
    "1 minus the cosine between a face's features in 32 and in 8 bits, after subtracting the mean "
    "of the 32-bit features over the faces"
)
TIMED = 32
"""Faces per batch, for the time."""

_REPLICATES = 1000
_SHOWN = ("accuracy", "kNN accuracy")


def measured_loss(
    before: bytes, after: bytes, spaces: Sequence[str], faces: Faces, data: str, max_train: int
) -> dict[str, Any]:
    """The loss by 8 bits, as plain JSON values.

    Args:
        before, after: ONNX files in 32 and in 8 bits.
        spaces: their outputs.
        faces: of the test part, to compare features on.
        data: folder to score on, or `rendered`.
        max_train: training images of the probe.

    Raises:
        InputError: a file or the data can't be used.
    """
    full, small = onnx_features(before, spaces), onnx_features(after, spaces)
    exact, rounded = full(faces.images), small(faces.images)
    batch = faces.images[:TIMED]
    calls = {"32": lambda: full(batch), "8": lambda: small(batch)}
    seconds = processor_side_by_side(calls, rounds=7)
    rates = {bits: round(len(batch) / median(values), 1) for bits, values in seconds.items()}
    errors = {space: cosine_error(exact[space], rounded[space]) for space in spaces}
    return {
        "cosine_error": {"measure": COSINE, "of": faces.of, "spaces": errors},
        "bytes": {"32": len(before), "8": len(after)},
        "faces_a_second": {
            "how": f"onnxruntime, CPU time of one core, batches of {len(batch)}, in turns",
            "hardware": hardware("cpu"),
            **rates,
            "ratio": round(ratio(seconds, "32", "8"), 3),
        },
        "max_train": max_train,
        "scores": _scores(before, after, data, max_train),
    }


def cosine_error(exact: Tensor, rounded: Tensor) -> dict[str, Any]:
    """`COSINE` of features [N, D]: mean with 95 % bootstrap interval over faces, and maximum."""
    mean = exact.double().mean(0)
    errors = 1 - F.cosine_similarity(exact.double() - mean, rounded.double() - mean)
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(len(errors), (_REPLICATES, len(errors)), generator=generator)
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = errors[draws].mean(1).quantile(ends).tolist()
    figures = {"mean": float(errors.mean()), "low": low, "high": high}
    return {**figures, "worst": float(errors.max()), "n": len(errors)}


def _scores(before: bytes, after: bytes, data: str, max_train: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("before.onnx", "after.onnx")]
        for path, content in zip(paths, (before, after), strict=True):
            path.write_bytes(content)
        argv = [*map(str, paths), "--data", data, "--max-train", str(max_train)]
        scores: list[dict[str, Any]] = run_in_subprocess("linear_probe.bench.paired_scores", argv)
    return scores


def in_words(loss: dict[str, Any], name: str) -> str:
    """The loss as a Markdown page."""
    cosines = [
        {
            "feature space": space,
            "cosine error, mean": f"{e['mean']:.5f} [{e['low']:.5f}, {e['high']:.5f}]",
            "worst": f"{e['worst']:.4f}",
            "n": e["n"],
        }
        for space, e in loss["cosine_error"]["spaces"].items()
    ]
    scores = [
        {
            "task": f"{s['data_set']}, {s['split']}",
            "metric": f"{s['metric']} ({s['probe']})",
            "feature space": s["feature_space"],
            "n": s["n"],
            f"32 bits, {s['unit']}": _figure(s["before"]),
            f"8 bits, {s['unit']}": _figure(s["after"]),
            "difference": _figure(s["difference"], sign="+"),
        }
        for s in loss["scores"]
        if s["metric"] in _SHOWN
    ]
    size, rate, cosine = loss["bytes"], loss["faces_a_second"], loss["cosine_error"]
    parts = [
        f"# Loss by 8 bits: {name}",
        f"{size['32'] / 1e6:.2f} MB in 32 bits, {size['8'] / 1e6:.2f} MB in 8 bits; "
        f"{rate['32']:g} and {rate['8']:g} faces per second, {rate['ratio']:g} times "
        f"({rate['how']}; {rate['hardware']}).",
        f"Cosine error: {cosine['measure']}; {cosine['of']}.",
        markdown(cosines),
    ]
    for task, change in loss.get("probabilities", {}).items():
        parts.append(
            f"Probabilities of {task}: changed by {change['mean_change']:.2f} points of percent on "
            f"average, at most {change['largest_change']:.1f}; the same class is the most probable "
            f"for {change['same_class_percent']:.1f} % of {change['n']:,} faces."
        )
    if scores:
        parts += [
            "Figures with 95 % bootstrap intervals, differences by paired bootstrap; the probe "
            f"was trained on at most {loss['max_train']:,} images.",
            markdown(scores),
        ]
    else:
        parts.append("The data have neither expressions nor pairs to score on.")
    return "\n\n".join(parts) + "\n"


def _figure(of: dict[str, float], sign: str = "") -> str:
    value, low, high = (format(of[key], f"{sign}.2f") for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
