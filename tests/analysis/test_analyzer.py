"""The Analyzer: joining keys, bins against their truth, power spectra, figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream.analysis.analyzer import Analyzer
from stream.analysis.relative import relative_light_curve
from stream.errors import AnalysisError, ConfigurationError
from stream.flags import Flag
from tests.analysis.synthetic import Field


def analyzer(out: Path, field: Field | None = None, label: str = "optimal") -> Analyzer:
    made = field or Field(variable=2)
    curve = replace(relative_light_curve(made.make(), 2, (1, 3)), label=label)
    return Analyzer(out, "test", label, {made.key: curve})


def test_keys_are_joined_in_order_and_the_parts_stay_as_they_were(tmp_path: Path) -> None:
    first, second = analyzer(tmp_path, Field(key="2:r")), analyzer(tmp_path, Field(key="1:g", seed=2))
    joined = first.join(second)
    assert list(joined.light_curves) == ["1:g", "2:r"]
    assert list(first.light_curves) == ["2:r"]
    assert joined.light_curves["1:g"] is second.light_curves["1:g"]


def test_what_does_not_belong_together_is_not_joined(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both analyzers have a light curve of 1:g: each key is allowed once"):
        analyzer(tmp_path).join(analyzer(tmp_path))
    with pytest.raises(ConfigurationError, match="photometer optimal and aperture cannot be joined"):
        analyzer(tmp_path).join(analyzer(tmp_path, Field(key="2:r"), label="aperture"))


def test_bins_are_weighted_means_with_the_error_of_the_weights(tmp_path: Path) -> None:
    whole = analyzer(tmp_path, Field(n_frames=200, variable=0))
    curve = whole.light_curves["1:g"]
    binned = whole.rebin(10.0).light_curves["1:g"]
    assert len(binned.flux) in (20, 21)
    seconds = (curve.time_mjd_utc - curve.time_mjd_utc[0]) * 86400.0
    inside = np.floor(seconds / 10.0) == 3
    weights = curve.flux_err[inside] ** -2
    assert binned.flux[3] == pytest.approx(np.average(curve.flux[inside], weights=weights), rel=1e-12)
    assert binned.flux_err[3] == pytest.approx(weights.sum() ** -0.5, rel=1e-12)
    assert binned.time_mjd_utc[3] == pytest.approx(curve.time_mjd_utc[inside].mean(), abs=1e-9)
    pulls = (binned.flux - 1.0) / binned.flux_err
    assert pulls.std() == pytest.approx(1.0, abs=0.4)


def test_flagged_points_stay_out_of_bins_that_have_others(tmp_path: Path) -> None:
    whole = analyzer(tmp_path, Field(n_frames=40, variable=0))
    curve = whole.light_curves["1:g"]
    flags, flux = curve.flags.copy(), curve.flux.copy()
    flags[5], flux[5] = int(Flag.SATURATED), 9.0
    flags[20:31] = int(Flag.SATURATED)
    flux[31] = np.nan
    spoilt = replace(whole, light_curves={"1:g": replace(curve, flags=flags, flux=flux)})
    binned = spoilt.rebin(10.0001).light_curves["1:g"]
    assert binned.flux.max() < 1.1
    assert binned.flags.tolist() == [0, 0, int(Flag.SATURATED), 0]
    assert np.isfinite(binned.flux).all()
    assert spoilt.series()["1:g"].flux.size == 28
    assert spoilt.series(exclude_flagged=False)["1:g"].flux.size == 40
    empty = replace(whole, light_curves={"1:g": replace(curve, flux=np.full(40, np.nan))}).rebin(10.0)
    assert len(empty.light_curves["1:g"].flux) == 0


@pytest.mark.parametrize("width_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_that_is_none_is_refused(tmp_path: Path, width_s: float) -> None:
    with pytest.raises(ConfigurationError, match=r"width_s \(.*\) must be greater than 0"):
        analyzer(tmp_path).rebin(width_s)


def test_the_frequency_of_the_target_is_found_in_every_key(tmp_path: Path) -> None:
    both = analyzer(tmp_path, Field(variable=2)).join(analyzer(tmp_path, Field(variable=2, key="2:r", seed=4)))
    for spectrum in both.lomb_scargle().values():
        assert spectrum.peak_frequency_hz == pytest.approx(0.135, abs=5 * spectrum.peak_frequency_err_hz)


def test_a_light_curve_that_has_no_spectrum_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="light curve of 1:g: a power spectrum needs at least 5 measured points"):
        analyzer(tmp_path, Field(n_frames=4)).lomb_scargle()


def test_all_keys_count_seconds_from_one_origin(tmp_path: Path) -> None:
    first, second = analyzer(tmp_path), analyzer(tmp_path, Field(key="2:r"))
    curve = second.light_curves["2:r"]
    late = replace(curve, time_mjd_utc=curve.time_mjd_utc + 1.0 / 24.0, time_bmjd_tdb=np.full(len(curve.flux), np.nan))
    series = first.join(replace(second, light_curves={"2:r": late})).series()
    assert series["1:g"].time_s[0] == 0.0
    assert series["2:r"].time_s[0] == pytest.approx(3600.0, abs=1e-3)  # not by minutes of light travel more


def test_figures_go_to_the_folder_of_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = analyzer(tmp_path)
    made.plot()
    made.plot_power_spectra()
    shown = capsys.readouterr().out
    for name in ("light_curves", "power_spectra"):
        path = tmp_path / "plots" / f"test_optimal_{name}.pdf"
        assert path.read_bytes().startswith(b"%PDF")
        assert f"[OPTICAM] Plot saved to {path}.\n" in shown
