"""`linear-probe truth`: arguments, and the table that it prints."""

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
        help="folder of `ssl-faces fit`, or a checkpoint; may be given several times",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="for records.jsonl, truth.png")
    parser.add_argument(
        "--count",
        type=whole(2, 100_000),
        default=512,
        metavar="N",
        help="faces to score on; default: 512",
    )
    parser.add_argument(
        "--seed", type=SEED, default=0, help="of people, untrained weights, bootstrap; default: 0"
    )
    parser.add_argument(
        "--nuisances",
        choices=("none", "mild", "all"),
        default="mild",
        help="how much light, place, camera and things in between vary; default: mild",
    )
    parser.add_argument(
        "--no-untrained", action="store_true", help="leave out the methods with fresh weights"
    )
    parser.add_argument("--bootstrap", type=whole(1), default=1000, metavar="N", help="replicates")
    parser.add_argument(
        "--batch-size", type=whole(1), default=64, help="faces at once; default: 64"
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")


def run(arguments: argparse.Namespace) -> int:
    # Late, so that `--help` needs no torch.
    from linear_probe.experiments.truth.run import PANEL_FILE, run_truth
    from linear_probe.records.recorder import RunFolder
    from linear_probe.reports.command import table

    records = run_truth(
        arguments.run,
        arguments.out,
        count=arguments.count,
        seed=arguments.seed,
        nuisances=arguments.nuisances,
        untrained=not arguments.no_untrained,
        replicates=arguments.bootstrap,
        batch_size=arguments.batch_size,
        device=arguments.device,
    )
    RunFolder(Path(arguments.out)).add_command(arguments.given)
    print(f"\n{table(records)}\n\nrecords: {arguments.out}/records.jsonl")
    print(f"pictures: {arguments.out}/{PANEL_FILE}")
    return 0
