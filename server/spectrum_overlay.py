"""The power spectra of all keys in one picture, each in the colour of its key."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from bokeh.models import ColumnDataSource, Div, HoverTool, Span

from server import theme
from server.spectrum_figure import SpectrumAxes, has_points, spectrum_figure
from server.spectrum_views import SpectrumView

_HOW = "steps: mean power; dotted: white noise; dashed: false alarm"
_LINE = "\n"


class _Spectrum:
    """What is drawn of one key."""

    def __init__(self, key: str, *, palette: theme.Palette) -> None:
        self.key = key
        colour = palette.key_colour(key)
        self.fine = ColumnDataSource(data={"frequency": [], "power": []}, name=f"overlaid_{key}")
        self.smooth = ColumnDataSource(data={"frequency": [], "power": []})
        self.noise, self.alarm = (
            Span(location=1e-9, dimension="width", line_color=colour, line_dash=dash, line_alpha=0.8)
            for dash in ("dotted", "dashed")
        )
        self.colour = colour
        self.drawn: SpectrumView | None = None

    def update(self, spectrum: SpectrumView) -> None:
        if spectrum is self.drawn:
            return
        self.drawn = spectrum
        self.fine.data = dict(spectrum.columns)
        self.smooth.data = dict(spectrum.smooth)
        if has_points(spectrum):
            self.noise.location, self.alarm.location = spectrum.noise_level, spectrum.alarm_level


class SpectrumOverlay:
    """One picture of one document.

    Parameters
    ----------
    keys : sequence of str
    axes : SpectrumAxes
    palette : Palette

    Attributes
    ----------
    roots : tuple of Model
        Words and picture.
    """

    def __init__(self, keys: tuple[str, ...], axes: SpectrumAxes, palette: theme.Palette) -> None:
        self._axes = axes
        self._frequencies, self._powers = axes.frequencies(), axes.powers()
        self._spectra = {key: _Spectrum(key, palette=palette) for key in keys}
        self._words = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="overlaid_text")
        plot = self._figure = spectrum_figure(axes, self._frequencies, self._powers, name="power_overlaid")
        lines = []
        for key, spectrum in self._spectra.items():
            ink = {"color": spectrum.colour, "legend_label": key, "name": key}
            lines.append(plot.line("frequency", "power", source=spectrum.fine, alpha=0.4, line_width=1, **ink))
            plot.step("frequency", "power", source=spectrum.smooth, line_width=1.8, mode="center", **ink)
            for level in (spectrum.noise, spectrum.alarm):
                plot.add_layout(level)
        words = ("key", "$name"), ("frequency", "@frequency{0.00000} Hz"), ("power", "@power{0.00e+0}")
        plot.add_tools(HoverTool(renderers=lines, tooltips=theme.hover(*words), mode="mouse"))
        self.roots = (self._words, plot)
        plot.legend.location = "top_right"
        plot.legend.click_policy = "hide"
        plot.xaxis.axis_label = "frequency / Hz"

    def update(self, spectra: Mapping[str, SpectrumView], unit: str) -> None:
        """Draw the spectra; those that are drawn already cost nothing."""
        for key, spectrum in spectra.items():
            self._spectra[key].update(spectrum)
        self._axes.show_frequencies(self._frequencies, spectra.values())
        self._axes.show_powers(self._powers, spectra.values())
        text = self._words_of(spectra)
        if self._words.text != text:
            self._words.text = text
        if self._figure.yaxis[0].axis_label != unit:
            self._figure.yaxis[0].axis_label = unit

    def _words_of(self, spectra: Mapping[str, SpectrumView]) -> str:
        """The peak of each key in its colour, and what the lines mean, as HTML."""
        lines = "".join(
            f"<div><span class='key' style='color: {self._spectra[key].colour}'>{escape(key)}</span> "
            f"{escape(each.sentence or each.peak_text.replace(_LINE, ' · '))}</div>"
            for key, each in spectra.items()
        )
        notes = dict.fromkeys(each.note for each in spectra.values() if each.note)
        return f"{lines}<div class='why'>{escape(' · '.join([_HOW, *notes]))}</div>"
