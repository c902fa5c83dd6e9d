"""Figures of a night from numbers alone, and the scatter that they show."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stream.diagnostics import write_all, write_header_times, write_rms_vs_median
from stream.diagnostics.conditions import background_figure
from stream.diagnostics.frames import aligned_image, stamp
from stream.diagnostics.scatter import star_scatter
from stream.errors import AnalysisError, LedgerError
from stream.measure.transform import Transform
from stream.messages import FloatArray
from stream.night.ledger import Ledger
from stream.plots.films import MOST_BYTES, film
from stream.plots.nights import NightSeries, Panel, header_times_figure, night_figure
from tests.analysis.synthetic import START_MJD, Field
from tests.export.made_nights import RECIPE

NOISE = np.random.default_rng(7)


def times(n_frames: int, cadence_s: float = 1.0) -> FloatArray:
    return START_MJD + cadence_s * np.arange(n_frames, dtype=np.float64) / 86400.0


def test_scatter_of_constant_stars_is_that_of_their_errors_and_the_variable_stands_out() -> None:
    found = star_scatter(Field(n_frames=400, variable=6).make(), target=6)
    np.testing.assert_allclose(found.relative[:5], found.expected[:5], rtol=0.3)
    assert found.relative[5] > 1.3 * found.expected[5]
    assert (found.raw[:5] > 5.0 * found.relative[:5]).all(), "the cloud is in the raw fluxes alone"
    assert (found.target, 6 in found.comparisons) == (6, False)
    np.testing.assert_allclose(found.flux_e, np.geomspace(6e4, 6e3, 6), rtol=0.15)


def test_a_star_without_flux_has_no_scatter() -> None:
    fluxes = Field(n_frames=50).make()
    fluxes.flux[:, 3] = np.nan
    fluxes.flux[9:, 5] = np.nan
    found = star_scatter(fluxes)
    assert np.isnan([found.relative[5], found.raw[5]]).all(), "nine frames are too few"
    assert np.isnan([found.flux_e[3], found.relative[3], found.raw[3]]).all()
    assert np.isfinite(found.relative[[0, 1, 2, 4]]).any()


def test_header_times_count_gaps_and_equal_times() -> None:
    steady = times(50)
    broken = np.concatenate([times(20), times(20) + 60.0 / 86400.0, times(1) + 60.0 / 86400.0])
    figure = header_times_figure({"1:g": steady, "2:r": broken, "3:i": steady[:1]})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "1:g    50 frames, median 1 s"
    assert titles[1] == "2:r    41 frames, median 1 s, 1 gap up to 41 s, 1 with the time of the frame before"
    assert titles[2] == "3:i    1 frame"
    assert [axes.get_yscale() for axes in figure.axes[:2]] == ["linear", "log"]
    assert figure.axes[2].get_xlabel().startswith("seconds since 2023-11-22T03:00:00.000 UTC")


def test_one_wild_frame_does_not_set_the_scale_of_a_night() -> None:
    values = NOISE.normal(2.0, 0.1, 300)
    values[10], values[20] = 50.0, np.nan
    series = [
        NightSeries(key, times(300), {"fwhm_px": values, "airmass": np.full(300, np.nan)}) for key in ("1:g", "2:r")
    ]
    figure = night_figure(
        series, (Panel("fwhm_px", "FWHM"), Panel("fwhm_px", "all", whole=True), Panel("airmass", "X"))
    )
    assert figure.axes[0].get_ylim()[1] < 4.0
    assert figure.axes[1].get_ylim()[1] > 50.0
    assert [text.get_text() for text in figure.axes[0].texts] == ["2 points outside"]
    assert [text.get_text() for text in figure.axes[2].texts] == ["not known"]
    legend = figure.axes[0].get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["1:g", "2:r"]


def test_panels_of_the_background_are_those_that_are_known() -> None:
    sky = np.full(30, 20.0)
    airmass = 1.0 + 1e-6 * NOISE.normal(size=30)
    alone = background_figure([NightSeries("1:g", times(30), {"sky_e_per_px_s": sky})])
    assert [axes.get_ylabel() for axes in alone.axes] == ["background (e⁻ px⁻¹ s⁻¹)"]
    columns = {"sky_e_per_px_s": sky, "transparency": sky / 20.0, "airmass": airmass}
    whole = background_figure([NightSeries("1:g", times(30), columns)])
    assert [axes.get_ylabel() for axes in whole.axes] == ["background (e⁻ px⁻¹ s⁻¹)", "transparency", "airmass"]
    assert np.ptp(whole.axes[2].get_ylim()) == pytest.approx(0.01), "rounding errors do not fill the panel"


def test_stars_are_counted_in_whole_numbers_and_axes_have_no_offset() -> None:
    series = [NightSeries("1:g", times(30), {"n_aligned": np.full(30, 6.0), "x": 1000.0 + 1e-4 * np.arange(30.0)})]
    figure = night_figure(series, (Panel("n_aligned", "stars", whole=True, counts=True), Panel("x", "x", whole=True)))
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_yticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))
    assert figure.axes[1].yaxis.get_offset_text().get_text() == ""


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_frame_comes_to_lie_on_the_reference_frame(factor: int) -> None:
    transform = Transform(-0.9998, -0.0200, 12.3, -7.8, 149.5, 119.5)
    place = np.array([[90.0, 130.0]])
    x, y = transform.apply(place)[0]
    rows, columns = np.mgrid[:240, :300]
    image = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2.0 * 3.0**2)).astype(np.float32)
    aligned = np.nan_to_num(aligned_image(image, transform, factor))
    assert aligned.shape == (240 // factor, 300 // factor)
    small_rows, small_columns = np.mgrid[: aligned.shape[0], : aligned.shape[1]]
    found = np.array([(aligned * small_columns).sum(), (aligned * small_rows).sum()]) / aligned.sum()
    np.testing.assert_allclose(factor * found + 0.5 * (factor - 1), place[0], atol=0.1)


def test_a_stamp_has_its_source_in_the_middle() -> None:
    transform = Transform(0.0, 1.0, 5.0, -3.0, 99.5, 99.5)
    place = (60.0, 80.0)
    x, y = transform.apply(np.array([place]))[0]
    rows, columns = np.mgrid[:200, :200]
    image = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8.0).astype(np.float32)
    cut = stamp(image, place, transform, 10)
    assert divmod(int(cut.argmax()), cut.shape[1]) == (10, 10)
    assert np.isnan(stamp(image, (2.0, 2.0), Transform.identity((200, 200)), 10)[0, 0])


def test_a_film_of_noise_is_made_smaller_until_it_may_be_sent() -> None:
    noise = [NOISE.normal(0.0, 1.0, (560, 560)) for _ in range(36)]
    content = film(noise, [str(number) for number in range(36)], side_px=560)
    assert len(content) <= MOST_BYTES
    with Image.open(io.BytesIO(content)) as shown:
        assert getattr(shown, "n_frames", 1) == 36
        assert shown.size[0] < 560


def test_a_film_shows_stars_upright_and_holes_black() -> None:
    image = NOISE.normal(100.0, 1.0, (40, 60))
    image[30:33, 45:48] += 500.0
    image[:, :10] = np.nan
    with Image.open(io.BytesIO(film([image], [""], side_px=240))) as shown:
        pixels = np.asarray(shown.convert("L"))
    assert pixels.shape == (160, 240)
    assert pixels[4 * (39 - 31) + 2, 4 * 46 + 2] > 200, "row 0 is at the bottom"
    assert pixels[-1, :36].max() == 0
    with pytest.raises(ValueError, match="a film needs at least one image"):
        film([], [], side_px=100)


def test_a_night_without_frames_is_no_error(tmp_path: Path) -> None:
    Ledger(tmp_path, RECIPE, folder=tmp_path / "frames").close()
    diagnosis = write_all(tmp_path)
    assert diagnosis.written == ()
    assert "background: no frame is measured yet" in diagnosis.missing
    with pytest.raises(AnalysisError, match="the scatter of stars needs 10 measured frames of a key"):
        write_rms_vs_median(tmp_path)
    with pytest.raises(LedgerError, match="holds no night"):
        write_all(tmp_path / "nowhere")


def test_header_times_can_be_drawn_before_there_is_a_ledger(tmp_path: Path) -> None:
    path = write_header_times(tmp_path, {"1:g": times(5)})
    assert path == tmp_path / "diag" / "header_times.pdf"
    assert path.read_bytes().startswith(b"%PDF")
    with pytest.raises(AnalysisError, match="the time between frames needs two frames of a key"):
        write_header_times(tmp_path, {"1:g": times(1)})
