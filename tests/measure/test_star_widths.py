"""Widths of single stars: known Gaussians, in and out of focus, and the same as the compiled centroids find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from stream.config import Recipe
from stream.errors import FrameRejectedError
from stream.instruments import OPTICAM_MX
from stream.measure.centroids import centre_stars
from stream.measure.frames import read_frame
from stream.measure.psf import FWHM_PER_SIGMA, psf_from_stars
from stream.measure.star_widths import measure_star_widths
from tests.measure.packed_files import header

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = Recipe(instrument=OPTICAM_MX())
PLACES = np.array([(60.3, 70.6), (200.0, 100.4), (150.2, 190.1)])
FLUXES = (3e5, 1e5, 6e4)


def write_stars(path: Path, sigma_px: float, *, faint: float = 0.0, peak: float = np.inf) -> Path:
    y, x = np.mgrid[:256, :256]
    image = np.random.default_rng(5).normal(300.0, 12.0, (256, 256))
    for (at_x, at_y), flux in zip(PLACES, FLUXES, strict=True):
        star = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2.0 * sigma_px**2))
        image += np.minimum(flux / (2.0 * np.pi * sigma_px**2) * star, peak)
    image += faint * np.exp(-((x - 40.0) ** 2 + (y - 200.0) ** 2) / (2.0 * sigma_px**2))
    fits.PrimaryHDU(np.clip(image, 0, 65535).astype(np.uint16), header()).writeto(path)
    return path


@pytest.mark.parametrize("sigma_px", [1.0, 1.7, 4.0, 7.0])
@pytest.mark.parametrize("expected_fwhm_px", [4.0, 14.0])
def test_known_widths_are_found_wherever_the_window_begins(
    tmp_path: Path, sigma_px: float, expected_fwhm_px: float
) -> None:
    path = write_stars(tmp_path / "stars.fit", sigma_px, peak=40_000.0)
    found = measure_star_widths(path, path.name, PLACES + 0.7, recipe=RECIPE, fwhm_px=expected_fwhm_px)
    # A pixel adds the variance of its own width, 1/12, only where the camera integrates; here it samples.
    assert found[1:] == pytest.approx(FWHM_PER_SIGMA * sigma_px, rel=0.03)


def test_the_widths_are_those_of_the_compiled_centroids(tmp_path: Path) -> None:
    path = write_stars(tmp_path / "stars.fit", 1.9)
    found = measure_star_widths(path, path.name, PLACES, recipe=RECIPE, fwhm_px=FWHM_PER_SIGMA * 1.9)
    centres = centre_stars(read_frame(path, path.name, RECIPE.instrument), PLACES, 1.9)
    assert centres.good.all()
    slow = [psf_from_stars(centres, np.arange(3) == number, 1.9).fwhm_px for number in range(3)]
    assert found == pytest.approx(slow, rel=0.01)


def test_a_star_without_a_width_has_none(tmp_path: Path) -> None:
    path = write_stars(tmp_path / "stars.fit", 1.7, faint=15.0)
    places = np.array([(40.0, 200.0), (-30.0, 50.0), (np.nan, np.nan), tuple(PLACES[1])])
    found = measure_star_widths(path, path.name, places, recipe=RECIPE, fwhm_px=4.0)
    assert np.isnan(found[:3]).all()
    assert found[3] == pytest.approx(FWHM_PER_SIGMA * 1.7, rel=0.03)
    saturated = tmp_path / "saturated.fit"
    with fits.open(write_stars(tmp_path / "bright.fit", 1.7)) as hdus:
        pixels = hdus[0].data.copy()
        pixels[100, 200] = 65535
        fits.PrimaryHDU(pixels, hdus[0].header).writeto(saturated)
    assert np.isnan(measure_star_widths(saturated, saturated.name, places[3:], recipe=RECIPE, fwhm_px=4.0)).all()


def test_a_frame_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FrameRejectedError, match=r"^gone\.fit disappeared before it was read$"):
        measure_star_widths(tmp_path / "gone.fit", "gone.fit", PLACES, recipe=RECIPE, fwhm_px=4.0)


def test_a_look_at_the_focus_does_not_load_the_compiler(tmp_path: Path) -> None:
    path = write_stars(tmp_path / "stars.fit", 1.7)
    code = (
        "import sys, numpy; from pathlib import Path\n"
        "from stream.config import Recipe; from stream.instruments import OPTICAM_MX\n"
        "from stream.measure.star_widths import measure_star_widths\n"
        f"path, places = Path({str(path)!r}), numpy.array([(200.0, 100.4)])\n"
        "print(measure_star_widths(path, path.name, places, recipe=Recipe(instrument=OPTICAM_MX()), fwhm_px=4.0))\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60.0, cwd=PROJECT)
    assert done.stdout.splitlines()[1:] == ["False"], done.stderr
