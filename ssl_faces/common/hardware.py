"""Description and abilities of the hardware."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch


def hardware(device: torch.device | str) -> str:
    """Name of the GPU, or of the CPU with torch's number of threads."""
    device = torch.device(device)
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {torch.get_num_threads()} threads"


def fast_bfloat16() -> bool:
    """Whether the hardware supports bfloat16 matrix products."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    info = Path("/proc/cpuinfo")
    return info.exists() and re.search("amx_bf16|avx512_bf16", info.read_text()) is not None


def free_gpu_memory(device: torch.device) -> int:
    """Free bytes of the GPU's memory."""
    return int(torch.cuda.mem_get_info(device)[0])
