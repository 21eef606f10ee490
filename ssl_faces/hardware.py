"""What a run is made on: in words, and what it is fast at."""

from __future__ import annotations

import os
import platform
import re
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


def fast_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 matrices in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    info = Path("/proc/cpuinfo")
    return info.exists() and re.search("amx_bf16|avx512_bf16", info.read_text()) is not None


def free_memory(device: torch.device | str) -> int:
    """Bytes that can still be had: of the GPU, or of this machine (or the container it is)."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    info = Path("/proc/meminfo")
    if info.exists():
        # What the system keeps of files counts as free: it gives it up when asked.
        found = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text())
        free = int(found[1]) * 1024 if found else free
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, max(0, limit - used))
