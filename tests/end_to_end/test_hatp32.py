"""The archived night of HAT-P-32 b, replayed at full speed through ``watch``, against what is published of it.

Origin of the numbers: README of the frames (EXOTIC sample data); duration: Hartman et al. 2011, ApJ 742, 59.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

from stream.analysis.apertures import choose_photometer
from stream.analysis.choice import resolve_selection
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.analysis.transit_fit import TransitGuess, fit_transit
from stream.config import DEFAULT_LABEL
from stream.messages import FrameMeasured
from stream.night.ledger import LedgerReader
from stream.selection import load_selection
from tests.conftest import real_frames
from tests.night.processes import run, running, stop, wait_for_outcomes
from tests.night.waiting import wait_until

KEY = "1:Clear"
N_FRAMES = 142
PERIOD_D, EPOCH_BJD_TDB = 2.1500082, 2455867.402743
PUBLISHED_MID_TRANSIT_BJD_TDB = 2458107.71406
OUT_OF_TRANSIT_H, FULL_DEPTH_H = 1.6, 1.0
DURATION_H = 3.11
INSTRUMENT = Path(__file__).resolve().parents[2] / "examples" / "microobservatory.toml"
COORDINATES = "02:04:10 +46:41:23"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerReader]:
    """The ledger of the night, replayed into a watched folder."""
    archive = real_frames("hatp32")
    root = tmp_path_factory.mktemp("hatp32")
    folder, out = root / "frames", root / "out"
    folder.mkdir()
    words = ("--instrument", INSTRUMENT, "--target", "424,286", "--coordinates", COORDINATES, "--no-page")
    with running("watch", folder, "--out", out, *words) as watch:
        wait_until((out / "night.run.json").exists, 30.0, "the night to run")
        replay = run("replay", archive, folder, "--fast", "--instrument", INSTRUMENT, timeout_s=120.0)
        assert replay.returncode == 0, replay.stderr
        wait_for_outcomes(out, N_FRAMES, timeout_s=120.0)
        status, _, errors = stop(watch)
        assert status == 0, errors
    reader = LedgerReader(out)
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def light_curve(night: LedgerReader) -> RelativeLightCurve:
    """Target against comparison stars that were chosen automatically."""
    fluxes = night.source_fluxes(KEY, DEFAULT_LABEL)
    out = night.folder().parent / "out"
    choice = resolve_selection(load_selection(out), night.catalogs(), {KEY: fluxes})[KEY]
    assert not choice.automatic
    assert choice.automatic_comparisons
    catalog = night.catalogs()[KEY]
    target = catalog.positions()[choice.target - 1]
    assert np.hypot(*(target - (424.0, 286.0))) < 1.5
    assert choice.target not in choice.comparisons
    return relative_light_curve(fluxes, choice.target, choice.comparisons)


def test_every_frame_is_measured(night: LedgerReader) -> None:
    counts = night.counts()
    assert (counts.n_frames, counts.n_measured, counts.n_rejected, counts.n_pending) == (N_FRAMES, N_FRAMES, 0, 0)
    measured = night.outcomes_since(0)
    assert len({outcome.path for outcome in measured}) == N_FRAMES
    drift = [outcome.shift_x_px for outcome in measured if isinstance(outcome, FrameMeasured)]
    assert min(drift) < -250.0


def test_depth_and_scatter(light_curve: RelativeLightCurve) -> None:
    scatter, depth = _scatter_and_depth(light_curve)
    print(f"HAT-P-32: robust scatter {100 * scatter:.3f} %, depth {100 * depth:.2f} %")  # noqa: T201
    assert scatter <= 0.0060
    assert 0.020 <= depth <= 0.028


def _scatter_and_depth(curve: RelativeLightCurve) -> tuple[float, float]:
    """Robust scatter out of transit and depth in its middle, a straight line through the former divided out."""
    hours = _hours_from_mid_transit(curve.time_bmjd_tdb)
    outside, inside = np.abs(hours) > OUT_OF_TRANSIT_H, np.abs(hours) < FULL_DEPTH_H
    assert np.isfinite(curve.flux).all()
    line = np.polynomial.Polynomial.fit(hours[outside], curve.flux[outside], 1)
    flux = curve.flux / line(hours)
    scatter = 1.4826 * np.median(np.abs(flux[outside] - np.median(flux[outside])))
    return float(scatter), float(np.median(flux[outside]) - np.median(flux[inside]))


def test_the_quietest_photometer_and_the_mid_transit(night: LedgerReader, light_curve: RelativeLightCurve) -> None:
    labels = night.recipe().labels()
    choice = choose_photometer({label: night.source_fluxes(KEY, label) for label in labels}, light_curve.comparisons)
    fluxes = night.source_fluxes(KEY, choice.label)
    curve = relative_light_curve(fluxes, light_curve.target, light_curve.comparisons)
    scatter, depth = _scatter_and_depth(curve)
    late_s = _mid_transit_bjd_tdb(curve) - PUBLISHED_MID_TRANSIT_BJD_TDB
    print(  # noqa: T201
        f"HAT-P-32: {choice.sentence}; robust scatter {100 * scatter:.3f} %, depth {100 * depth:.2f} %, "
        f"mid-transit {late_s * 1440.0:+.2f} min from the published one"
    )
    assert scatter <= 0.0052
    assert 0.021 <= depth <= 0.027
    assert abs(late_s) < 2.0 / 1440.0


def test_the_quick_look_fit_agrees_with_the_fit_of_this_test(light_curve: RelativeLightCurve) -> None:
    """Without a guess, with one, and with a trend in airmass instead of time."""
    origin = float(light_curve.time_bmjd_tdb[0])
    series = light_curve.series(origin)
    own_s = (_mid_transit_bjd_tdb(light_curve) - 2400000.5 - origin) * 86400.0
    own = _trapezoid(light_curve)
    own_depth, own_duration_s = own[2], 2.0 * 3600.0 * (own[4] + abs(own[5]))
    published_s = (PUBLISHED_MID_TRANSIT_BJD_TDB - 2400000.5 - origin) * 86400.0
    in_time, in_airmass = fit_transit(series), fit_transit(series, airmass=light_curve.airmass)
    guessed = fit_transit(series, guess=TransitGuess(published_s, DURATION_H * 3600.0))
    for fit in (in_time, in_airmass, guessed):
        print(  # noqa: T201
            f"HAT-P-32: {fit.sentence}: {(fit.middle_s - published_s) / 60.0:+.2f} ± {fit.middle_err_s / 60.0:.2f} min "
            f"from the published mid-time, {(fit.middle_s - own_s) / 60.0:+.2f} min from the fit of this test; "
            f"depth {100 * fit.depth:.2f} ± {100 * fit.depth_err:.2f} %, "
            f"{fit.duration_s / 3600.0:.2f} ± {fit.duration_err_s / 3600.0:.2f} h; that of this test: "
            f"{100 * own_depth:.2f} %, {own_duration_s / 3600.0:.2f} h"
        )
        assert fit.complete
        assert abs(fit.middle_s - own_s) < fit.middle_err_s
        assert abs(fit.middle_s - published_s) < 3.0 * fit.middle_err_s < 600.0
        # A trend of another shape is another model.
        same = 3.0 if fit is in_airmass else 1.0
        assert abs(fit.depth - own_depth) < same * fit.depth_err
        assert abs(fit.duration_s - own_duration_s) < same * fit.duration_err_s
        # Without limb darkening, in noise that is not white, a trapezoid is shorter than the transit.
        assert abs(fit.duration_s / 3600.0 - DURATION_H) < 0.6
        assert fit.scatter < 0.007


def _mid_transit_bjd_tdb(curve: RelativeLightCurve) -> float:
    """Middle of the trapezoid, with a slope of the whole, that fits best."""
    nearest = np.round((curve.time_bmjd_tdb[0] + 2400000.5 - EPOCH_BJD_TDB) / PERIOD_D)
    return float(EPOCH_BJD_TDB + nearest * PERIOD_D + _trapezoid(curve)[3] / 24.0)


def _trapezoid(curve: RelativeLightCurve) -> np.ndarray:
    """Level, slope, depth, middle, half of the flat part and ingress; hours from the predicted mid-transit."""
    hours = _hours_from_mid_transit(curve.time_bmjd_tdb)

    def model(parameters: np.ndarray) -> np.ndarray:
        level, slope, depth, middle, half_flat, ingress = parameters
        inside = np.clip((half_flat + abs(ingress) - np.abs(hours - middle)) / abs(ingress), 0.0, 1.0)
        return np.asarray((level + slope * hours) * (1.0 - depth * inside))

    start = np.array([1.0, 0.0, 0.024, 0.0, 1.1, 0.4])
    return np.asarray(least_squares(lambda p: (curve.flux - model(p)) / curve.flux_err, start, loss="soft_l1").x)


def test_times_are_bjd_tdb_of_mid_exposure(light_curve: RelativeLightCurve, night: LedgerReader) -> None:
    from astropy import units
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.io import fits
    from astropy.time import Time

    folder = real_frames("hatp32")
    site = EarthLocation.from_geodetic(-110.73444, 32.41639, 2616.0)
    target = SkyCoord("02:04:10 +46:41:23", unit=(units.hourangle, units.deg))
    names = [night.frame_path(int(number)) for number in light_curve.frame_ids]
    starts = [fits.getval(folder / name, "UT-OBS").removesuffix("-0000") for name in names]
    utc = Time(starts, format="isot", scale="utc", location=site) + 30.0 * units.s
    expected = utc.tdb + utc.light_travel_time(target, "barycentric")
    offset_s = (light_curve.time_bmjd_tdb - (expected.jd1 - 2400000.5) - expected.jd2) * 86400.0
    assert np.abs(offset_s).max() < 0.05


def _hours_from_mid_transit(time_bmjd_tdb: np.ndarray) -> np.ndarray:
    cycles = (time_bmjd_tdb + 2400000.5 - EPOCH_BJD_TDB) / PERIOD_D
    return (cycles - np.round(cycles)) * PERIOD_D * 24.0
