"""A small simulated night, made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

N_IMAGES = 24


@pytest.fixture(scope="session")
def simulated_frames(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of 24 frames of each of three keys, in order of exposure."""
    from simulator.night import generate_observations

    folder = tmp_path_factory.mktemp("simulated")
    generate_observations(folder, N_IMAGES, circular_aperture=False)
    # 231122g200143431o.fit: the number after the filter is that of the exposure.
    return sorted(folder.glob("*.fit"), key=lambda path: (path.name[7:], path.name))
