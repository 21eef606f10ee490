"""What a figure or a checkpoint was made on, in words."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def hardware(device: torch.device | str) -> str:
    """Name of the GPU, or of the CPU with the number of threads that torch uses."""
    device = torch.device(device)
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {torch.get_num_threads()} threads"
