"""`linear-probe frontal`: arguments, and the table that it prints."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssl_faces.common.arguments import SEED, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run",
        action="append",
        required=True,
        metavar="RUN",
        help="folder of `ssl-faces fit`, a checkpoint, or a released name; may be repeated",
    )
    parser.add_argument(
        "--recogniser",
        required=True,
        metavar="NAME",
        help="who judges: package:dlib, timm:NAME, any --encoder of `linear-probe run`, or HOG",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder with CFP; default: $SSL_FACES_DATA, else ~/.cache/ssl-faces/data",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="for records.jsonl, frontal.png"
    )
    parser.add_argument(
        "--no-untrained", action="store_true", help="leave out the methods with fresh weights"
    )
    parser.add_argument("--seed", type=SEED, default=0, help="of untrained weights; default: 0")
    parser.add_argument("--bootstrap", type=whole(1), default=1000, metavar="N", help="replicates")
    parser.add_argument("--batch-size", type=whole(1), default=64, help="images at once")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")


def run(arguments: argparse.Namespace) -> int:
    # Late, so that `--help` needs no torch.
    from linear_probe.experiments.frontal.run import PANEL_FILE, run_frontal
    from linear_probe.records.recorder import RunFolder
    from linear_probe.reports.command import table

    records = run_frontal(
        arguments.run,
        arguments.out,
        recogniser_name=arguments.recogniser,
        data=arguments.data,
        seed=arguments.seed,
        untrained=not arguments.no_untrained,
        replicates=arguments.bootstrap,
        batch_size=arguments.batch_size,
        device=arguments.device,
    )
    RunFolder(Path(arguments.out)).add_command(arguments.given)
    print(f"\n{table(records)}\n\nrecords: {arguments.out}/records.jsonl")
    print(f"images: {arguments.out}/{PANEL_FILE}")
    return 0
