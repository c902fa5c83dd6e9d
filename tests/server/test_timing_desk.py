"""When timing is computed on the page: for those who look, no more often than is worth it; spectra as they grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from server.looks import Look
from server.spectrum_views import SpectrumMaker
from server.timing_desk import ATTENTION_S, INTERVAL_S, TimingDesk
from server.timing_looks import TimingChoices, TimingLook
from server.timing_views import KeyStretch, TimingView
from stream.analysis.detrending import Detrending, Trend
from stream.analysis.periodogram import Normalisation, SpectrumSettings, lomb_scargle
from stream.analysis.series import TimeSeries
from stream.analysis.significance import false_alarm_level
from tests.analysis.signals import FREQUENCY_HZ, sinusoid, times
from tests.server.test_timing_views import stretch

FOLD = TimingLook("fold")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Source:
    """Light curves of one version after another, and how often they were asked for."""

    def __init__(self) -> None:
        self.version = 0
        self.n_asked = 0
        self._series = sinusoid(times("even", 400), noise=0.01, seed=1)

    def version_of(self, _look: TimingLook) -> tuple[object, ...]:
        return (self.version,)

    def stretches_of(self, _look: TimingLook) -> list[KeyStretch]:
        self.n_asked += 1
        return [stretch("1:g", self._series)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(clock: Clock) -> Iterator[TimingDesk]:
    made = TimingDesk(clock)
    yield made
    made.stop()


def renewed(desk: TimingDesk, source: Source, look: TimingLook, wanted: Callable[[TimingView | None], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while True:
        desk.renew(source.version_of, source.stretches_of)
        if wanted(desk.view(look)):
            return
        assert time.monotonic() < deadline, "the view did not come in time"
        time.sleep(0.005)


def test_a_view_is_made_once_somebody_looks_and_again_when_points_have_come(clock: Clock, desk: TimingDesk) -> None:
    source = Source()
    desk.renew(source.version_of, source.stretches_of)
    assert source.n_asked == 0
    assert desk.view(FOLD) is None
    renewed(desk, source, FOLD, lambda view: view is not None)
    first = desk.view(FOLD)
    clock.now_s += 100.0
    desk.view(FOLD)
    desk.renew(source.version_of, source.stretches_of)
    assert source.n_asked == 1
    source.version += 1
    renewed(desk, source, FOLD, lambda view: view is not first)
    assert source.n_asked == 2


def test_a_view_rests_after_it_was_made(clock: Clock, desk: TimingDesk) -> None:
    source = Source()
    desk.view(FOLD)
    renewed(desk, source, FOLD, lambda view: view is not None)
    source.version += 1
    clock.now_s += 0.9 * INTERVAL_S
    desk.view(FOLD)
    desk.renew(source.version_of, source.stretches_of)
    assert source.n_asked == 1
    clock.now_s += 0.2 * INTERVAL_S
    desk.renew(source.version_of, source.stretches_of)
    assert source.n_asked == 2


def test_what_nobody_looks_at_costs_nothing_and_is_forgotten(clock: Clock, desk: TimingDesk) -> None:
    source = Source()
    desk.view(FOLD)
    renewed(desk, source, FOLD, lambda view: view is not None)
    clock.now_s += ATTENTION_S + 1.0
    source.version += 1
    desk.renew(source.version_of, source.stretches_of)
    assert source.n_asked == 1
    assert desk.view(FOLD) is None


def test_a_panel_that_fails_says_so_and_the_next_is_made(desk: TimingDesk, caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    unknown = TimingLook("tea leaves")
    assert desk.view(unknown) is None
    renewed(desk, source, unknown, lambda view: view is not None)
    view = desk.view(unknown)
    assert view is not None
    assert view.sentence == "tea leaves could not be computed: see log/serve.log of the night"
    assert "tea leaves" in caplog.text
    desk.view(FOLD)
    renewed(desk, source, FOLD, lambda found: found is not None and found.strips != ())


def no_airmass(series: TimeSeries) -> np.ndarray:
    return np.full(len(series.time_s), np.nan)


@pytest.mark.parametrize("normalisation", list(Normalisation))
def test_a_spectrum_has_its_levels_and_its_peak_with_errors(normalisation: Normalisation) -> None:
    series = sinusoid(times("jittered", 1500), noise=0.03, seed=3)
    maker = SpectrumMaker("1:g", look=Look(normalisation=normalisation))
    maker.make(series, no_airmass(series), 1)
    view = maker.view
    whole = lomb_scargle(series.time_s, series.flux, series.flux_err, settings=SpectrumSettings(normalisation))
    assert view.peak_frequency_hz == pytest.approx(FREQUENCY_HZ, abs=4.0 * whole.peak_frequency_err_hz)
    assert view.noise_level == pytest.approx(whole.noise_level, rel=1e-9)
    assert view.alarm_level == pytest.approx(false_alarm_level(whole, series).power, rel=1e-3)
    assert view.noise_level < view.alarm_level < view.peak_power
    assert view.alarm_text == "1 % false alarm, Baluev (2008), white noise"
    frequency, rest = view.peak_text.split("\n")
    period, rms = rest.split(" · ")
    assert float(frequency.split()[0]) == pytest.approx(FREQUENCY_HZ, abs=4.0 * float(frequency.split()[2]))
    assert float(period.split()[0]) == pytest.approx(1.0 / FREQUENCY_HZ, abs=4.0 * float(period.split()[2]))
    assert float(rms.split()[1]) == pytest.approx(2.0, abs=4.0 * float(rms.split()[3]))


def test_the_false_alarm_level_that_is_kept_is_that_of_the_growing_light_curve() -> None:
    series = sinusoid(times("even", 2030), noise=0.03, seed=3)
    maker = SpectrumMaker("1:g")
    for version, n_points in enumerate((2000, 2010, 2030)):
        part = TimeSeries(series.time_s[:n_points], series.flux[:n_points], series.flux_err[:n_points])
        maker.make(part, no_airmass(part), version)
        whole = lomb_scargle(part.time_s, part.flux, part.flux_err)
        assert maker.view.alarm_level == pytest.approx(false_alarm_level(whole, part).power, rel=0.02)


def test_a_spectrum_of_a_detrended_light_curve_has_lost_the_trend_and_says_so() -> None:
    series = sinusoid(times("even", 1500), noise=0.005, seed=3)
    sloping = TimeSeries(series.time_s, series.flux * (1.0 + 4e-4 * (series.time_s - 750.0)), series.flux_err)
    plain, straight = SpectrumMaker("1:g"), SpectrumMaker("1:g", look=Look(detrending=Detrending(Trend.POLYNOMIAL)))
    for maker in (plain, straight):
        maker.make(sloping, no_airmass(sloping), 1)
    assert plain.view.peak_frequency_hz < 0.01
    assert plain.view.note == "not detrended"
    assert straight.view.peak_frequency_hz == pytest.approx(FREQUENCY_HZ, abs=1e-4)
    assert straight.view.note == "polynomial of degree 1 divided out"


def test_the_window_function_is_drawn_where_it_is_wanted_and_shows_the_gaps() -> None:
    time_s = times("even", 4000)
    series = sinusoid(time_s[(time_s % 400.0) < 200.0], noise=0.005, seed=3)
    plain, wanted = SpectrumMaker("1:g"), SpectrumMaker("1:g", look=Look(sampling=True))
    for maker in (plain, wanted):
        maker.make(series, no_airmass(series), 1)
    assert plain.view.window == {}
    window = wanted.view.window
    beyond = window["frequency"] > 0.0015
    highest = int(np.argmax(np.where(beyond, window["power"], 0.0)))
    # Half of each 400 s: the first alias has (2 / pi)^2 of the power of the peak.
    assert window["frequency"][highest] == pytest.approx(1.0 / 400.0, rel=0.03)
    assert window["power"][highest] == pytest.approx((2.0 / np.pi) ** 2 * wanted.view.peak_power, rel=0.05)


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("two points", "1:g: 2 points, a power spectrum needs 16"),
        ("no flux", "1:g: 0 points, a power spectrum needs 16"),
        ("constant", "1:g: all 100 points have the same flux: there is no power spectrum of a constant"),
        ("one time", "1:g: a power spectrum needs at least 5 measured points of different times, not 1"),
    ],
)
def test_spectra_that_cannot_be_made_are_sentences(case: str, sentence: str) -> None:
    series = sinusoid(times("even", 100), noise=0.01, seed=1)
    flux = {"no flux": np.full(100, np.nan), "constant": np.ones(100)}.get(case, series.flux)
    time_s = np.zeros(100) if case == "one time" else series.time_s
    n_points = 2 if case == "two points" else 100
    odd = TimeSeries(time_s[:n_points], flux[:n_points], series.flux_err[:n_points])
    maker = SpectrumMaker("1:g", look=Look(sampling=True))
    maker.make(odd, no_airmass(odd), 1)
    assert maker.view.sentence == sentence
    assert len(maker.view.columns["power"]) == 0


def test_a_trend_that_cannot_be_fitted_is_a_sentence() -> None:
    series = sinusoid(times("even", 100), noise=0.005, seed=3)
    maker = SpectrumMaker("1:g", look=Look(detrending=Detrending(Trend.AIRMASS)))
    maker.make(series, no_airmass(series), 1)
    assert maker.view.sentence == (
        "1:g: detrending by airmass needs an airmass: site and pointing must be known, none is"
    )


def test_views_of_another_stretch_of_time_are_others() -> None:
    assert TimingLook("fold", Look(window_s=300.0)) != FOLD
    assert TimingLook("fold", choices=TimingChoices(n_bins=30)) != FOLD
