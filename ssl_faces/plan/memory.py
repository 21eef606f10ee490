"""How much memory is free, and how much a process has used."""

from __future__ import annotations

import re
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def free_memory() -> int | None:
    """Free bytes of the machine and of the container; None if unknown."""
    free = []
    available = _kib(_PROC / "meminfo", "MemAvailable")
    if available is not None:
        free.append(available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit.isdecimal():
            used = int((_CGROUP / "memory.current").read_text())
            # The system can take back what it caches of files.
            stat = (_CGROUP / "memory.stat").read_text()
            cached = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
            free.append(int(limit) - used + (int(cached[1]) if cached else 0))
    except (OSError, ValueError):
        pass
    return min(free) if free else None


def peak_memory(process: int) -> int:
    """Most bytes that a process has held at once so far; 0 if unknown."""
    return _kib(_PROC / str(process) / "status", "VmHWM") or 0


def _kib(path: Path, key: str) -> int | None:
    try:
        match = re.search(rf"^{key}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None
