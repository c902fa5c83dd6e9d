"""Figures of how a night went: one panel a quantity, all keys on one axis of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stream.messages import FloatArray
from stream.plots.style import COLOURS, MOST_POINTS, empty_figure, grid, time_unit
from stream.timestamps import SECONDS_PER_DAY, mjd_to_iso

_GAP = 3.0
_OUTSIDE = 0.01


@dataclass(frozen=True, slots=True)
class NightSeries:
    """Something that was found on every frame of a key.

    Attributes
    ----------
    key : str
    time_mjd_utc : array, shape (n_frames,)
        Middle of the exposures, in order.
    columns : mapping of str to array, shape (n_frames,)
        By name; NaN where unknown.
    """

    key: str
    time_mjd_utc: FloatArray
    columns: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of a figure.

    Attributes
    ----------
    column, label : str
        What it shows, and what its axis says.
    whole : bool
        Leave out no extremes.
    least_span : float
        The axis never shows less than this: rounding errors are not to look like weather.
    counts : bool
        Whole numbers.
    """

    column: str
    label: str
    whole: bool = False
    least_span: float = 0.0
    counts: bool = False


def night_figure(series: Sequence[NightSeries], panels: Sequence[Panel], title: str = "") -> Figure:
    """Columns of a night against time, one panel each, every key in its colour.

    A panel shows the middle 98 % of its points with a margin, so that one frame does not set the scale; panels marked
    `whole` show all. How many points lie outside is said on the panel.
    """
    figure = Figure(figsize=(9.0, 1.2 + 1.75 * max(1, len(panels))), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    if not any(len(one.time_mjd_utc) for one in series):
        return empty_figure(figure, "no frame was measured")
    origin, unit, unit_s = _time_axis([one.time_mjd_utc for one in series])
    drawn = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    for axes, panel in zip(drawn, panels, strict=True):
        for index, one in enumerate(series):
            time = (one.time_mjd_utc - origin) * SECONDS_PER_DAY / unit_s
            _draw_points(axes, time, one.columns[panel.column], COLOURS[index % len(COLOURS)], one.key)
        if not panel.whole:
            _limit(axes, [one.columns[panel.column] for one in series])
        _finish(axes, panel)
    if len(series) > 1:
        drawn[0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=6, frameon=False, fontsize=9, markerscale=2)
    drawn[-1].set_xlabel(_time_label(origin, unit))
    return figure


def _finish(axes: Axes, panel: Panel) -> None:
    low, high = axes.get_ylim()
    if high - low < panel.least_span:
        middle = 0.5 * (low + high)
        axes.set_ylim(middle - 0.5 * panel.least_span, middle + 0.5 * panel.least_span)
    if panel.counts:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    # An offset over the axis is overlooked.
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_ylabel(panel.label, fontsize=9)
    grid(axes)


def header_times_figure(times: Mapping[str, FloatArray], title: str = "Time between frames") -> Figure:
    """Time from each frame to the next, one panel a key, logarithmic; gaps of more than three medians are counted.

    Parameters
    ----------
    times : mapping of str to array, shape (n_frames,)
        Middle of the exposures of each key, MJD (UTC), in any order.
    """
    figure = Figure(figsize=(9.0, 1.0 + 2.0 * max(1, len(times))), layout="constrained")
    figure.suptitle(title, fontsize=11)
    ordered = {key: np.sort(time) for key, time in times.items()}
    if not any(len(time) > 1 for time in ordered.values()):
        return empty_figure(figure, "no key has two frames")
    origin, unit, unit_s = _time_axis(list(ordered.values()))
    panels = np.atleast_1d(figure.subplots(len(ordered), 1, sharex=True))
    for index, (axes, (key, time)) in enumerate(zip(panels, ordered.items(), strict=True)):
        step_s = np.diff(time) * SECONDS_PER_DAY
        since = (time[1:] - origin) * SECONDS_PER_DAY / unit_s
        positive = step_s > 0.0
        _draw_points(axes, since[positive], step_s[positive], COLOURS[index % len(COLOURS)], key)
        axes.set_title(f"{key}    {_steps_in_words(len(time), step_s)}", loc="left", fontsize=9)
        axes.set_ylabel("seconds")
        _log_steps(axes, step_s[positive])
        grid(axes)
    panels[-1].set_xlabel(_time_label(origin, unit))
    return figure


def _steps_in_words(n_frames: int, step_s: FloatArray) -> str:
    if not len(step_s):
        return f"{n_frames} frame{'s' if n_frames != 1 else ''}"
    median = float(np.median(step_s))
    words = f"{n_frames} frames, median {median:.4g} s"
    gaps = step_s[step_s > _GAP * median]
    if median > 0.0 and len(gaps):
        words += f", {len(gaps)} gap{'s' if len(gaps) > 1 else ''} up to {gaps.max():.4g} s"
    same = int((step_s <= 0.0).sum())
    if same:
        words += f", {same} with the time of the frame before"
    return words


def _log_steps(axes: Axes, step_s: FloatArray) -> None:
    """Logarithmic only where steps differ much: on a steady night the differences are what one wants to see."""
    if not len(step_s):
        return
    low, high, median = float(step_s.min()), float(step_s.max()), float(np.median(step_s))
    axes.axhline(median, color="#777777", linewidth=0.8, linestyle="--", zorder=0)
    if high > 5.0 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.6, high * 1.6)
    else:
        margin = max(0.15 * (high - low), 1e-3 * median)
        axes.set_ylim(low - margin, high + margin)


def _draw_points(axes: Axes, time: FloatArray, values: FloatArray, colour: str, name: str) -> None:
    size = float(np.clip(60.0 / np.sqrt(max(1, len(time))), 1.0, 3.5))
    axes.plot(
        time,
        values,
        "o",
        markersize=size,
        color=colour,
        markeredgewidth=0,
        alpha=0.85,
        label=name,
        rasterized=len(time) > MOST_POINTS // 4,
    )


def _limit(axes: Axes, columns: Sequence[FloatArray]) -> None:
    values = np.concatenate([column[np.isfinite(column)] for column in columns])
    if not len(values):
        axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", va="center", color="#777777")
        return
    low, high = np.percentile(values, [100.0 * _OUTSIDE, 100.0 * (1.0 - _OUTSIDE)])
    margin = 0.35 * (high - low) or 0.01 * abs(high) or 1.0
    low, high = (
        max(low - margin, float(values.min()) - 0.1 * margin),
        min(high + margin, float(values.max()) + 0.1 * margin),
    )
    axes.set_ylim(low, high)
    outside = int(((values < low) | (values > high)).sum())
    if outside:
        words = f"{outside} point{'s' if outside > 1 else ''} outside"
        axes.text(0.995, 0.96, words, transform=axes.transAxes, ha="right", va="top", fontsize=7, color="#777777")


def _time_axis(times: Sequence[FloatArray]) -> tuple[float, str, float]:
    """First time of all, and name and seconds of the unit."""
    filled = [time for time in times if len(time)]
    origin = min(float(time.min()) for time in filled)
    unit, unit_s = time_unit((max(float(time.max()) for time in filled) - origin) * SECONDS_PER_DAY)
    return origin, unit, unit_s


def _time_label(origin: float, unit: str) -> str:
    return f"{unit} since {mjd_to_iso(origin)} UTC (MJD {origin:.6f})"
