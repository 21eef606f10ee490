"""`ssl-faces bench cost`: count the arithmetic of one training step of any method."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ssl_faces.bench.result import Result, Value
from ssl_faces.training.cost import count

PASSES_ON = True
"""All other arguments are settings of `ssl-faces fit`."""


def describe(parser: argparse.ArgumentParser, bench: str, options: str = "") -> None:
    """Usage and end of the help of a bench that passes arguments on to `fit`."""
    options = f"[--out FILE.json] {options}".strip()
    parser.usage = f"ssl-faces bench {bench} {options} -c CONFIG [-c CONFIG ...] [--KEY VALUE]"
    parser.epilog = "Other arguments are as for `ssl-faces fit`. No faces are read or trained on."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    describe(parser, "cost")


def measure(arguments: argparse.Namespace) -> Result:
    """Count one step of the method in the settings.

    Raises:
        InputError: bad settings, as in `ssl-faces fit`.
    """
    cost = count(arguments.settings)
    gflop, images = cost.flop / 1e9, 2 * cost.pairs
    row: dict[str, Value] = {
        "method": cost.method,
        "GFLOP a step": gflop,
        "GFLOP a picture": gflop / images,
        "pictures a step": images,
        "devices": cost.devices,
        "parameters": cost.parameters,
        "trained parameters": cost.trained,
    }
    note = (
        "Multiplications and additions of convolutions and matrix products, forward and backward, "
        "of one step on one device."
    )
    settings = {"settings": " ".join(arguments.settings)}
    return Result("cost", settings, [row], ["", note], asdict(cost))
