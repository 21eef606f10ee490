"""`ssl-faces bench step`: FaceCycle's stage 1 compared with its authors' call schedule."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ssl_faces.bench import literal
from ssl_faces.bench.plan import add_step
from ssl_faces.bench.result import Result
from ssl_faces.bench.timing import ratio, side_by_side
from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.hardware import fast_bfloat16
from ssl_faces.methods.facecycle_motion import FaceCycleMotion

LITERAL = "literal schedule, float32, NCHW"
OURS = "ours, float32"
OURS_BF16 = "ours, bf16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_step(parser)
    rounds = "measured calls of each candidate (5)"
    parser.add_argument("--rounds", type=whole(1), default=5, help=rounds)
    parser.add_argument("--threads", type=whole(1, 1024), help="CPU threads (all cores)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def measure(arguments: argparse.Namespace) -> Result:
    """Time whole training steps (forward, backward, Adam) of the candidates, in turns.

    Raises:
        InputError: a GPU that isn't there.
    """
    device = _device(arguments)
    torch.backends.cudnn.benchmark = True
    candidates = _candidates(arguments, device)
    seconds = side_by_side(
        {c.name: c.step for c in candidates}, arguments.rounds, warmup=3 if device == "cuda" else 1
    )
    loss_error, gradient_error = difference(candidates[1].method, _frames(arguments, device)[:4])
    settings = {name: getattr(arguments, name) for name in ("size", "pairs", "rounds")}
    images = 2 * arguments.pairs
    rows = []
    for candidate in candidates:
        step = median(seconds[candidate.name])
        rows.append(
            {
                "step": candidate.name,
                "ms": 1000 * step,
                "pictures/s": images / step,
                "times literal": ratio(seconds, LITERAL, candidate.name),
                "GFLOP a picture": candidate.gflop / images,
                "GFLOP/s": candidate.gflop / step,
            }
        )
    return Result(
        "step",
        {
            "method": "FaceCycle stage 1",
            **settings,
            "side": arguments.input_size,
            "device": device,
            "threads": torch.get_num_threads(),
        },
        rows,
        [
            "",
            f"With the same images and noise, losses differ by {loss_error:.1e} and gradients by "
            f"{gradient_error:.1e} (relative, float32, ours and the literal schedule).",
        ],
        {"seconds": seconds},
    )


def _device(arguments: argparse.Namespace) -> str:
    """Set the number of threads; returns the device, `cpu` or `cuda`."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU; leave it out")
    if arguments.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(arguments.device)


@dataclass
class _Candidate:
    name: str
    method: FaceCycleMotion
    step: Callable[[], object]
    gflop: float  # per step


def _candidates(arguments: argparse.Namespace, device: str) -> list[_Candidate]:
    x = _frames(arguments, device)

    def candidate(name: str, layout: torch.memory_format) -> _Candidate:
        method = literal.stage1(arguments.size, arguments.input_size).to(
            device, memory_format=layout
        )
        parameters = [p for p in method.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=1e-5, betas=(0.5, 0.999))

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, name == OURS_BF16):
                terms = literal.losses(method, x) if name == LITERAL else method.cycle(x)[1]
                total = method.total(terms)
            total.backward()
            optimizer.step()

        with FlopCounterMode(display=False) as counter:
            step()
        return _Candidate(name, method, step, counter.get_total_flops() / 1e9)

    names = [OURS, OURS_BF16] if fast_bfloat16() else [OURS]
    return [
        candidate(LITERAL, torch.contiguous_format),
        *(candidate(name, torch.channels_last) for name in names),
    ]


def _frames(arguments: argparse.Namespace, device: str) -> Tensor:
    side = arguments.input_size
    draw = torch.Generator().manual_seed(0)
    return torch.randn(2 * arguments.pairs, 3, side, side, generator=draw).to(device)


def difference(method: FaceCycleMotion, x: Tensor, seed: int = 1) -> tuple[float, float]:
    """Difference of `FaceCycleMotion.cycle` from the literal schedule on frames `x` [2b, 3, S, S].

    Returns:
        The largest relative difference of a loss term, and the relative difference (norms) of
        the gradients of the total loss by all parameters.
    """

    def run(losses: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, float], dict[str, Tensor]]:
        torch.manual_seed(seed)
        method.zero_grad()
        terms = losses()
        method.total(terms).backward()
        gradients = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
        return {name: term.item() for name, term in terms.items()}, gradients

    losses, gradients = run(lambda: method.cycle(x)[1])
    expected, expected_gradients = run(lambda: literal.losses(method, x))
    method.zero_grad()
    if gradients.keys() != expected_gradients.keys():
        return float("inf"), float("inf")
    worst = max(abs(losses[k] - v) / max(abs(v), 1e-6) for k, v in expected.items())
    square = sum(float((gradients[k] - g).square().sum()) for k, g in expected_gradients.items())
    norm = sum(float(g.square().sum()) for g in expected_gradients.values())
    return worst, (square / norm) ** 0.5
