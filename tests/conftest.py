"""Where tests find real frames, and how they run without a screen."""

from __future__ import annotations

from pathlib import Path

import pytest

REAL_FRAMES = Path(__file__).resolve().parents[2] / "shared" / "data"


def real_frames(name: str) -> Path:
    """Folder of real frames that nobody on this project made; the test is skipped where it is absent."""
    folder = REAL_FRAMES / name
    if not folder.is_dir():
        pytest.skip(f"the real frames of {name} are not in {REAL_FRAMES}")
    return folder
