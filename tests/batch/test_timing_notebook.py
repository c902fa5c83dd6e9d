"""The notebook of timing in docs/, executed cell by cell: from the simulator's frames to its truth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest

from tests.batch.notebooks import Executed, executed_notebook

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


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executed]:
    with executed_notebook("timing_methods.ipynb", tmp_path_factory.mktemp("timing")) as found:
        yield found


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
    assert executed.n_all_pictures() == len(FIGURES) + 1  # the light curves twice, as they were and detrended
    for name in FIGURES:
        assert (executed.reduced / "plots" / f"timing_forced_optimal_{name}.pdf").read_bytes().startswith(b"%PDF")


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
