"""`python -m linear_probe.bench.rendered`: how hard rendered faces are.

They should be hard for what looks at pixels one by one, easy for a network that learns from
labels, and clear to people: linear probes on raw pixels, HOG and LBP beside a ResNet-18 trained
from scratch, all on the same people and tested on the same others; and a sheet to read by eye.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor
from tqdm import trange

from linear_probe.experiments.face_sheet import agreement, write_reading_sheet
from linear_probe.experiments.probe import run_probes
from linear_probe.reports.command import table
from linear_probe.reports.text_tables import Table, as_text
from linear_probe.sources.supervised import Epoch, told, train
from linear_probe.stats.intervals import cluster_weights, interval
from ssl_faces import InputError
from ssl_faces.bench.apart import run_module
from ssl_faces.common.arguments import SEED, SIDE, Parser, whole
from ssl_faces.common.hardware import hardware
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.data import EXPRESSIONS
from ssl_faces.data.faces import Part
from ssl_faces.rendered import OCCLUDERS, Nuisances, RenderedFaces

_PIECE = 1000  # faces rendered at once


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=whole(1), default=60000, help="pictures, of all people")
    parser.add_argument("--people", type=whole(1), default=12000)
    parser.add_argument("--size", type=SIDE, help="64; of a sheet 128")
    parser.add_argument("--nuisances", choices=["none", "mild", "all"], default="all")
    parser.add_argument("--epochs", type=whole(1), default=10, help="of the ResNet-18")
    parser.add_argument(
        "--warm-up",
        type=whole(0),
        default=20000,
        metavar="N",
        help="where nuisances are all, the ResNet-18 is first trained on about N pictures of the "
        "same training people with mild ones",
    )
    parser.add_argument(
        "--probe-train",
        type=whole(1),
        default=20000,
        metavar="N",
        help="most training pictures of the linear probes of expression",
    )
    parser.add_argument("--only", choices=["probes", "network"], help="leave out the other")
    parser.add_argument("--seed", type=SEED, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/bench_rendered"))
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="only write faces to read, answers apart"
    )
    parser.add_argument(
        "--read", type=Path, metavar="FILE.csv", help="only compare this with --sheet's answers"
    )
    add_overwrite(parser, "--sheet")
    given = parser.parse_args(argv)
    if given.read and not given.sheet:
        raise InputError("--read: give the sheet that was read too, with --sheet FILE.png")
    if given.read:
        print(agreement(given.sheet.with_suffix(".csv"), given.read))
        return
    if given.sheet:
        for path in (given.sheet, given.sheet.with_suffix(".csv")):
            check_output(path, given.overwrite, option="--sheet")
        answers, n = write_reading_sheet(
            given.sheet, given.size or 128, given.seed, given.nuisances
        )
        print(f"{given.sheet}: {n} faces; don't look at {answers} before they are all named")
        return

    if given.only != "network":
        records = run_probes(
            [],
            given.out,
            own=[_faces(given, "all")],
            tasks=["expression", "identity"],
            seed=given.seed,
            max_train=max(100, given.probe_train),
        )
        print(table(records), flush=True)
    if given.only != "probes":
        print(_supervised(given))


def _faces(
    given: argparse.Namespace, part: Part, nuisances: Nuisances | None = None
) -> RenderedFaces:
    return RenderedFaces(
        given.count,
        given.people,
        part,
        given.size or 64,
        given.seed,
        nuisances or given.nuisances,
    )


def _supervised(given: argparse.Namespace) -> str:
    """Train and test the ResNet-18; its figures as text."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shown = _faces(given, "train")
    epochs = [Epoch(_rendered(shown, len(shown)), _labels(shown))] * given.epochs
    if given.nuisances == "all" and given.warm_up > 0:
        mild = _faces(given, "train", "mild")
        first = min(given.warm_up, len(mild))
        epochs.insert(0, Epoch(_rendered(mild, first), _labels(mild)[:first]))
    started = time.perf_counter()
    network = train(
        epochs,
        len(EXPRESSIONS),
        device,
        given.seed,
        given.out / f"resnet18_{given.seed}.pt",
        {"count": given.count, "people": given.people, "nuisances": given.nuisances},
    )
    seconds = time.perf_counter() - started

    test = _faces(given, "test")
    answers = told(network, _rendered(test, len(test)), device)
    targets = _labels(test).numpy()
    person = test.records.cast(np.arange(len(test)))[0]
    hits = (answers == targets).astype(float)
    weights = cluster_weights(person, 1000, given.seed)
    low, high = interval(100 * weights @ hits / weights.sum(1))
    warm = f"{len(epochs[0].images):,} mild ones, then " if len(epochs) > given.epochs else ""
    lines = [
        f"ResNet-18 from scratch, {warm}{given.epochs} epochs of {len(shown):,} pictures: accuracy "
        f"{100 * hits.mean():.2f} % [{low:.2f}, {high:.2f}] on 7 expressions, nuisances "
        f"{given.nuisances}, n {len(hits):,} of {len(set(person.tolist())):,} people that it never "
        f"saw; seed {given.seed}, {seconds:.0f} s, {hardware(device)}",
        "",
        as_text(_confusion(targets, answers)),
        "",
        as_text(breakdown(test, targets, hits)),
    ]
    return "\n".join(lines)


def _labels(faces: RenderedFaces) -> Tensor:
    return torch.from_numpy(faces.records.cast(np.arange(len(faces)))[2])


def _rendered(faces: RenderedFaces, count: int) -> Tensor:
    """The set's first `count` pictures: uint8 [N, 3, S, S]."""
    images = torch.empty(count, 3, faces.size, faces.size, dtype=torch.uint8)
    for start in trange(0, count, _PIECE, desc=f"rendering {faces.part}", unit="thousand"):
        stop = min(count, start + _PIECE)
        images[start:stop] = faces.render_batch(range(start, stop))
    return images


def _confusion(targets: np.ndarray, answers: np.ndarray) -> Table:
    matrix = confusion_matrix(targets, answers, labels=range(len(EXPRESSIONS)))
    body = [
        [name, *(f"{100 * n / max(1, row.sum()):.1f}" for n in row)]
        for name, row in zip(EXPRESSIONS, matrix, strict=True)
    ]
    title = "ResNet-18: % of each expression (row) told as each (column)"
    return Table(title, ["", *EXPRESSIONS], body)


def breakdown(faces: RenderedFaces, targets: np.ndarray, hits: np.ndarray) -> Table:
    """Share of each expression that is told right (`hits` [N], 0 or 1, of all the set's faces with
    expressions `targets` [N]), where a nuisance is weak and where it is strong."""
    drawn = faces.records.drawn(np.arange(len(faces)))
    f = {name: value.numpy() for name, value in drawn.factors.items()}
    yaw, light = np.abs(f["yaw"]), np.abs(f["light_azimuth"])
    pixels = f["resolution"] * faces.size
    intensity = drawn.intensity.numpy()
    rows: dict[str, np.ndarray] = {
        "all": hits >= 0,
        "yaw below 30°": yaw < 30,
        "yaw 30° to 60°": (yaw >= 30) & (yaw < 60),
        "yaw from 60°": yaw >= 60,
        "light from the front (azimuth below 45°)": light < 45,
        "light from the side (from 45°)": light >= 45,
        **{f"occluder {name}": f["occluder"] == k for k, name in enumerate(OCCLUDERS)},
        "all pixels": pixels >= faces.size,
        f"fewer than {faces.size} pixels": pixels < faces.size,
        f"fewer than {0.6 * faces.size:.0f} pixels": pixels < 0.6 * faces.size,
        "blurred": f["blur"] > 0,
        "noisy": f["noise"] > 0,
        "JPEG": f["jpeg_quality"] > 0,
        "JPEG of quality below 40": (f["jpeg_quality"] > 0) & (f["jpeg_quality"] < 40),
        "intensity below 0.75": (intensity > 0) & (intensity < 0.75),
        "intensity from 0.75": intensity >= 0.75,
    }
    body = []
    for name, among in rows.items():
        parts = [hits[among & (targets == k)] for k in range(len(EXPRESSIONS))]
        cells = [f"{100 * part.mean():.1f}" if len(part) else "" for part in parts]
        all_of_them = f"{100 * hits[among].mean():.1f}" if among.any() else ""
        body.append([name, str(int(among.sum())), all_of_them, *cells])
    header = ["where", "n", "accuracy %", *(f"{name} %" for name in EXPRESSIONS)]
    return Table("ResNet-18 by nuisance: % told right", header, body)


if __name__ == "__main__":
    sys.exit(run_module(main))
