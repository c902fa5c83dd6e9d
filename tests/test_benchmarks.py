"""The benchmark: the loop that we compare with measures well, and the page says what was found and where."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from benchmarks.limits import READ_NOISE_E
from benchmarks.photometry_table import COLUMNS, Row, as_markdown, machine
from benchmarks.photutils_loop import StarsOfFirstFrame, measure_with_photutils
from simulator.night import simulate_night
from simulator.settings import NightSettings
from simulator.truth import load_truth


def test_the_photutils_loop_measures_the_truth(tmp_path: Path) -> None:
    """A comparison with a loop that does badly would say nothing."""
    simulate_night(tmp_path, NightSettings(n_images=6, filters=("r",), seed=4))
    truth, key = load_truth(tmp_path), "2:r"
    first = np.column_stack([truth.column("x", key)[0], truth.column("y", key)[0]])
    stars = StarsOfFirstFrame(first, float(truth.column("fwhm_px", key)[0, 0]), READ_NOISE_E[key])
    names = truth.column("file", key)[:, 0]
    found = measure_with_photutils([tmp_path / str(name) for name in names], stars)
    electrons = truth.column("electrons", key)
    assert found.flux.shape == electrons.shape
    assert found.core_s > 0.0
    pulls = (found.flux / 0.998 - electrons) / found.flux_err
    assert np.abs(pulls).max() < 5.0
    assert found.flux.mean(axis=0)[:4] == pytest.approx(electrons.mean(axis=0)[:4], rel=0.01)


def test_the_page_holds_the_table_and_no_place_of_this_machine() -> None:
    rows = [Row("1:g", "forced optimal", 0.00412, 0.00400, 0.9987, 1.5)]
    page = as_markdown(rows, 600, machine())
    assert f"| {' | '.join(COLUMNS)} |" in page
    assert "| 1:g | forced optimal | 0.4120 | 0.4000 | 1.030 | 0.9987 | 1.50 |" in page
    assert "known to 2.9 %" in page
    assert str(Path.cwd()) not in page
    assert not platform.node() or platform.node() not in page
    assert " cores. Python 3." in page
