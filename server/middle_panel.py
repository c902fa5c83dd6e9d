"""The middle of the page: one of several panels at a time. What is not seen costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from bokeh.layouts import column
from bokeh.models import Column, CustomJS, RadioButtonGroup

from server import theme
from server.curve_views import CurveView
from server.light_curve_panel import LightCurvePanel
from server.night_view import NightView
from server.timing_looks import KINDS, TimingChoices, timing_look
from server.view_state import TABS, ViewState
from server.visitor import Visitor

if TYPE_CHECKING:
    from server.conditions_panel import ConditionsPanel
    from server.focus_panel import FocusPanel
    from server.frame_panel import FramePanel
    from server.photometer_panel import PhotometerPanel
    from server.power_spectrum_panel import PowerSpectrumPanel
    from server.take_away_panel import TakeAwayPanel
    from server.timing_panels import TimingPanel

# On a phone the panel is below the curves: who asks for it wants to see it.
_SCROLL = """
const place = document.querySelector(".middle");
if (window.matchMedia("(max-width: 820px)").matches && place) place.scrollIntoView({behavior: "smooth"});
"""


class MiddlePanel:
    """The panels of one document, of which one is seen.

    Parameters
    ----------
    visitor : Visitor
    palette : Palette
    state : ViewState
        What is seen at first.
    chosen : callable
        Called with what a viewer chose instead.
    curves : LightCurvePanel
        Whose clicks show a frame, as those on conditions do.
    """

    def __init__(
        self,
        visitor: Visitor,
        palette: theme.Palette,
        state: ViewState,
        chosen: Callable[[ViewState], None],
        curves: LightCurvePanel,
    ) -> None:
        self._state = state
        self._chosen = chosen
        self._visitor, self._feed = visitor, visitor.feed
        self._palette, self._curves = palette, curves
        self._timing: dict[str, TimingPanel] = {}
        self._tabs = RadioButtonGroup(
            labels=list(TABS),
            active=TABS.index(state.tab),
            stylesheets=[theme.WIDGET_STYLE],
            sizing_mode="stretch_width",
            name="tabs",
        )
        self._tabs.on_change("active", self._tab_chosen)
        self._tabs.js_on_change("active", CustomJS(code=_SCROLL))
        self.root: Column = column(self._tabs, sizing_mode="stretch_both", name="middle", spacing=2)
        self._show()

    def update(self, view: NightView, curves: Mapping[str, CurveView] | None, state: ViewState) -> None:
        """Bring the panel that is seen to a snapshot of the night; `curves` are None where they stay."""
        changed = state.tab != self._state.tab
        self._state = state
        if changed:
            self._tabs.active = TABS.index(state.tab)
            self._show()
        if state.tab == "spectra":
            self._spectra.update(view, curves, state.timing)
        elif state.tab in KINDS:
            look = timing_look(state.tab, state.look, state.timing)
            self._timing_panel(state.tab).update(self._feed.timing(look), state.timing, view.keys)
        elif state.tab == "conditions":
            self._conditions.update(view, state)
        elif state.tab == "focus":
            self._focus.update(view, state)
        elif state.tab == "photometers":
            self._photometers.update(view, state.look.label or view.label)
        elif state.tab == "frame":
            self._frame.update()
        elif state.tab == "take away":
            self._take_away.update(view, state)

    def catch_up(self, view: NightView, state: ViewState) -> None:
        """While the light curves rest, so does what is made of them, once it is there; all else goes on."""
        is_of_curves = state.tab == "spectra" or state.tab in KINDS
        if not is_of_curves or (state.tab in KINDS and self._timing_panel(state.tab).is_waiting):
            self.update(view, None, state)

    def show_frame(self, key: str, frame_id: int) -> None:
        """Read a frame, which is shown once it is there."""
        self._frame.show(key, frame_id)

    # A panel costs 20 to 80 ms to make, and some of their libraries more, so that each is made when it is first seen.

    @cached_property
    def _spectra(self) -> PowerSpectrumPanel:
        from server.power_spectrum_panel import PowerSpectrumPanel

        return PowerSpectrumPanel(self._palette, self._timing_chosen)

    @cached_property
    def _conditions(self) -> ConditionsPanel:
        from server.conditions_panel import ConditionsPanel

        return ConditionsPanel(self._feed, self._palette, self._columns_chosen, self._curves.clicked)

    @cached_property
    def _focus(self) -> FocusPanel:
        from server.focus_panel import FocusPanel

        return FocusPanel(self._feed, self._palette, lambda: self._chosen(replace(self._state, focus=())))

    @cached_property
    def _photometers(self) -> PhotometerPanel:
        from server.photometer_panel import PhotometerPanel

        return PhotometerPanel(self._feed, self._photometer_chosen)

    @cached_property
    def _frame(self) -> FramePanel:
        from server.frame_panel import FramePanel

        return FramePanel(self._feed, self._palette)

    @cached_property
    def _take_away(self) -> TakeAwayPanel:
        from server.take_away_panel import TakeAwayPanel

        return TakeAwayPanel(self._visitor, self._curves.stretch_ms)

    def _timing_panel(self, kind: str) -> TimingPanel:
        from server.timing_panels import TimingPanel

        if kind not in self._timing:
            self._timing[kind] = TimingPanel(kind, self._palette, self._timing_chosen)
        return self._timing[kind]

    def _show(self) -> None:
        tab = self._state.tab
        if tab in KINDS:
            root = self._timing_panel(tab).root
        else:
            panels = {"spectra": "_spectra", "conditions": "_conditions", "photometers": "_photometers"}
            panels |= {"focus": "_focus", "frame": "_frame", "take away": "_take_away"}
            root = getattr(self, panels[tab]).root
        self.root.children = [self._tabs, root]

    def _tab_chosen(self, _name: str, _old: object, active: int | None) -> None:
        if active is not None and TABS[active] != self._state.tab:
            self._chosen(replace(self._state, tab=TABS[active]))

    def _columns_chosen(self, x: str, y: str) -> None:
        self._chosen(replace(self._state, x=x, y=y))

    def _timing_chosen(self, choices: TimingChoices) -> None:
        self._chosen(replace(self._state, timing=choices))

    def _photometer_chosen(self, label: str) -> None:
        self._chosen(replace(self._state, look=replace(self._state.look, label=label)))
