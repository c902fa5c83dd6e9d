"""What a process holds: memory and open files, as the system counts them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_KB_PER_MB = 1024.0


@dataclass(frozen=True)
class Held:
    """Resident memory in megabytes, and open files."""

    memory_mb: float
    n_files: int


def held_by(pid: int) -> Held:
    """What a process holds now."""
    place = Path(f"/proc/{pid}")
    for line in (place / "status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return Held(int(line.split()[1]) / _KB_PER_MB, len(list((place / "fd").iterdir())))
    raise AssertionError(f"process {pid} has no memory: it has ended")
