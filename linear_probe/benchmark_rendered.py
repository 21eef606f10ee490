"""`python -m linear_probe.benchmark_rendered`: how hard rendered faces are.

They should be hard for what looks at pixels one by one and easy for a network that learns from
labels: linear probes on raw pixels, HOG and LBP beside a ResNet-18 trained from scratch, all on
the same people and tested on the same others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18
from tqdm import trange

from linear_probe.intervals import cluster_weights, interval
from linear_probe.report import table
from linear_probe.run import run_probes
from ssl_faces.data import EXPRESSIONS
from ssl_faces.data.rendered import RenderedFaces
from ssl_faces.hardware import fast_bfloat16, hardware

_BATCH = 64
_RATE = 0.05  # at the peak, of SGD with momentum 0.9
_DECAY = 5e-4


def train(images: Tensor, labels: Tensor, epochs: int, device: str, seed: int) -> nn.Module:
    """A ResNet-18 trained on images uint8 [N, 3, S, S], mirrored at random, and classes int64 [N].

    SGD with a one-cycle schedule (Smith & Topin 2018) whose length is fixed beforehand: nothing is
    chosen on any data.
    """
    torch.manual_seed(seed)
    network = resnet18(num_classes=len(EXPRESSIONS)).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=_RATE, momentum=0.9, nesterov=True, weight_decay=_DECAY
    )
    steps = len(images) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * steps)
    network.train()
    for _ in trange(epochs, desc="ResNet-18", unit="epochs"):
        order = torch.randperm(len(images))
        for step in range(steps):
            rows = order[step * _BATCH : (step + 1) * _BATCH]
            x = images[rows].to(device)
            x = torch.where(torch.rand(len(x), 1, 1, 1, device=device) < 0.5, x.flip(-1), x)
            with torch.autocast(device, torch.bfloat16, fast_bfloat16()):
                loss = F.cross_entropy(network(normalise(x)), labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def normalise(images: Tensor) -> Tensor:
    """uint8 [N, 3, S, S] to about -1 to 1."""
    return (images.float() / 127.5 - 1).to(memory_format=torch.channels_last)


@torch.inference_mode()
def hits(network: nn.Module, images: Tensor, labels: Tensor, device: str) -> np.ndarray:
    """Whether each picture's class is the one told: float [N]."""
    told = [
        network(normalise(part.to(device))).argmax(1).cpu() for part in images.split(4 * _BATCH)
    ]
    return (torch.cat(told) == labels).double().numpy()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=20000, help="pictures, of all people")
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--nuisances", choices=["none", "mild", "all"], default="all")
    parser.add_argument("--epochs", type=int, default=12, help="of the ResNet-18")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/bench_rendered"))
    given = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def faces(part: str) -> RenderedFaces:
        return RenderedFaces(
            given.count,
            given.people,
            part,  # type: ignore[arg-type]
            given.size,
            given.seed,
            given.nuisances,
        )

    records = run_probes([], given.out, own=[faces("all")], tasks=["expression", "identity"])
    print(table(records))

    sets = {part: faces(part) for part in ("train", "test")}
    images = {k: torch.cat(list(_rendered(v))) for k, v in sets.items()}
    labels = {
        k: torch.tensor([int(r.labels["expression"]) for r in v.records]) for k, v in sets.items()
    }
    started = time.perf_counter()
    network = train(images["train"], labels["train"], given.epochs, device, given.seed)
    seconds = time.perf_counter() - started
    found = hits(network, images["test"], labels["test"], device)
    people = np.array([r.person for r in sets["test"].records])
    weights = cluster_weights(people, 1000, given.seed)
    low, high = interval(100 * weights @ found / weights.sum(1))
    print(
        f"ResNet-18 from scratch, {given.epochs} epochs of {len(images['train']):,} pictures: "
        f"accuracy {100 * found.mean():.2f} % [{low:.2f}, {high:.2f}], n {len(found):,} of "
        f"{len(set(people)):,} people that it never saw; seed {given.seed}, {seconds:.0f} s, "
        + hardware(device)
    )


def _rendered(faces: RenderedFaces) -> list[Tensor]:
    return [faces.render_batch(part) for part in np.array_split(np.arange(len(faces)), 20)]


if __name__ == "__main__":
    main()
