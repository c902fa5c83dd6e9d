"""The three real frames of OPTICAM-MX: scanned, catalogued without hot pixels among the sources, and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from stream.config import DEFAULT_LABEL
from stream.instruments import OPTICAM_MX
from stream.measure.frames import read_frame
from stream.night.ledger import LedgerReader
from tests.conftest import real_frames
from tests.night.processes import run

KEYS = ("1:g", "2:r", "3:z")


def test_scan_names_what_there_is() -> None:
    done = run("scan", real_frames("opticam_mx"))
    assert done.returncode == 0, done.stderr
    for line in ("Binning: 2x2", "Filters: 1:g, 2:r, 3:z", "1 1:g images.", "1 2:r images.", "1 3:z images."):
        assert line in done.stdout


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three frames, reduced."""
    folder = tmp_path_factory.mktemp("opticam_mx")
    done = run("reduce", real_frames("opticam_mx"), "--out", folder / "out", "--no-diagnostics", timeout_s=120.0)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_each_frame_is_measured(out: Path) -> None:
    reader = LedgerReader(out)
    counts = reader.counts()
    assert (counts.n_measured, counts.n_rejected) == (3, 0)
    for key in KEYS:
        fluxes = reader.source_fluxes(key, DEFAULT_LABEL)
        assert fluxes.n_sources >= 50
        assert np.isfinite(fluxes.flux).mean() > 0.95
        assert np.isnan(fluxes.time_bmjd_tdb).all()  # RA 0 and Dec 31 are placeholders, not a pointing
    reader.close()


def test_no_source_is_a_hot_pixel(out: Path) -> None:
    """A hot pixel stands alone: what it holds beyond its neighbours is all that there is. A star is FWHM wide."""
    reader = LedgerReader(out)
    catalogs = reader.catalogs()
    reader.close()
    for path in sorted(real_frames("opticam_mx").iterdir()):
        frame = read_frame(path, path.name, OPTICAM_MX())
        image = frame.electrons().astype(np.float64)
        catalog = catalogs[frame.facts.key]
        sky = np.median(image)
        peaks = ndimage.maximum_filter(image, size=3)[_at(catalog.positions(), image.shape)] - sky
        around = ndimage.uniform_filter(image, size=5)[_at(catalog.positions(), image.shape)] - sky
        # Over 5 x 5 pixels a hot pixel is diluted to a 25th; a star of FWHM 6 keeps more than half.
        noise = 5.0 * 1.4826 * np.median(np.abs(image - sky))
        assert (around > 0.0).all()
        assert (around > 0.25 * (peaks - noise)).all(), frame.facts.key
        assert len(catalog.hot_pixels) > 900


def _at(xy: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = np.rint(xy).astype(int).T
    return np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1)
