"""`ssl-faces bench step`: FaceCycle's first stage beside its authors' schedule of network calls."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssl_faces.bench import literal
from ssl_faces.bench.result import Result
from ssl_faces.bench.timing import Seconds, ratio, side_by_side
from ssl_faces.common.arguments import SIDE, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.hardware import fast_bfloat16
from ssl_faces.methods.facecycle_motion import FaceCycleMotion

LITERAL = "literal schedule, float32, NCHW"
OURS = "ours, float32"
OURS_BF16 = "ours, bf16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=["paper", "small"], default="paper")
    parser.add_argument("--pairs", type=whole(1), default=16, help="pairs a step")
    parser.add_argument("--input-size", type=SIDE, default=64, help="side of the pictures")
    parser.add_argument("--rounds", type=whole(1), default=5)
    parser.add_argument("--threads", type=whole(1, 1024), help="of the CPU; all cores by default")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")


def measure(arguments: argparse.Namespace) -> Result:
    """Time whole training steps (forward, backward, Adam) of the candidates, which take turns.

    Raises:
        InputError: a GPU that isn't there.
    """
    device = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no GPU that PyTorch can use; leave it out")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True

    candidates = _candidates(arguments, device)
    seconds = side_by_side(
        {c.name: c.step for c in candidates}, arguments.rounds, warmup=3 if device == "cuda" else 1
    )
    rates = _conv_rates(device, arguments.rounds)
    result = Result(
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
    )
    result.rows = [_row(c, seconds, rates, 2 * arguments.pairs) for c in candidates]
    worst, gradients = difference(candidates[1].method, _frames(arguments, device)[:4])
    limit = rates["bf16"] / rates["float32"]
    result.notes = [
        "",
        f"The same pictures and noise give losses {worst:.1e} and gradients {gradients:.1e} apart "
        "(relative, float32, ours against the literal schedule).",
        f"Rate of a 3x3 convolution of 256 channels, forward and backward, measured here: "
        f"{rates['float32']:,.0f} GFLOP/s in float32, {rates['bf16']:,.0f} in bf16: {limit:.2f} "
        "times, which bounds what bf16 can gain.",
    ]
    if device == "cuda":
        result.notes.append(f"Rate of bf16 matrix products: {_matmul_rate(device):,.0f} GFLOP/s.")
    result.details = {"seconds": seconds, "conv_gflops": rates}
    return result


@dataclass
class _Candidate:
    name: str
    method: FaceCycleMotion
    step: Callable[[], object]
    gflop: float  # of one step
    precision: str


def _candidates(arguments: argparse.Namespace, device: str) -> list[_Candidate]:
    x = _frames(arguments, device)

    def method() -> FaceCycleMotion:
        torch.manual_seed(0)
        made = FaceCycleMotion(arguments.size, arguments.input_size, "random")
        return made.to(device)

    def candidate(
        name: str, method: FaceCycleMotion, losses: Callable[[], dict[str, Tensor]], precision: str
    ) -> _Candidate:
        optimizer = _adam(method)

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, precision == "bf16"):
                total = method.total(losses())
            total.backward()
            optimizer.step()

        counter = FlopCounterMode(display=False)
        with counter:
            step()
        return _Candidate(name, method, step, counter.get_total_flops() / 1e9, precision)

    plain = method()
    found = [candidate(LITERAL, plain, lambda: literal.losses(plain, x), "float32")]
    precisions = {OURS: "float32"} | ({OURS_BF16: "bf16"} if fast_bfloat16() else {})
    for name, precision in precisions.items():
        own = method().to(memory_format=torch.channels_last)
        found.append(candidate(name, own, lambda own=own: own.cycle(x)[1], precision))  # type: ignore[misc]
    return found


def _frames(arguments: argparse.Namespace, device: str) -> Tensor:
    side = arguments.input_size
    draw = torch.Generator().manual_seed(0)
    return torch.randn(2 * arguments.pairs, 3, side, side, generator=draw).to(device)


def _adam(method: nn.Module) -> torch.optim.Optimizer:
    trained = [p for p in method.parameters() if p.requires_grad]
    return torch.optim.Adam(trained, lr=1e-5, betas=(0.5, 0.999))


def _row(
    candidate: _Candidate, seconds: Seconds, rates: dict[str, float], pictures: int
) -> dict[str, Any]:
    step = median(seconds[candidate.name])
    gflops = candidate.gflop / step
    return {
        "step": candidate.name,
        "ms": 1000 * step,
        "pictures/s": pictures / step,
        "times literal": ratio(seconds, LITERAL, candidate.name),
        "GFLOP a picture": candidate.gflop / pictures,
        "GFLOP/s": gflops,
        "% of convolution rate": 100 * gflops / rates[candidate.precision],
    }


def difference(method: FaceCycleMotion, x: Tensor, seed: int = 1) -> tuple[float, float]:
    """How far `FaceCycleMotion.cycle` is from the literal schedule on frames `x` [2b, 3, S, S].

    Returns:
        The largest relative difference of a loss term, and the relative difference (norms) of
        the gradients of the whole loss by all parameters.
    """

    def run(losses: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, float], dict[str, Tensor]]:
        torch.manual_seed(seed)
        method.zero_grad()
        terms = losses()
        method.total(terms).backward()
        gradients = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
        return {name: term.item() for name, term in terms.items()}, gradients

    own, own_gradients = run(lambda: method.cycle(x)[1])
    expected, gradients = run(lambda: literal.losses(method, x))
    method.zero_grad()
    if own_gradients.keys() != gradients.keys():
        return float("inf"), float("inf")
    worst = max(abs(own[k] - v) / max(abs(v), 1e-6) for k, v in expected.items())
    square = sum(float((own_gradients[k] - g).square().sum()) for k, g in gradients.items())
    norm = sum(float(g.square().sum()) for g in gradients.values())
    return worst, (square / norm) ** 0.5


def _conv_rates(device: str, rounds: int) -> dict[str, float]:
    """GFLOP/s of the generator's commonest convolution, forward and backward, by precision."""
    images = torch.randn(32, 256, 16, 16, device=device)
    layers = {
        name: (
            nn.Conv2d(256, 256, 3, padding=1, device=device, dtype=dtype).to(
                memory_format=torch.channels_last
            ),
            images.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(),
        )
        for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16))
    }
    repeats = 100 if device == "cuda" else 1

    def work(name: str) -> Callable[[], None]:
        conv, x = layers[name]

        def run() -> None:
            for _ in range(repeats):
                y = conv(x)
                y.backward(y.detach())

        return run

    seconds = side_by_side({name: work(name) for name in layers}, rounds)
    gflop = repeats * 3 * 2 * 32 * 16 * 16 * 9 * 256 * 256 / 1e9
    return {name: gflop / min(taken) for name, taken in seconds.items()}


def _matmul_rate(device: str) -> float:
    """GFLOP/s of square bf16 matrix products."""
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    seconds = side_by_side({"matmul": lambda: [a @ a for _ in range(10)]}, rounds=5)
    return 10 * 2 * 8192**3 / 1e9 / min(seconds["matmul"])
