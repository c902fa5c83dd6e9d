"""The reduced night is made once for all tests of this folder."""

from __future__ import annotations

import pytest

import opticam_live as opticam
from simulator.night import simulate_night
from tests.batch.reduced import SETTINGS, Reduced, photometer


@pytest.fixture(scope="session")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Reduced:
    root = tmp_path_factory.mktemp("reduced")
    simulate_night(root / "frames", SETTINGS)
    reducer = opticam.Reducer(root / "frames", root / "out", n_workers=1)
    reducer.create_catalogs()
    reducer.photometry(photometer())
    return Reduced(root / "frames", root / "out", reducer)
