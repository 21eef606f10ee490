"""`ssl-faces bench features`: feature extraction beside the encoder's bare forward pass."""

from __future__ import annotations

import argparse

from ssl_faces.bench.apart import measured_apart, options
from ssl_faces.bench.result import Result
from ssl_faces.common.arguments import whole

_OPTIONS = ("encoder", "data", "set", "pictures", "batch_size", "device", "rounds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder", help="folder of a saved encoder; default: untrained, of the paper's size"
    )
    parser.add_argument("--data", help="folder of faces; default: as of `linear-probe run`")
    parser.add_argument("--set", help="the face set, by its name; default: the largest")
    parser.add_argument("--pictures", type=whole(1), default=1024, help="of it, spread evenly")
    parser.add_argument("--batch-size", type=whole(1), default=256)
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")
    parser.add_argument("--rounds", type=whole(1), default=5)


def measure(arguments: argparse.Namespace) -> Result:
    """Pictures a second of both, in float32 and bf16, and cosines between the two precisions.

    Raises:
        InputError: what the measurement refuses.
    """
    found = measured_apart("linear_probe.bench.features", options(arguments, _OPTIONS))
    result = Result("features", {name: found[name] for name in ("encoder", "set", "pictures")})
    result.settings |= {name: found[name] for name in ("batch_size", "input_size", "rounds")}
    for speed in found["speeds"]:
        result.rows.append(
            {
                "precision": speed["precision"],
                "bare forward pictures/s": speed["forward"],
                "extraction pictures/s": speed["extraction"],
                "share of the bare forward": speed["share"],
                "by CPU time": speed["share_by_cpu_time"],
            }
        )
    result.notes = [
        "",
        "'By CPU time' is the share on a machine where nothing else runs and nothing waits.",
        "bf16's features beside float32's, cosine over the pictures:",
    ]
    result.notes += [
        f"- {space}: least {cosine['least']:.6f}, mean {cosine['mean']:.6f}"
        for space, cosine in found["cosines"].items()
    ]
    result.details = found
    return result
