"""The cost of a head: parameters, multiplications and additions, time a face on one core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from linear_probe.heads.head import Head

WARM_UP, TIMED = 3, 10


@dataclass(frozen=True)
class Cost:
    """Of one face, scored as the head scores it (a head of ten crops looks ten times).

    Attributes:
        parameters: all, also those of a frozen encoder.
        macs: multiplications, each with its addition; of convolutions and matrices.
        milliseconds: median of single faces on one core of the CPU, in float32.
    """

    parameters: int
    macs: int
    milliseconds: float

    @property
    def size(self) -> str:
        """What is the same whenever it is measured."""
        return f"{self.parameters / 1e6:.2f} M parameters, {self.macs / 1e6:.1f} M multiply-adds"

    def __str__(self) -> str:
        return f"{self.size} and {self.milliseconds:.1f} ms a face (one core, float32, one at once)"


@torch.inference_mode()
def cost(head: Head) -> Cost:
    """Measure it; the head is left in evaluation mode on the CPU."""
    head = head.cpu().eval()
    face = torch.randint(0, 256, (1, 3, head.read_size, head.read_size), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        head.predict(head.prepare(face))
    milliseconds = one_core_milliseconds(lambda: head.predict(head.prepare(face)))
    parameters = sum(p.numel() for p in head.parameters())
    return Cost(parameters, counter.get_total_flops() // 2, milliseconds)


def one_core_milliseconds(run: Callable[[], object]) -> float:
    """The median time of a call, with one thread of torch's, after some to warm up: the processor's
    time of this thread, so that other work on the machine is not counted."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken = []
        for _ in range(WARM_UP + TIMED):
            started = time.thread_time()
            run()
            taken.append(time.thread_time() - started)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(taken[WARM_UP:])
