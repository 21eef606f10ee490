"""`ssl-faces bench plan`: time, memory, disk, network and cost of a large run, from measured speed.

The speed is measured (`ssl-faces bench step --out FILE.json`, on one device of the kind that is
planned for); parameters and activations are counted on stage 1's own networks; the rest is
arithmetic, and what it assumes stands under the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import SIDE, number, several, whole
from ssl_faces.common.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

GIB = 2**30
FLOAT = 4  # bytes of a float32
WORKSPACE = 2 * GIB  # of the GPU's runtime and of convolutions; assumed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    speed = parser.add_mutually_exclusive_group(required=True)
    speed.add_argument("--step", type=Path, metavar="FILE", help="JSON of `bench step --out FILE`")
    speed.add_argument(
        "--pictures-per-second",
        type=number(0, above=True),
        help="of one device; each pair is two pictures",
    )
    parser.add_argument("--faces", type=whole(1, 10**12), default=100_000_000)
    parser.add_argument(
        "--epochs", type=number(0, above=True), default=1, help="each face first in a pair once"
    )
    parser.add_argument(
        "--gpus", type=several(whole(1)), default="8,64", help="numbers of devices to plan for"
    )
    parser.add_argument("--gpus-a-node", type=whole(1), default=8)
    parser.add_argument("--size", choices=("paper", "small"), default="paper", help="of stage 1")
    parser.add_argument("--input-size", type=SIDE, default=64, help="side of the pictures")
    parser.add_argument("--pairs", type=whole(1), default=16, help="a step, on each device")
    parser.add_argument("--precision", choices=("32", "bf16"), default="bf16")
    parser.add_argument(
        "--bytes-a-picture",
        type=number(0, above=True),
        help="of the packed set; default: uncompressed pixels at the side",
    )
    parser.add_argument(
        "--scaling",
        type=number(0, above=True),
        default=0.9,
        help="share of linear scaling; assumed: 0.9",
    )
    parser.add_argument(
        "--price",
        type=number(0, above=True),
        default=3.0,
        help="of a GPU hour, in dollars; assumed: 3",
    )


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
        InputError: a number that can't be, or a file that is none of `bench step`'s.
    """
    counts = arguments.gpus
    speed, where = _speed(arguments)
    side = arguments.input_size
    picture = arguments.bytes_a_picture or 3 * side**2
    memory = memory_of(arguments.size, side, arguments.pairs, arguments.precision)
    rows = [plan(n, arguments, speed, picture, memory) for n in counts]
    mib = {name: value / 2**20 for name, value in memory._asdict().items()}
    notes = [
        "",
        f"Speed of one device: {speed:,.4g} pictures a second, {where}. An epoch of "
        f"{arguments.faces:,} faces is as many pairs, two pictures each.",
        f"Assumed: {arguments.scaling:g} of linear scaling; {arguments.price:g} dollars a GPU "
        f"hour; {WORKSPACE / GIB:g} GiB a GPU for the runtime and the convolutions' workspace.",
        f"Counted, MiB a GPU: weights {mib['weights']:,.0f}, gradients {mib['gradients']:,.0f}, "
        f"Adam {mib['adam']:,.0f}, kept for the backward pass of {arguments.pairs} pairs "
        f"{mib['activations']:,.0f}.",
        f"Disk: {picture:,.0f} bytes a picture, and one checkpoint. Network: what a ring "
        "all-reduce of float32 gradients sends a GPU and step, and the rate at which that takes "
        "no longer than the step itself, in which it can be hidden.",
    ]
    settings = {
        name: getattr(arguments, name)
        for name in ("faces", "epochs", "size", "input_size", "pairs", "precision")
    }
    return Result("plan", settings, rows, notes, {"memory": memory._asdict(), "speed": speed})


def plan(
    gpus: int, arguments: argparse.Namespace, speed: float, picture: float, memory: Memory
) -> dict[str, Value]:
    """One row: a run on so many GPUs.

    Args:
        speed: pictures a second of one device.
        picture: bytes of a packed picture.
    """
    rate = speed * gpus * (arguments.scaling if gpus > 1 else 1.0)
    hours = 2 * arguments.faces * arguments.epochs / rate / 3600
    # In a ring each device sends all but its own part twice: sums around, then results.
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
    """What a training step of stage 1 holds, by counting a forward pass of one pair and of two."""
    import torch

    from ssl_faces.methods.facecycle_motion import FaceCycleMotion

    torch.manual_seed(0)
    method = FaceCycleMotion(
        size,  # type: ignore[arg-type]
        side,
        trunk_weights="random",
        trunk_training="frozen" if size == "paper" else "joint",
    )
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
    """Bytes that `forward` keeps for its backward pass, beside the network's own weights."""
    import torch

    own = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()  # named: while it lives, so does all that it keeps
    del loss
    return sum(kept.values())


def _speed(arguments: argparse.Namespace) -> tuple[float, str]:
    """Pictures a second of one device, and where that is from."""
    if arguments.step is None:
        return arguments.pictures_per_second, "as given"
    try:
        found: dict[str, Any] = json.loads(arguments.step.read_text())
        speeds = [float(row["pictures/s"]) for row in found["rows"]]
        if found["bench"] != "step" or not max(speeds) > 0:
            raise ValueError("it is of another bench")
        settings = found["settings"]
        hardware = found["machine"]["hardware"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--step {arguments.step}: not of `ssl-faces bench step --out FILE` ({error}); "
            "measure it again"
        ) from error
    if settings.get("size") != arguments.size:
        raise InputError(
            f"--step {arguments.step}: measured at size {settings.get('size')}, not "
            f"{arguments.size}; give --size {settings.get('size')}"
        )
    return max(speeds), f"measured on {hardware} ({arguments.step})"
