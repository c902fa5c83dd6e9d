"""The notebook of timing in docs/, executed cell by cell: from the simulator's frames to its truth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "timing_methods.ipynb"
FREQUENCY_HZ, RMS = 0.135, 0.02
LAGS = {"2:r": math.pi / 2.0, "3:i": math.pi}
FIGURES = (
    "light_curves",
    "power_spectra",
    "folded",
    "lags",
    "averaged_power_spectra",
    "cross_correlations",
    "dynamic_spectra",
)
NUMBER = r"([+-]?[0-9.]+)"


class Executed:
    """The notebook after its cells ran in a fresh kernel, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.plots = folder / "out" / "reduced" / "plots"
        self._book: Any = nbformat.read(NOTEBOOK, as_version=4)
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(self._book, timeout=240, kernel_name="python3", resources=resources).execute()

    def said(self, words: str) -> str:
        """What the only cell of code with these words wrote."""
        (cell,) = (cell for cell in self._book.cells if cell.cell_type == "code" and words in cell.source)
        return "".join(each.text for each in cell.outputs if each.get("name") == "stdout")

    def n_pictures(self) -> int:
        """Pictures below all cells."""
        outputs = [each for cell in self._book.cells for each in cell.get("outputs", [])]
        return sum("image/png" in each.get("data", {}) for each in outputs)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executed]:
    folder = tmp_path_factory.mktemp("timing")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        yield Executed(folder)


def test_frequency_and_rms_are_those_of_the_simulator(executed: Executed) -> None:
    said = executed.said("false_alarm_level")
    found = re.findall(rf"(\d:\w): {NUMBER} ± {NUMBER} Hz, rms {NUMBER} ± {NUMBER}, {NUMBER} times", said)
    assert [row[0] for row in found] == ["1:g", "2:r", "3:i"]
    for _, *texts in found:
        frequency, frequency_err, rms, rms_err, height = (float(text) for text in texts)
        assert abs(frequency - FREQUENCY_HZ) < 4.0 * frequency_err < 0.001
        # Up to three hundredths of it are lost to the exposure.
        assert abs(rms - RMS) < 4.0 * rms_err + 0.03 * RMS
        assert rms_err < 0.001
        assert height > 3.0


def test_lags_are_those_of_the_simulator(executed: Executed) -> None:
    said = executed.said("flat.lags(averaging).items()")
    found = re.findall(rf"(\d:\w) behind 1:g: {NUMBER} ± {NUMBER} rad, {NUMBER} ± {NUMBER} s, coherence {NUMBER}", said)
    assert [row[0] for row in found] == list(LAGS)
    for key, *texts in found:
        lag, error, late_s, _, coherence = (float(text) for text in texts)
        assert abs(math.remainder(lag - LAGS[key], 2.0 * math.pi)) < 4.0 * error + 0.01 < 0.3
        assert late_s == pytest.approx(lag / (2.0 * math.pi * FREQUENCY_HZ), abs=0.01)
        assert coherence > 0.95


def test_the_period_is_that_of_the_simulator(executed: Executed) -> None:
    found = re.search(rf"period {NUMBER} ± {NUMBER} s", executed.said("ephemeris = flat.ephemeris()"))
    assert found is not None
    period, error = float(found[1]), float(found[2])
    assert abs(period - 1.0 / FREQUENCY_HZ) < 4.0 * error < 0.1


def test_pictures_stand_below_the_cells_and_in_the_folder_of_plots(executed: Executed) -> None:
    assert executed.n_pictures() == len(FIGURES) + 1  # the light curves twice, as they were and detrended
    for name in FIGURES:
        assert (executed.plots / f"timing_forced_optimal_{name}.pdf").read_bytes().startswith(b"%PDF")


def test_objects_are_those_of_the_libraries(executed: Executed) -> None:
    assert executed.said("for name, found in (").splitlines() == [
        "time_series: astropy.TimeSeries",
        "periodograms: astropy.LombScargle",
        "light_curve_objects: stingray.Lightcurve",
        "power_spectra: stingray.Powerspectrum",
        "averaged_power_spectra: stingray.AveragedPowerspectrum",
        "cross_spectra: stingray.AveragedCrossspectrum",
        "dynamic_power_spectra: stingray.DynamicalPowerspectrum",
    ]
