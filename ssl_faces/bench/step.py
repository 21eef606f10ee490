"""`ssl-faces bench step`: FaceCycle's stage 1 compared with its authors' call schedule."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssl_faces.bench import literal
from ssl_faces.bench.options import add_compute, add_rounds, add_step, stage1, use_compute
from ssl_faces.bench.result import Result, Value
from ssl_faces.bench.timing import Seconds, ratio, side_by_side
from ssl_faces.common.hardware import fast_bfloat16
from ssl_faces.methods.facecycle_motion import FaceCycleMotion

LITERAL = "literal schedule, float32, NCHW"
OURS = "ours, float32"
OURS_BF16 = "ours, bf16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_step(parser, pairs=16)
    add_rounds(parser)
    add_compute(parser)


def measure(arguments: argparse.Namespace) -> Result:
    """Time whole training steps (forward, backward, Adam) of the candidates, in turns.

    Raises:
        InputError: a GPU that isn't there.
    """
    device = use_compute(arguments)
    torch.backends.cudnn.benchmark = True
    candidates = _candidates(arguments, device)
    seconds = side_by_side(
        {c.name: c.step for c in candidates}, arguments.rounds, warmup=3 if device == "cuda" else 1
    )
    rates = _conv_rates(device, arguments.rounds)
    loss_error, gradient_error = difference(candidates[1].method, _frames(arguments, device)[:4])
    notes = [
        "",
        f"With the same images and noise, losses differ by {loss_error:.1e} and gradients by "
        f"{gradient_error:.1e} (relative, float32, ours and the literal schedule).",
        "A 3x3 convolution of 256 channels, forward and backward, reaches "
        f"{rates['float32']:,.0f} GFLOP/s in float32 and {rates['bf16']:,.0f} in bf16: "
        f"{rates['bf16'] / rates['float32']:.2f} times, which bounds the gain by bf16.",
    ]
    if device == "cuda":
        notes.append(f"bf16 matrix products reach {_matmul_rate(device):,.0f} GFLOP/s.")
    return Result(
        "step",
        {
            "method": "FaceCycle stage 1",
            "size": arguments.size,
            "pairs": arguments.pairs,
            "side": arguments.input_size,
            "rounds": arguments.rounds,
            "device": device,
            "threads": torch.get_num_threads(),
        },
        [_row(c, seconds, rates, 2 * arguments.pairs) for c in candidates],
        notes,
        {"seconds": seconds, "conv_gflops": rates},
    )


@dataclass
class _Candidate:
    name: str
    method: FaceCycleMotion
    step: Callable[[], object]
    gflop: float  # per step
    precision: str


def _candidates(arguments: argparse.Namespace, device: str) -> list[_Candidate]:
    x = _frames(arguments, device)

    def candidate(name: str, precision: str, layout: torch.memory_format) -> _Candidate:
        method = stage1(arguments.size, arguments.input_size).to(device, memory_format=layout)
        parameters = [p for p in method.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=1e-5, betas=(0.5, 0.999))

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, precision == "bf16"):
                terms = literal.losses(method, x) if name == LITERAL else method.cycle(x)[1]
                total = method.total(terms)
            total.backward()
            optimizer.step()

        with FlopCounterMode(display=False) as counter:
            step()
        return _Candidate(name, method, step, counter.get_total_flops() / 1e9, precision)

    candidates = [
        candidate(LITERAL, "float32", torch.contiguous_format),
        candidate(OURS, "float32", torch.channels_last),
    ]
    if fast_bfloat16():
        candidates.append(candidate(OURS_BF16, "bf16", torch.channels_last))
    return candidates


def _frames(arguments: argparse.Namespace, device: str) -> Tensor:
    side = arguments.input_size
    draw = torch.Generator().manual_seed(0)
    return torch.randn(2 * arguments.pairs, 3, side, side, generator=draw).to(device)


def _row(
    candidate: _Candidate, seconds: Seconds, rates: dict[str, float], images: int
) -> dict[str, Value]:
    step = median(seconds[candidate.name])
    gflops = candidate.gflop / step
    return {
        "step": candidate.name,
        "ms": 1000 * step,
        "pictures/s": images / step,
        "times literal": ratio(seconds, LITERAL, candidate.name),
        "GFLOP a picture": candidate.gflop / images,
        "GFLOP/s": gflops,
        "% of convolution rate": 100 * gflops / rates[candidate.precision],
    }


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


def _conv_rates(device: str, rounds: int) -> dict[str, float]:
    """GFLOP/s of the generator's most frequent convolution, forward and backward, by precision."""
    repeats = 100 if device == "cuda" else 1

    def convolve(conv: nn.Module, x: Tensor) -> None:
        for _ in range(repeats):
            y = conv(x)
            y.backward(y.detach())

    calls = {}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        conv = nn.Conv2d(256, 256, 3, padding=1, device=device, dtype=dtype)
        x = torch.randn(32, 256, 16, 16, device=device, dtype=dtype)
        x = x.to(memory_format=torch.channels_last).requires_grad_()
        calls[name] = partial(convolve, conv.to(memory_format=torch.channels_last), x)
    gflop = repeats * 3 * 2 * 32 * 16 * 16 * 9 * 256 * 256 / 1e9
    return {name: gflop / min(seconds) for name, seconds in side_by_side(calls, rounds).items()}


def _matmul_rate(device: str) -> float:
    """GFLOP/s of square bf16 matrix products."""
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    seconds = side_by_side({"matmul": lambda: [a @ a for _ in range(10)]}, rounds=5)
    return 10 * 2 * 8192**3 / 1e9 / min(seconds["matmul"])
