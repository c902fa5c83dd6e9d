"""What the panels of timing draw: injected signals come out with their errors, bad cases are sentences."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from server.amounts import period_with_error, with_error
from server.looks import Look
from server.timing_desk import made_view
from server.timing_looks import TimingChoices, TimingLook, epoch_mjd, period_s, timing_look
from server.timing_views import KeyStretch, TimingView
from stream.analysis.series import TimeSeries
from stream.errors import ConfigurationError
from stream.messages import FloatArray
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY
from tests.analysis.signals import FREQUENCY_HZ, SAMPLINGS, sinusoid, times
from tests.analysis.test_cross_correlation import LATE_S, flickering

DAY = 61000.0
KEYS = ("1:g", "2:r", "3:i")


def stretch(key: str, series: TimeSeries, *, scale: str = "BJD_TDB", airmass: FloatArray | None = None) -> KeyStretch:
    """A light curve whose barycentric times are 300 s ahead of its UTC."""
    utc_ms = (DAY - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY * 1e3 + 1e3 * (series.time_s - 300.0)
    air = np.full(len(series.time_s), np.nan) if airmass is None else airmass
    return KeyStretch(key, series, air, utc_ms, DAY, scale)


def varying(sampling: str = "even", n_points: int = 2000, noise: float = 0.01) -> list[KeyStretch]:
    """Three keys, each a quarter of a cycle behind the one before."""
    return [
        stretch(key, sinusoid(times(sampling, n_points, seed), noise=noise, seed=seed, lag_rad=0.5 * math.pi * seed))
        for seed, key in enumerate(KEYS)
    ]


def made(kind: str, stretches: list[KeyStretch], **choices: object) -> TimingView:
    return made_view(TimingLook(kind, choices=TimingChoices(**choices)), stretches)  # type: ignore[arg-type]


def number_and_error(text: str) -> tuple[float, float]:
    value, error = text.split(" ± ")[:2]
    return float(value.split()[-1]), float(error.split()[0])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_fold_at_the_peak_shows_the_injected_sinusoid(sampling: str) -> None:
    view = made("fold", varying(sampling), n_bins=25)
    assert [strip.name for strip in view.strips] == list(KEYS)
    period, period_err = number_and_error(view.text)
    assert period == pytest.approx(1.0 / FREQUENCY_HZ, abs=4.0 * period_err)
    for lag, strip in enumerate(view.strips):
        # The maximum of the first key is phase 0; the others come a quarter of a cycle later each.
        expected = 1.0 + 0.02 * math.sqrt(2.0) * np.cos(2.0 * math.pi * (strip.points["x"] - 0.25 * lag))
        sigma = strip.points["upper"] - strip.points["y"]
        # Means over a bin, a 25th of a cycle, are flatter by 0.3 %.
        assert np.std((strip.points["y"] - expected) / sigma) < 1.6
        assert strip.note == "not detrended"


def test_a_fold_on_a_typed_period_and_epoch() -> None:
    epoch = 2_400_000.5 + DAY
    view = made("fold", varying(), period="0.123457 min", epoch=f"{epoch}", n_bins=10)
    assert view.text == f"period 7.40742 s (typed) · phase 0 at BJD_TDB {epoch:.7f}"
    assert len(view.strips[0].points["x"]) == 20
    assert view.strips[0].title == "1:g · 2,000 points in 10 bins"


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"period": "0"}, "period ('0') must be a number greater than 0, with s, min, h or d"),
        ({"period": "soon"}, "period ('soon') must be a number greater than 0, with s, min, h or d"),
        ({"epoch": "-5"}, "epoch ('-5') must be a Julian date (BJD, JD) or a modified one"),
        ({"reference": "9:z"}, "there is no light curve of 9:z: keys are 1:g, 2:r, 3:i"),
        ({"trend": "airmass"}, "detrending by airmass needs an airmass: site and pointing must be known, none is"),
    ],
)
def test_what_cannot_be_folded_is_a_sentence(choices: dict[str, str], sentence: str) -> None:
    view = made("fold", varying(n_points=200), **choices)
    assert view.sentence == sentence
    assert view.strips == ()


def cut(series: TimeSeries, n_points: int) -> TimeSeries:
    return TimeSeries(series.time_s[:n_points], series.flux[:n_points], series.flux_err[:n_points])


@pytest.mark.parametrize("kind", ["dynamic", "lags", "correlation", "fold", "transit"])
@pytest.mark.parametrize("trend", ["none", "median:60"])
@pytest.mark.parametrize("case", ["none", "two points", "no flux", "constant", "one time", "unordered"])
def test_light_curves_without_a_message_are_sentences_without_points(kind: str, case: str, trend: str) -> None:
    series = sinusoid(times("even", 300), noise=0.01, seed=1)
    odd = {
        "two points": cut(series, 2),
        "no flux": TimeSeries(series.time_s, np.full(300, np.nan), series.flux_err),
        "constant": TimeSeries(series.time_s, np.ones(300), series.flux_err),
        "one time": TimeSeries(np.zeros(300), series.flux, series.flux_err),
        "unordered": TimeSeries(series.time_s[::-1], series.flux, series.flux_err),
    }
    keys = [] if case == "none" else [stretch("1:g", odd[case]), stretch("2:r", odd[case])]
    view = made(kind, keys, trend=trend)
    said = [view.sentence, *(strip.title + strip.note for strip in view.strips)]
    wanted = {
        "none": "there is no light curve yet",
        "constant": "points have the same flux",
        "unordered": "times must ascend: point 2 of 300 is before the last",
    }.get(case, r"needs (at least )?(5|10|12|one) (measured )?point")
    assert any(re.search(wanted, text) for text in said), said
    assert view.image is None
    assert all(len(strip.points["x"]) == 0 for strip in view.strips)
    assert not view.models


@pytest.mark.parametrize("kind", ["dynamic", "lags", "correlation", "fold", "transit"])
@pytest.mark.parametrize("case", ["gap", "duplicates"])
def test_gaps_longer_than_the_data_and_repeated_times_leave_right_panels(kind: str, case: str) -> None:
    keys: list[KeyStretch] = []
    for each in varying(n_points=600):
        time = each.series.time_s + np.where(each.series.time_s > 300.0, 3000.0, 0.0)
        columns = [
            time,
            sinusoid(time, noise=0.01, seed=3, lag_rad=0.5 * math.pi * len(keys)).flux,
            each.series.flux_err,
        ]
        if case == "duplicates":
            columns = [np.repeat(column, 2) for column in (each.series.time_s, each.series.flux, each.series.flux_err)]
        keys.append(stretch(each.key, TimeSeries(*columns)))
    view = made(kind, keys)
    assert view.sentence == ""
    if kind == "dynamic":
        assert view.image is not None
        row = int((FREQUENCY_HZ - view.image.lowest_hz) / view.image.height_hz * view.image.colour.shape[0])
        empty = np.isnan(view.image.colour).all(axis=0)
        assert empty.any() == (case == "gap")
        assert np.nanargmax(np.nanmean(view.image.colour[:, ~empty], axis=1)) == pytest.approx(row, abs=1)
    elif kind == "lags":
        lag, error = number_and_error(view.strips[0].title.split("\n")[1].split(" rad")[0])
        assert lag == pytest.approx(0.5 * math.pi, abs=4.0 * error)
    elif kind == "correlation":
        lag, error = number_and_error(view.strips[0].title.split(" by ")[1])
        assert lag == pytest.approx(0.25 / FREQUENCY_HZ, abs=3.0 * error)
    elif kind == "fold":
        period, error = number_and_error(view.text)
        assert period == pytest.approx(1.0 / FREQUENCY_HZ, abs=4.0 * error)
    else:
        assert all("no dip above 5 of its errors" in strip.title for strip in view.strips)
        assert not view.models


def test_lags_between_keys_have_the_sign_that_the_panel_states() -> None:
    view = made("lags", varying("jittered", noise=0.02))
    assert view.text.startswith("A positive lag: that key is late behind 1:g.")
    late, coherence, later, _ = view.strips
    lag, error = number_and_error(late.title.split("\n")[1].split(" rad")[0])
    assert late.title.startswith("2:r behind 1:g at 0.135 Hz")
    assert lag == pytest.approx(0.5 * math.pi, abs=4.0 * error)
    assert abs(number_and_error(later.title.split("\n")[1].split(" rad")[0])[0]) == pytest.approx(math.pi, abs=0.1)
    nearest = int(np.argmin(np.abs(late.points["x"] - FREQUENCY_HZ)))
    assert late.points["y"][nearest] == pytest.approx(0.5 * math.pi, abs=0.2)
    assert late.points["alpha"][nearest] > 0.9
    assert coherence.points["y"][nearest] > 0.9
    assert int(late.note.split()[0]) >= 10


def test_the_reference_of_the_lags_is_chosen() -> None:
    view = made("lags", varying(n_points=600), reference="2:r", segment_s=60.0)
    assert [strip.name for strip in view.strips[::2]] == ["lag 1:g behind 2:r", "lag 3:i behind 2:r"]
    assert view.strips[0].note == "10 segments of 60 s, not detrended"
    lag, error = number_and_error(view.strips[0].title.split("\n")[1].split(" rad")[0])
    assert lag == pytest.approx(-0.5 * math.pi, abs=4.0 * error)


def test_lags_need_two_keys_in_one_scale_of_time() -> None:
    one, two, _ = varying(n_points=300)
    assert made("lags", [one]).sentence == "a lag needs two keys: there is 1:g alone"
    assert made("correlation", [one]).sentence == "a cross-correlation needs two keys: there is 1:g alone"
    utc = stretch("2:r", two.series, scale="JD_UTC")
    assert made("lags", [one, utc]).sentence.startswith("a lag needs the times of all keys in one scale")


def test_segments_that_are_too_long_leave_the_lag_at_the_peak() -> None:
    view = made("lags", varying(n_points=300), segment_s=280.0)
    assert "at least 2 segments" in view.strips[0].note
    assert " rad = " in view.strips[0].title
    assert len(view.strips[0].points["x"]) == 0


def test_a_dynamic_spectrum_shows_when_a_signal_begins() -> None:
    time = times("even", 3000)
    on = sinusoid(time, noise=0.01, seed=2)
    off = sinusoid(time, noise=0.01, seed=3, rms=0.0)
    flux = np.where(time < 1500.0, off.flux, on.flux)
    view = made("dynamic", [stretch("1:g", TimeSeries(time, flux, on.flux_err))], window_s=300.0)
    assert view.text == "1:g · windows of 300 s every 150 s · not detrended · brightness: √ of (rms/mean)²/Hz"
    image = view.image
    assert image is not None
    row = int((FREQUENCY_HZ - image.lowest_hz) / image.height_hz * image.colour.shape[0])
    at_peak = image.colour[row - 1 : row + 2].max(axis=0)
    middle = image.colour.shape[1] // 2
    assert at_peak[middle + 1 :].min() > 5.0 * at_peak[: middle - 1].max()
    # From a quarter of a window to as much before the end, in UTC.
    assert image.start_ms == pytest.approx((DAY - MJD_OF_UNIX_EPOCH) * 86400e3 - 300e3 + 75e3, abs=1.0)
    assert image.length_ms == pytest.approx(image.colour.shape[1] * 150e3)


def test_a_dynamic_spectrum_goes_on_from_the_one_before() -> None:
    series = sinusoid(times("even", 2400), noise=0.01, seed=2)
    look = TimingLook("dynamic", choices=TimingChoices(window_s=120.0))
    before = made_view(look, [stretch("1:g", cut(series, 1800))])
    after = made_view(look, [stretch("1:g", series)], before.kept)
    whole = made_view(look, [stretch("1:g", series)])
    assert after.image is not None and whole.image is not None
    np.testing.assert_array_equal(after.image.colour, whole.image.colour)


def test_a_picture_is_no_larger_than_a_screen_and_keeps_its_peak() -> None:
    series = sinusoid(times("even", 9000), noise=0.01, seed=2)
    image = made("dynamic", [stretch("1:g", series)], window_s=1200.0).image
    assert image is not None
    assert image.colour.shape[0] <= 360
    row = int(np.argmax(np.nanmean(image.colour, axis=1)))
    step_hz = image.height_hz / image.colour.shape[0]
    assert image.lowest_hz + (row + 0.5) * step_hz == pytest.approx(FREQUENCY_HZ, abs=step_hz)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_correlation_has_the_lag_of_noise_that_both_keys_share_and_its_confidence(sampling: str) -> None:
    first = flickering(times(sampling, 450, 1), late_s=0.0, seed=1)
    second = flickering(times(sampling, 430, 2), late_s=LATE_S, seed=2)
    view = made("correlation", [stretch("1:g", first), stretch("2:r", second)], trend="polynomial:1")
    assert view.text.startswith("A positive lag: that key is late behind 1:g.")
    (strip,) = view.strips
    lag, error = number_and_error(strip.title.split(" by ")[1])
    assert lag == pytest.approx(LATE_S, abs=3.0 * error)
    assert 0.02 < error < 1.0
    (low, high), (lowest, highest) = strip.bands
    assert lowest <= low < lag < high <= highest
    assert strip.note == "polynomial of degree 1 divided out"
    assert strip.line["x"][np.nanargmax(strip.line["y"])] == pytest.approx(LATE_S, abs=1.5)
    turned = made("correlation", [stretch("1:g", first), stretch("2:r", second)], reference="2:r").strips[0]
    assert turned.title.startswith("1:g behind 2:r by -")


def test_the_lag_of_a_fast_signal_does_not_stick_to_whole_cadences() -> None:
    """A quarter of 7.4 s at one point a second, both keys at the same times: 1.85 s and not 2."""
    pulls = []
    for seed in range(8):
        pair = [
            stretch(key, sinusoid(times("even", 500), noise=0.02, seed=seed + 50 * late, lag_rad=0.5 * math.pi * late))
            for late, key in enumerate(("1:g", "2:r"))
        ]
        lag, error = number_and_error(made("correlation", pair).strips[0].title.split(" by ")[1])
        pulls.append((lag - 0.25 / FREQUENCY_HZ) / error)
    assert abs(np.mean(pulls)) < 0.5
    assert np.std(pulls) < 1.3


def test_lags_are_those_of_detrended_light_curves_and_say_so() -> None:
    """A slope that both keys have is coherent at all low frequencies, without a lag: taken out it is not."""
    sloping = [
        replace(each, series=replace(each.series, flux=each.series.flux * (1.0 + 1e-3 * each.series.time_s)))
        for each in varying(n_points=1500)
    ]
    bent, flat = (made("lags", sloping, trend=trend, segment_s=100.0) for trend in ("none", "polynomial:1"))
    assert bent.text.endswith("1:g: not detrended.")
    assert flat.text.endswith("1:g: polynomial of degree 1 divided out.")
    assert flat.strips[0].note == "15 segments of 100 s, polynomial of degree 1 divided out"
    coherences = [view.strips[1].points["y"][0] for view in (bent, flat)]
    assert coherences[0] > 0.9 > 0.5 > coherences[1]
    lag, error = number_and_error(flat.strips[0].title.split("\n")[1].split(" rad")[0])
    assert lag == pytest.approx(0.5 * math.pi, abs=4.0 * error)


@pytest.mark.parametrize("trend", ["polynomial:1", "median:600", "airmass"])
def test_detrending_is_written_on_what_it_was_done_to(trend: str) -> None:
    time = times("even", 1500)
    series = sinusoid(time, noise=0.005, seed=4)
    slope = 1.0 + 2e-4 * (time - 750.0)
    sloping = stretch("1:g", TimeSeries(time, series.flux * slope, series.flux_err), airmass=1.0 + time / 3000.0)
    words = {"polynomial:1": "polynomial of degree 1", "median:600": "running median of 600 s"}
    words["airmass"] = "per airmass"
    flat = made("fold", [sloping], trend=trend)
    assert words[trend] in flat.strips[0].note
    assert words[trend] in made("dynamic", [sloping], trend=trend).text
    bent = made("fold", [sloping])
    scatter = [np.mean(view.strips[0].points["upper"] - view.strips[0].points["y"]) for view in (flat, bent)]
    assert scatter[0] < 0.3 * scatter[1]


def transit_like(n_points: int, last_s: float = 7200.0) -> TimeSeries:
    """3 % deep, 45 min long, ingress 8 min, in the middle of two hours."""
    time = np.linspace(0.0, 7200.0, n_points)
    dip = np.interp(np.abs(time - 3600.0), [870.0, 1350.0], [1.0, 0.0])
    noise = np.random.default_rng(5).normal(size=n_points)
    keep = time <= last_s
    return TimeSeries(time[keep], (1.0 - 0.03 * dip + 0.003 * noise)[keep], np.full(keep.sum(), 0.003))


@pytest.mark.parametrize("n_points", [700, 6000])
def test_a_transit_has_depth_duration_and_middle_with_errors(n_points: int) -> None:
    view = made("transit", [stretch("1:g", transit_like(n_points))])
    (strip,) = view.strips
    first, second = strip.title.split("\n")
    _, depth, duration = first.split(" · ")
    for text, truth in ((depth, 3.0), (duration, 45.0)):
        value, error = number_and_error(text)
        assert value == pytest.approx(truth, abs=4.0 * error)
        assert error < 0.05 * truth
    middle, error = number_and_error(second.split(" · ")[1])
    assert middle == pytest.approx(2_400_000.5 + DAY + 3600.0 / 86400.0, abs=4.0 * error)
    # The barycentric times are five minutes ahead.
    hour, minute, second_text = second.removeprefix("mid ").split(" ")[0].split(":")
    assert int(hour) * 3600 + int(minute) * 60 + int(second_text) == pytest.approx(3300, abs=60)
    model = view.models["1:g"]
    assert float(np.min(model["flux"])) == pytest.approx(0.97, abs=0.002)
    assert strip.note == "trapezoid with a linear term in time"


def test_a_transit_that_is_not_over_says_so_and_one_that_is_not_there_is_not_drawn() -> None:
    early = made("transit", [stretch("1:g", transit_like(900, last_s=3300.0))])
    assert "egress" in early.strips[0].note
    assert "duration not known yet" in early.strips[0].title
    assert "1:g" in early.models
    nothing = sinusoid(times("even", 400), noise=0.01, seed=9, rms=0.0)
    flat = made("transit", [stretch("1:g", nothing), stretch("2:r", transit_like(500))])
    assert flat.strips[0].title.startswith("1:g · no dip above 5 of its errors")
    assert list(flat.models) == ["2:r"]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.1349999, 6e-7, "0.1349999 ± 0.0000006"),
        (95.04, 12.3, "95 ± 12"),
        (1234.0, 310.0, "1200 ± 300"),
        (2.0, 0.0, "2"),
        (2.0, math.inf, "not known"),
    ],
)
def test_numbers_are_written_to_the_digits_that_their_errors_leave(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


def test_periods_have_the_unit_that_they_have_a_few_of() -> None:
    assert period_with_error(7.407, 0.002) == "7.407 ± 0.002 s"
    assert period_with_error(600.0, 18.0) == "10.0 ± 0.3 min"
    assert period_with_error(10_800.0, 720.0) == "3.0 ± 0.2 h"


def test_typed_periods_and_epochs_are_read() -> None:
    assert [period_s(text) for text in ("7.4", " 2 min", "1.5h", "2d")] == [7.4, 120.0, 5400.0, 172_800.0]
    assert epoch_mjd("2461000.5") == 61000.0
    assert epoch_mjd("61000.25") == 61000.25
    for text in ("", "7 weeks", "-1", "inf", "1e400", "e"):
        with pytest.raises(ConfigurationError, match="must be a number greater than 0"):
            period_s(text)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"trend": "wind"}, r"detrending \('wind'\) must be none, airmass, polynomial:DEGREE or median:SECONDS"),
        ({"trend": "polynomial:x"}, r"detrending \('polynomial:x'\) must end with a number"),
        ({"trend": "polynomial:99"}, r"degree \(99\) of the polynomial must be 1 to 10"),
        ({"normalisation": "sones"}, r"normalisation \(sones\) must be one of fractional, absolute, leahy"),
        ({"n_bins": 1}, r"bins of a fold \(1\) must be 2 to 500"),
        ({"segment_s": -1.0}, r"segment \(-1 s\) must be 0 to 86400 seconds"),
    ],
)
def test_choices_that_make_no_sense_are_refused(choices: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        TimingChoices(**choices)  # type: ignore[arg-type]


def test_viewers_of_one_panel_share_it_whatever_else_they_chose() -> None:
    folding = TimingChoices(period="7", segment_s=60.0, model=True)
    assert timing_look("transit", Look(bin_s=5.0), folding) == timing_look("transit", Look(), TimingChoices())
    assert timing_look("fold", Look(), folding) != timing_look("fold", Look(), TimingChoices())
