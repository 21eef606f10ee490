"""`ssl-faces bench features`: feature extraction compared with the bare forward pass."""

from __future__ import annotations

import argparse

from ssl_faces.bench.apart import as_argv, run_in_subprocess
from ssl_faces.bench.options import add_rounds
from ssl_faces.bench.result import Result
from ssl_faces.common.arguments import whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder", help="folder of a saved encoder; default: untrained, of the paper's size"
    )
    parser.add_argument("--data", help="folder of faces; default: as for `linear-probe run`")
    parser.add_argument("--set", help="name of the face set; default: the largest")
    parser.add_argument("--pictures", type=whole(1), default=1024, help="spread evenly over it")
    parser.add_argument("--batch-size", type=whole(1), default=256)
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")
    add_rounds(parser)


def measure(arguments: argparse.Namespace) -> Result:
    """Images per second of both, in float32 and bf16, and cosines between the two precisions.

    Raises:
        InputError: bad arguments.
    """
    measured = run_in_subprocess("linear_probe.bench.features", as_argv(arguments))
    settings = ("encoder", "set", "pictures", "batch_size", "input_size", "rounds")
    return Result(
        "features",
        {name: measured[name] for name in settings},
        [
            {
                "precision": speed["precision"],
                "bare forward pictures/s": speed["forward"],
                "extraction pictures/s": speed["extraction"],
                "share of the bare forward": speed["share"],
                "by CPU time": speed["share_by_cpu_time"],
            }
            for speed in measured["speeds"]
        ],
        [
            "",
            "'By CPU time' excludes other programs and waiting.",
            "Cosine between bf16 and float32 features over the images:",
            *(
                f"- {space}: minimum {cosine['least']:.6f}, mean {cosine['mean']:.6f}"
                for space, cosine in measured["cosines"].items()
            ),
        ],
        measured,
    )
