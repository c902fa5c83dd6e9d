"""The power spectra: one a key beside its light curve on one axis of frequency, or all in one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bokeh.layouts import column
from bokeh.models import Column, Div, Span

from server import theme
from server.curve_views import CurveView
from server.night_view import NightView
from server.spectrum_figure import AXES
from server.spectrum_overlay import SpectrumOverlay
from server.spectrum_strip import SpectrumStrip
from server.spectrum_views import SpectrumView
from server.timing_controls import UNITS, TimingControls
from server.timing_looks import TimingChoices

_FIELDS = ("trend", "normalisation", "axes", "overlaid", "sampling")


class PowerSpectrumPanel:
    """All power spectra of one document; strips are added as keys appear.

    Parameters
    ----------
    palette : Palette
    chosen : callable
        Called with the detrending, the normalisation and the axes that a viewer chose.
    """

    def __init__(self, palette: theme.Palette, chosen: Callable[[TimingChoices], None]) -> None:
        self._palette = palette
        self._frequencies = AXES["log"].frequencies()
        self._strips: dict[str, SpectrumStrip] = {}
        self._spectra: dict[str, SpectrumView] = {}
        self._overlay: SpectrumOverlay | None = None
        self._cursor = Span(dimension="height", line_color=palette.faint, line_alpha=0.6)
        self._kind: tuple[object, ...] = ("log", False)
        self._laid_out: tuple[object, ...] = ((), *self._kind)
        self._controls = TimingControls("spectra", _FIELDS, chosen)
        waiting = "<span class='why'>Power spectra appear here with the light curves, from 16 points on.</span>"
        self._waiting = Div(text=waiting, stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width")
        self.root: Column = column(
            self._controls.root,
            self._waiting,
            sizing_mode="stretch_both",
            stylesheets=[theme.STRIPS_SHOWN_STYLE],
            name="spectra",
            spacing=2,
        )

    def update(self, view: NightView, curves: Mapping[str, CurveView] | None, timing: TimingChoices) -> None:
        """Bring the spectra to a snapshot of the night; `curves` are None where those that are drawn stay."""
        self._controls.show(timing, view.keys)
        layout = (tuple(view.keys), timing.axes, timing.overlaid)
        if layout != self._laid_out:
            self._laid_out = layout
            self._lay_out(tuple(view.keys), timing)
        if curves is not None:
            self._spectra = {key: curves[key].spectrum for key in view.keys if key in curves}
        spectra = self._spectra
        unit = UNITS[timing.normalisation]
        if self._overlay is not None:
            if spectra:
                self._overlay.update(spectra, unit)
            return
        for number, (key, strip) in enumerate(self._strips.items(), start=1):
            strip.show_axes("frequency / Hz" if number == len(self._strips) else "", unit)
            if key in spectra:
                strip.update(spectra[key])
        AXES[timing.axes].show_frequencies(self._frequencies, spectra.values())

    def _lay_out(self, keys: tuple[str, ...], timing: TimingChoices) -> None:
        """Place the strips of these keys; what there is stays, unless axes or kind of picture are others."""
        axes, kind = AXES[timing.axes], (timing.axes, timing.overlaid)
        if kind != self._kind:
            self._kind, self._strips = kind, {}
            self._frequencies = axes.frequencies()
            self._cursor = Span(dimension="height", line_color=self._palette.faint, line_alpha=0.6)
        self._overlay = SpectrumOverlay(keys, axes, self._palette) if timing.overlaid and keys else None
        self._strips = {
            key: self._strips.get(key)
            or SpectrumStrip(key, axes, palette=self._palette, frequencies=self._frequencies, cursor=self._cursor)
            for key in (() if timing.overlaid else keys)
        }
        self._waiting.visible = not keys
        figures = [strip.figure for strip in self._strips.values()]
        figures += [] if self._overlay is None else self._overlay.roots
        self.root.children = [self._controls.root, self._waiting, *figures]
