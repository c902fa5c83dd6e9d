"""The Analyzer's methods of timing: objects of astropy and stingray with the numbers of this program, and figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.timeseries import LombScargle
from astropy.timeseries import TimeSeries as AstropyTimeSeries

from stream.analysis.analyzer import Analyzer
from stream.analysis.averaged_spectra import Averaging, averaged_power_spectrum
from stream.analysis.cross_correlation import Lags
from stream.analysis.detrending import Detrending, Trend
from stream.analysis.dynamic_spectrum import Windows
from stream.analysis.folding import Ephemeris, phase_fold
from stream.analysis.periodogram import Normalisation, SpectrumSettings
from stream.analysis.relative import relative_light_curve
from stream.errors import AnalysisError, ConfigurationError
from stream.flags import Flag
from tests.analysis.synthetic import Field

SEGMENT = Averaging(200.0)
LAGS = {"1:g": 0.0, "2:r": math.pi / 2.0, "3:i": math.pi}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Analyzer:
    """Three keys of 1500 frames; a satellite in one of them, and a gap in another."""
    curves = {}
    for seed, (key, lag_rad) in enumerate(LAGS.items(), start=1):
        fluxes = Field(variable=2, key=key, lag_rad=lag_rad, seed=seed, n_frames=1500).make()
        curves[key] = relative_light_curve(fluxes, 2, (1, 3, 4))
    spoilt = curves["1:g"]
    flux, flags = spoilt.flux.copy(), spoilt.flags.copy()
    flux[700], flags[700] = 9.0, int(Flag.SATURATED)
    curves["1:g"] = replace(spoilt, flux=flux, flags=flags)
    return Analyzer(tmp_path_factory.mktemp("night"), "test", "optimal", curves)


def test_averaged_spectra_of_stingray_are_those_of_this_program(night: Analyzer) -> None:
    found = night.averaged_power_spectra(SEGMENT)
    for key, series in night.series().items():
        own = averaged_power_spectrum(series, SEGMENT)
        np.testing.assert_allclose(found[key].power, own.power, rtol=1e-9)
        np.testing.assert_allclose(found[key].freq, own.frequency_hz)
        assert found[key].m == own.n_segments == 7
    # Bins that grow hold the frequencies that they hold in stingray.
    theirs, own = found["1:g"].rebin_log(0.1), night.averaged_powers(SEGMENT, growth=0.1)["1:g"]
    assert own.n_averaged is not None
    np.testing.assert_array_equal(own.n_averaged, theirs.k[theirs.k > 0])
    np.testing.assert_allclose(own.power, theirs.power[theirs.k > 0], rtol=1e-9)
    whole = night.power_spectra(Normalisation.ABSOLUTE)["2:r"]
    assert type(whole).__module__ == "stingray.powerspectrum"
    assert whole.freq[whole.power.argmax()] == pytest.approx(0.135, abs=1e-3)
    dynamic = night.dynamic_power_spectra(SEGMENT)["3:i"]
    assert dynamic.dyn_ps.shape == (len(found["3:i"].freq), 7)
    assert night.light_curve_objects()["1:g"].err_dist == "gauss"


def test_lags_of_stingray_are_positive_where_the_key_is_late_and_have_our_errors(night: Analyzer) -> None:
    own, theirs = night.lags(SEGMENT), night.cross_spectra(SEGMENT)
    assert list(own) == list(theirs) == [("1:g", "2:r"), ("1:g", "3:i")]
    for pair, found in theirs.items():
        lag, error = found.phase_lag()
        index = int(np.argmin(np.abs(found.freq - 0.135)))
        np.testing.assert_allclose(np.exp(1j * lag), np.exp(1j * own[pair].phase_lag_rad), atol=1e-9)
        np.testing.assert_array_equal(error, own[pair].phase_lag_err_rad)
        assert abs(math.remainder(lag[index] - LAGS[pair[1]], 2.0 * math.pi)) < 5.0 * error[index]
    # Coherences as stingray has them, whose bias is taken off ours.
    m, pair = own["1:g", "2:r"].n_segments, theirs["1:g", "2:r"]
    measured = np.abs(pair.unnorm_power) ** 2 / (pair.pds1.unnorm_power * pair.pds2.unnorm_power).real
    expected = np.clip((measured - 1.0 / m) / (1.0 - 1.0 / m), 0.0, 1.0)
    np.testing.assert_allclose(own["1:g", "2:r"].coherence, expected, atol=1e-9)
    turned = night.lags(SEGMENT, reference="3:i")["3:i", "2:r"]
    assert turned.phase_lag_rad[index] == pytest.approx(-math.pi / 2.0, abs=0.2)


def test_constant_offsets_of_the_clocks_are_in_the_lags_of_both(night: Analyzer) -> None:
    late = night.light_curves["2:r"]
    shift = 0.4 / 86400.0
    late = replace(late, time_mjd_utc=late.time_mjd_utc + shift, time_bmjd_tdb=late.time_bmjd_tdb + shift)
    moved = replace(night, light_curves={"1:g": night.light_curves["1:g"], "2:r": late})
    index = int(np.argmin(np.abs(night.lags(SEGMENT)["1:g", "2:r"].frequency_hz - 0.135)))
    for lags in (
        moved.lags(SEGMENT)["1:g", "2:r"].phase_lag_rad,
        moved.cross_spectra(SEGMENT)["1:g", "2:r"].phase_lag()[0],
    ):
        assert lags[index] - night.lags(SEGMENT)["1:g", "2:r"].phase_lag_rad[index] == pytest.approx(
            0.4 * 2.0 * math.pi * 0.135, abs=0.01
        )


def test_folds_of_astropy_have_our_phases(night: Analyzer) -> None:
    ephemeris = Ephemeris(1.0 / 0.135, 20.0)
    folded = night.phase_fold(ephemeris)["1:g"]
    assert isinstance(folded, AstropyTimeSeries)
    own = phase_fold(night.series(exclude_flagged=False)["1:g"], ephemeris)
    np.testing.assert_allclose(np.asarray(folded.time.value, dtype=float), own.phase, atol=2e-6)
    bins = night.phase_bin(n_bins=10)
    assert bins["1:g"].meta["period"].to_value("s") == pytest.approx(1.0 / 0.135, rel=1e-4)
    assert bins["1:g"].meta["period_err"].to_value("s") > 0.0
    # On the maximum of the first key; the second is a quarter of a cycle late.
    assert bins["1:g"]["flux"].argmax() in (0, 9)
    assert bins["2:r"]["flux"].argmax() in (2, 3)
    assert len(night.time_series()["2:r"]) == 1500


def test_periodograms_are_of_the_points_that_are_trusted(night: Analyzer) -> None:
    periodogram = night.periodograms()["1:g"]
    assert isinstance(periodogram, LombScargle)
    spectrum = night.lomb_scargle(settings=SpectrumSettings(Normalisation.LEAHY))["1:g"]
    assert spectrum.n_points == 1499
    window = night.window_functions()["1:g"]
    np.testing.assert_array_equal(window.frequency_hz, spectrum.frequency_hz)
    assert window.power[50:-50].max() < 0.01  # one point a second without gaps
    theirs = periodogram.power(spectrum.frequency_hz, method="slow", normalization="psd") * 2.0
    np.testing.assert_allclose(spectrum.power[:-5], theirs[:-5], rtol=1e-5, atol=1e-3)


def test_false_alarm_levels_are_named_on_the_figure(night: Analyzer) -> None:
    levels = night.false_alarm_levels(0.01)
    for key, spectrum in night.lomb_scargle().items():
        assert spectrum.noise_level < levels[key].power < spectrum.peak_power
    (note,) = [text.get_text() for text in night.plot_power_spectra(show=False).axes[1].texts]  # type: ignore[attr-defined]
    assert note == "false alarms 1 %, Baluev (2008), white noise"
    few = relative_light_curve(Field(variable=2, n_frames=8).make(), 2, (1, 3, 4))
    short = replace(night, light_curves={"1:g": few})
    with pytest.raises(AnalysisError, match="light curve of 1:g: a false-alarm level needs at least 10"):
        short.false_alarm_levels()
    assert not short.plot_power_spectra(show=False).axes[0].texts  # type: ignore[attr-defined]


def test_what_was_detrended_is_said_and_the_signal_stays(night: Analyzer) -> None:
    flat = night.detrended(Detrending(Trend.POLYNOMIAL, degree=2))
    assert flat.done == tuple(f"{key}: polynomial of degree 2 divided out" for key in LAGS)
    assert len(flat.light_curves["1:g"].flux) == 1499
    assert flat.lomb_scargle()["1:g"].peak_rms == pytest.approx(0.02, abs=0.001)
    figure = flat.plot(show=False)
    assert "1:g: polynomial of degree 2 divided out" in figure.get_suptitle()  # type: ignore[attr-defined]
    with pytest.raises(AnalysisError, match=r"light curve of 1:g: the airmass is 1.2000 throughout"):
        night.detrended(Detrending(Trend.AIRMASS))


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("folded", lambda night: night.plot_fold()),
        ("averaged_power_spectra", lambda night: night.plot_averaged_power_spectra(SEGMENT)),
        ("lags", lambda night: night.plot_lags(SEGMENT)),
        ("cross_correlations", lambda night: night.plot_cross_correlations(Lags(3.5, 0.5, n_trials=5))),
        ("dynamic_spectra", lambda night: night.plot_dynamic_spectra(Windows(200.0, 100.0))),
        ("transits", lambda night: night.plot_transits()),
    ],
)
def test_figures_go_to_the_folder_of_plots(night: Analyzer, name: str, draw: Callable[[Analyzer], object]) -> None:
    draw(night)
    assert (night.out_directory / "plots" / f"test_optimal_{name}.pdf").read_bytes().startswith(b"%PDF")


def test_one_key_has_no_lag_and_an_unknown_one_is_named(night: Analyzer, tmp_path: Path) -> None:
    alone = Analyzer(tmp_path, "test", "optimal", {"1:g": night.light_curves["1:g"]})
    with pytest.raises(ConfigurationError, match="a lag needs at least two keys, but 1:g is the only one"):
        alone.lags(SEGMENT)
    with pytest.raises(ConfigurationError, match="key '4:z' must be one of 1:g, 2:r, 3:i"):
        night.cross_correlations(Lags(5.0), reference="4:z")
    with pytest.raises(ConfigurationError, match="must be one of none"):
        Analyzer(tmp_path, "test", "optimal", {}).ephemeris()


def test_a_key_that_cannot_be_transformed_is_named(night: Analyzer) -> None:
    curve = night.light_curves["2:r"]
    nothing = replace(night, light_curves={**night.light_curves, "2:r": replace(curve, flux=np.full(1500, np.nan))})
    for compute in (
        lambda: nothing.averaged_power_spectra(SEGMENT),
        lambda: nothing.dynamic_spectra(Windows(200.0, 100.0)),
        lambda: nothing.phase_bin(Ephemeris(7.0)),
        lambda: nothing.transits(),
    ):
        with pytest.raises(AnalysisError, match=r"light curve of 2:r: .* needs at least .* measured points?.*, not 0"):
            compute()
    with pytest.raises(AnalysisError, match=r"1:g and 2:r: .* measured points of different times, not 0"):
        nothing.lags(SEGMENT)
