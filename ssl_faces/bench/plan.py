"""`ssl-faces bench plan`: estimate time, memory, disk, network and cost of a large run.

Speed is measured by `ssl-faces bench step --out FILE.json`, on one device of the planned kind.
Parameters and activations are counted on the method's networks. The rest is arithmetic, with its
assumptions under the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ssl_faces.bench.cost import PASSES_ON, describe
from ssl_faces.bench.result import GIB, Result, Value
from ssl_faces.common.arguments import comma_separated, number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.training.cost import Cost, count

__all__ = ["PASSES_ON", "add_arguments", "measure"]

FLOAT = 4  # bytes of a float32
WORKSPACE = 2 * GIB  # of the GPU runtime and of convolutions; assumed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    describe(parser, "plan", "(--step FILE | --pictures-per-second N) [--faces N ...]")
    positive = number(0, above=True)
    speed = parser.add_mutually_exclusive_group(required=True)
    speed.add_argument("--step", type=Path, metavar="FILE", help="JSON of `bench step --out FILE`")
    speed.add_argument("--pictures-per-second", type=positive, help="of one device")
    add = parser.add_argument
    add("--faces", type=whole(1, 10**12), default=100_000_000)
    add("--epochs", type=positive, default=1, help="in one, each face is first in a pair once")
    gpus = "numbers of devices to plan for"
    add("--gpus", type=comma_separated(whole(1)), default="8,64", help=gpus)
    add("--gpus-a-node", type=whole(1), default=8)
    add("--precision", choices=("32-true", "bf16-mixed"), default="bf16-mixed")
    add("--bytes-a-picture", type=positive, help="when packed; default: uncompressed pixels")
    add("--scaling", type=positive, default=0.9, help="share of linear scaling; assumed: 0.9")
    add("--price", type=positive, default=3.0, help="of a GPU hour, in dollars; assumed: 3")


def measure(arguments: argparse.Namespace) -> Result:
    """The plan for each number of GPUs.

    Raises:
        InputError: a file that `bench step` did not write, or bad settings of the method.
    """
    speed, source = _speed(arguments)
    cost = count(arguments.settings, precision=arguments.precision)
    picture = arguments.bytes_a_picture or 3 * cost.side**2
    memory = memory_of(cost)
    rows = [plan(gpus, arguments, speed, picture, cost) for gpus in arguments.gpus]
    counted = ", ".join(f"{name} {value / 2**20:,.0f}" for name, value in memory.items())
    notes = [
        "",
        f"Speed of one device: {speed:,.4g} pictures a second, {source}. An epoch of "
        f"{arguments.faces:,} faces is as many pairs of two pictures.",
        f"Assumed: {arguments.scaling:g} of linear scaling; {arguments.price:g} dollars per GPU "
        f"hour; {WORKSPACE / GIB:g} GiB per GPU for the runtime and convolution workspace.",
        f"Counted, MiB per GPU, with {cost.pairs} pairs: {counted}.",
        f"Disk: {picture:,.0f} bytes per picture, and one checkpoint. Network: what a ring "
        "all-reduce of float32 gradients sends per GPU and step, and the rate that hides it "
        "behind the step.",
    ]
    settings = {
        "settings": " ".join(arguments.settings),
        **{name: getattr(arguments, name) for name in ("faces", "epochs", "precision")},
    }
    return Result("plan", settings, rows, notes, {"memory": memory, "speed": speed})


def memory_of(cost: Cost) -> dict[str, int]:
    """Bytes on each device, with Adam."""
    return {
        "weights": FLOAT * cost.parameters,
        "gradients": FLOAT * cost.trained,
        "Adam": 2 * FLOAT * cost.trained,
        "activations": cost.saved,
    }


def plan(
    gpus: int, arguments: argparse.Namespace, speed: float, picture: float, cost: Cost
) -> dict[str, Value]:
    """One row: a run on this many GPUs, with `speed` images per second of one device and
    `picture` bytes per packed image."""
    memory = memory_of(cost)
    rate = speed * gpus * (arguments.scaling if gpus > 1 else 1.0)
    hours = 2 * arguments.faces * arguments.epochs / rate / 3600
    # In a ring, each device sends all but its own part twice: partial sums, then results.
    sent = 2 * (gpus - 1) / gpus * memory["gradients"]
    step = 2 * cost.pairs * gpus / rate
    node = rate * min(gpus, arguments.gpus_a_node) / gpus
    disk = arguments.faces * picture + memory["weights"] + memory["Adam"]
    return {
        "GPUs": gpus,
        "pairs a step": cost.pairs * gpus,
        "pictures/s": rate,
        "hours": hours,
        "cost, dollars": hours * gpus * arguments.price,
        "memory a GPU, GiB": (sum(memory.values()) + WORKSPACE) / GIB,
        "disk, GiB": disk / GIB,
        "read a node, MB/s": node * picture / 1e6,
        "sent a GPU and step, MB": sent / 1e6,
        "network a GPU, Gbit/s": 8 * sent / step / 1e9,
    }


def _speed(arguments: argparse.Namespace) -> tuple[float, str]:
    """Images per second of one device, and the source of that figure."""
    path = arguments.step
    if path is None:
        return arguments.pictures_per_second, "as given"
    try:
        measured: dict[str, Any] = json.loads(path.read_text())
        if measured["bench"] != "step":
            raise ValueError("written by another bench")
        speed = float(measured["rows"][0]["pictures/s"])
        return speed, f"measured on {measured['machine']['hardware']} ({path})"
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"--step {path}: not of `ssl-faces bench step --out FILE` ({error}); measure it again"
        ) from error
