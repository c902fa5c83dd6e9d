"""A small simulated night, reduced in batch: what several tests start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import opticam_live as opticam
from simulator.settings import NightSettings
from tests.nights import REAL_DENSITY

N_IMAGES = 20
LABEL = "forced_optimal_annulus"
SETTINGS = NightSettings(
    n_images=N_IMAGES,
    binning=8,
    n_sources=15,
    filters=("g", "r"),
    scenarios=("drift", "rotation", "flip", "hot_pixels"),
    scales=REAL_DENSITY,
    seed=5,
)


@dataclass(frozen=True)
class Reduced:
    """Folder of the frames, and of what was made of them with one photometer."""

    frames: Path
    out: Path
    reducer: opticam.Reducer


def photometer() -> opticam.OptimalPhotometer:
    """The photometer of `LABEL`."""
    return opticam.OptimalPhotometer(forced=True, local_background_estimator=opticam.DefaultLocalBackground())
