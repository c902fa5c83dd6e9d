from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread

from stream.analysis.periodogram import lomb_scargle
from stream.analysis.relative import RelativeLightCurve, relative_light_curve
from stream.flags import Flag
from stream.messages import FloatArray
from stream.plots import catalog_picture, light_curves_figure, power_spectra_figure, save_figure
from tests.analysis.synthetic import Field, make_catalog

XY = np.array([[60.0, 80.0], [420.0, 100.0], [300.0, 250.0], [90.0, 400.0], [440.0, 500.0], [505.0, 180.0]])


def _image(shape: tuple[int, int] = (512, 512)) -> FloatArray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.random.default_rng(1).normal(100.0, 5.0, shape)
    for x, y in XY:
        image += 900.0 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 6.0)
    return image


def _curve(key: str, n_frames: int = 300) -> RelativeLightCurve:
    return relative_light_curve(Field(key=key, n_frames=n_frames, variable=6).make(), 6, (1, 2, 3, 4, 5))


def _yellow(picture: FloatArray) -> int:
    """Pixels in the colour of the apertures and numbers."""
    return int(((picture[..., 0] > 0.9) & (picture[..., 2] < 0.6)).sum())


def test_picture_shows_stars_and_their_numbers(tmp_path: Path) -> None:
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    catalog_picture(make_catalog("1:g", XY[:2]), _image(), few)
    catalog_picture(make_catalog("1:g", XY), _image(), many)
    pictures = [np.asarray(imread(path), dtype=np.float64) for path in (few, many)]
    assert _yellow(pictures[1]) > 2 * _yellow(pictures[0]) > 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.png", "many.png"]


@pytest.mark.parametrize(
    "image",
    [
        np.full((512, 512), np.nan),
        np.zeros((512, 512)),
        np.full((512, 512), 7, dtype=np.uint16),
        np.where(_image() > 110.0, np.nan, _image()),
        _image().astype(">u2"),
        _image((300, 700)),
    ],
    ids=["nan", "zeros", "constant", "holes", "big-endian", "wide"],
)
def test_any_image_makes_a_picture(image: FloatArray, tmp_path: Path) -> None:
    path = tmp_path / "field.png"
    catalog_picture(make_catalog("1:g", XY[:3]), image, path)
    assert imread(path).shape[1] == 1125


def test_an_empty_catalog_makes_a_picture(tmp_path: Path) -> None:
    catalog_picture(make_catalog("1:g", []), _image(), tmp_path / "field.png")
    assert _yellow(np.asarray(imread(tmp_path / "field.png"), dtype=np.float64)) == 0


def test_light_curves_have_one_panel_a_key_and_hollow_flagged_points() -> None:
    curve = _curve("1:g")
    flags = curve.flags.copy()
    flags[10:13] = int(Flag.SATURATED)
    figure = light_curves_figure([replace(curve, flags=flags), _curve("2:r")], "a night")
    assert len(figure.axes) == 2
    drawn = [bars.lines[0] for bars in figure.axes[0].containers if isinstance(bars, ErrorbarContainer)]
    good, doubtful = drawn
    assert (np.size(good.get_xdata()), np.size(doubtful.get_xdata())) == (297, 3)
    assert doubtful.get_markerfacecolor() == "none"
    assert "source 6 relative to 1, 2, 3, 4, 5" in figure.axes[0].get_title(loc="left")
    assert figure.axes[1].get_xlabel().startswith("minutes since BMJD(TDB) 60270.13")


def test_time_axis_is_utc_where_one_key_has_no_barycentric_times() -> None:
    curve = _curve("1:g")
    figure = light_curves_figure([curve, replace(curve, time_bmjd_tdb=np.full(300, np.nan))])
    assert figure.axes[-1].get_xlabel() == "minutes since 2023-11-22T03:00:00.000 UTC (MJD 60270.125000)"


def test_a_wild_point_does_not_set_the_scale() -> None:
    curve = _curve("1:g")
    flux = curve.flux.copy()
    flux[50] = 40.0
    assert light_curves_figure([replace(curve, flux=flux)]).axes[0].get_ylim()[1] < 1.5


def test_a_power_spectrum_is_shown_up_to_its_highest_point() -> None:
    series = _curve("1:g").series()
    spectrum = lomb_scargle(series.time_s, series.flux, series.flux_err)
    power = spectrum.power.copy()
    power[0] = 100.0 * spectrum.peak_power  # a trend, beside the peak that is marked
    assert power_spectra_figure({"1:g": replace(spectrum, power=power)}).axes[0].get_ylim()[1] > power[0]


def test_power_spectra_name_their_peak(tmp_path: Path) -> None:
    series = _curve("1:g").series()
    spectrum = lomb_scargle(series.time_s, series.flux, series.flux_err)
    figure = power_spectra_figure({"1:g": spectrum, "2:r": spectrum})
    assert len(figure.axes) == 2
    # Two digits of the error, in the unit that spares zeros.
    title = figure.axes[0].get_title(loc="left")
    assert re.search(r"peak at 0\.13\d+ ± 0\.0+[1-9]\d Hz, rms 1\.9\d+ ± 0\.\d+ %$", title)
    slow = replace(spectrum, peak_frequency_hz=7.8904e-5, peak_frequency_err_hz=5.1e-6)
    assert "peak at 78.9 ± 5.1 µHz" in power_spectra_figure({"1:g": slow}).axes[0].get_title(loc="left")
    save_figure(figure, tmp_path / "spectra.pdf")
    assert (tmp_path / "spectra.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "figure", [light_curves_figure([]), power_spectra_figure({}), light_curves_figure([_curve("1:g", n_frames=0)])]
)
def test_nothing_to_draw_is_still_a_figure(figure: Figure, tmp_path: Path) -> None:
    save_figure(figure, tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").stat().st_size > 0


def test_no_global_figure_is_made() -> None:
    """In a process of its own: stingray, which other tests import, brings pyplot along."""
    code = (
        "import sys; from stream.plots import light_curves_figure; import stream.plots.timing; "
        "light_curves_figure([]); print('matplotlib.pyplot' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
