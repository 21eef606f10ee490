"""How much memory there is, and how much a process has taken."""

from __future__ import annotations

import re
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def free_memory() -> int | None:
    """Bytes that can still be had, by the machine and by the container; None where that is not
    told."""
    found = []
    available = _kib(_PROC / "meminfo", "MemAvailable")
    if available is not None:
        found.append(available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit.isdecimal():
            used = int((_CGROUP / "memory.current").read_text())
            # Of what is counted as used, the system takes back what it keeps of files.
            cached = re.search(
                r"^inactive_file (\d+)$", (_CGROUP / "memory.stat").read_text(), re.MULTILINE
            )
            found.append(int(limit) - used + (int(cached[1]) if cached else 0))
    except (OSError, ValueError):
        pass
    return min(found) if found else None


def peak_memory(process: int) -> int:
    """Most bytes that a process has held at once so far; 0 where that is not told."""
    return _kib(_PROC / str(process) / "status", "VmHWM") or 0


def _kib(path: Path, key: str) -> int | None:
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
