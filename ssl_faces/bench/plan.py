"""`ssl-faces bench plan`: estimate time, memory, disk, network and cost of a large run.

Speed is measured by `ssl-faces bench step --out FILE.json`, on one device of the planned kind.
Parameters and activations are counted on stage 1's networks. The rest is arithmetic, with its
assumptions under the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import SIDE, comma_separated, number, whole
from ssl_faces.common.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

GIB = 2**30
FLOAT = 4  # bytes of a float32
WORKSPACE = 2 * GIB  # of the GPU runtime and of convolutions; assumed


def add_step(parser: argparse.ArgumentParser) -> None:
    """Arguments of a training step of FaceCycle's stage 1."""
    parser.add_argument("--size", choices=("paper", "small"), default="paper", help="of stage 1")
    parser.add_argument("--input-size", type=SIDE, default=64, help="side of the images (64)")
    parser.add_argument("--pairs", type=whole(1), default=16, help="per device (16)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    positive = number(0, above=True)
    speed = parser.add_mutually_exclusive_group(required=True)
    speed.add_argument("--step", type=Path, metavar="FILE", help="JSON of `bench step --out FILE`")
    speed.add_argument("--pictures-per-second", type=positive, help="of one device")
    add = parser.add_argument
    add("--faces", type=whole(1, 10**12), default=100_000_000)
    add("--epochs", type=positive, default=1, help="in one, each face is first in a pair once")
    add(
        "--gpus",
        type=comma_separated(whole(1)),
        default="8,64",
        help="numbers of devices to plan for",
    )
    add("--gpus-a-node", type=whole(1), default=8)
    add_step(parser)
    add("--precision", choices=("32", "bf16"), default="bf16")
    add("--bytes-a-picture", type=positive, help="when packed; default: uncompressed pixels")
    add("--scaling", type=positive, default=0.9, help="share of linear scaling; assumed: 0.9")
    add("--price", type=positive, default=3.0, help="of a GPU hour, in dollars; assumed: 3")


class Memory(NamedTuple):
    """Bytes on each device."""

    weights: int
    gradients: int
    adam: int
    activations: int

    @property
    def total(self) -> int:
        return sum(self) + WORKSPACE


def measure(arguments: argparse.Namespace) -> Result:
    """The plan for each number of GPUs.

    Raises:
        InputError: a file that `bench step` did not write.
    """
    speed, source = _speed(arguments)
    side = arguments.input_size
    picture = arguments.bytes_a_picture or 3 * side**2
    memory = memory_of(arguments.size, side, arguments.pairs, arguments.precision)
    rows = [plan(count, arguments, speed, picture, memory) for count in arguments.gpus]
    mib = {name: value / 2**20 for name, value in memory._asdict().items()}
    notes = [
        "",
        f"Speed of one device: {speed:,.4g} pictures a second, {source}. An epoch of "
        f"{arguments.faces:,} faces is as many pairs of two pictures.",
        f"Assumed: {arguments.scaling:g} of linear scaling; {arguments.price:g} dollars per GPU "
        f"hour; {WORKSPACE / GIB:g} GiB per GPU for the runtime and convolution workspace.",
        f"Counted, MiB per GPU: weights {mib['weights']:,.0f}, gradients {mib['gradients']:,.0f}, "
        f"Adam {mib['adam']:,.0f}, activations of {arguments.pairs} pairs "
        f"{mib['activations']:,.0f}.",
        f"Disk: {picture:,.0f} bytes per picture, and one checkpoint. Network: what a ring "
        "all-reduce of float32 gradients sends per GPU and step, and the rate that hides it "
        "behind the step.",
    ]
    settings = {
        name: getattr(arguments, name)
        for name in ("faces", "epochs", "size", "input_size", "pairs", "precision")
    }
    return Result("plan", settings, rows, notes, {"memory": memory._asdict(), "speed": speed})


def plan(
    gpus: int, arguments: argparse.Namespace, speed: float, picture: float, memory: Memory
) -> dict[str, Value]:
    """One row: a run on this many GPUs, with `speed` images per second of one device and
    `picture` bytes per packed image."""
    rate = speed * gpus * (arguments.scaling if gpus > 1 else 1.0)
    hours = 2 * arguments.faces * arguments.epochs / rate / 3600
    # In a ring, each device sends all but its own part twice: partial sums, then results.
    sent = 2 * (gpus - 1) / gpus * memory.gradients
    step = 2 * arguments.pairs * gpus / rate
    node = rate * min(gpus, arguments.gpus_a_node) / gpus
    return {
        "GPUs": gpus,
        "pairs a step": arguments.pairs * gpus,
        "pictures/s": rate,
        "hours": hours,
        "cost, dollars": hours * gpus * arguments.price,
        "memory a GPU, GiB": memory.total / GIB,
        "disk, GiB": (arguments.faces * picture + memory.weights + memory.adam) / GIB,
        "read a node, MB/s": node * picture / 1e6,
        "sent a GPU and step, MB": sent / 1e6,
        "network a GPU, Gbit/s": 8 * sent / step / 1e9,
    }


def memory_of(size: str, side: int, pairs: int, precision: str) -> Memory:
    """Memory of a training step of stage 1, from forward passes of one and of two pairs."""
    import torch

    from ssl_faces.bench.literal import stage1

    method = stage1(size, side, trunk_training="frozen" if size == "paper" else "joint")
    parameters = list(method.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)

    def forward(count: int) -> Callable[[], Tensor]:
        x = method.frames({"pairs": torch.rand(count, 2, 3, side, side)})
        return lambda: method.total(method.cycle(x)[1])

    with torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
        one, two = (saved_bytes(forward(count), method) for count in (1, 2))
    return Memory(
        weights=FLOAT * sum(p.numel() for p in parameters),
        gradients=FLOAT * trained,
        adam=2 * FLOAT * trained,
        activations=one + (two - one) * (pairs - 1),
    )


def saved_bytes(forward: Callable[[], Tensor], network: nn.Module) -> int:
    """Bytes that `forward` saves for its backward pass, without the network's own weights."""
    import torch

    own = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()  # what it saves lives as long as this variable
    del loss
    return sum(kept.values())


def _speed(arguments: argparse.Namespace) -> tuple[float, str]:
    """Images per second of one device, and the source of that figure."""
    if arguments.step is None:
        return arguments.pictures_per_second, "as given"
    try:
        measured: dict[str, Any] = json.loads(arguments.step.read_text())
        speed = max(float(row["pictures/s"]) for row in measured["rows"])
        if measured["bench"] != "step" or not speed > 0:
            raise ValueError("written by another bench")
        size = measured["settings"].get("size")
        hardware = measured["machine"]["hardware"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--step {arguments.step}: not of `ssl-faces bench step --out FILE` ({error}); "
            "measure it again"
        ) from error
    if size != arguments.size:
        raise InputError(
            f"--step {arguments.step}: measured at size {size}, not {arguments.size}; "
            f"give --size {size}"
        )
    return speed, f"measured on {hardware} ({arguments.step})"
