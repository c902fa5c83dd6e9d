"""Alerts of the past, on demand, beside the line of health; those that last stand in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from bokeh.models import Div, Toggle

from server import theme
from server.ages import age_text
from server.night_view import NightView
from stream.alerts import Alert, gathered
from stream.timestamps import MJD_OF_UNIX_EPOCH, SECONDS_PER_DAY

_MOST_LISTED = 100
_MOST_SHOWN = 4
_LATE_S = 60.0


class AlertList:
    """Button and list of one document; there is neither before the first alert of the night.

    Attributes
    ----------
    roots : tuple of Model
        ``alerts_toggle`` and ``alerts``, as the template places them.
    """

    def __init__(self) -> None:
        self._alerts: tuple[Alert, ...] = ()
        self._toggle = Toggle(label="", visible=False, stylesheets=[theme.WIDGET_STYLE], name="alerts_toggle")
        self._toggle.on_click(lambda _active: self._show())
        self._list = Div(
            text="", visible=False, stylesheets=[theme.TEXT_STYLE], name="alerts", sizing_mode="stretch_width"
        )
        self.roots = (self._toggle, self._list)

    def update(self, view: NightView) -> None:
        """Bring the list to a snapshot of the night."""
        if view.alerts is self._alerts:
            return
        self._alerts = view.alerts
        n_alerts = max((alert.number for alert in view.alerts), default=0)
        self._toggle.update(label="1 alert" if n_alerts == 1 else f"{n_alerts} alerts", visible=n_alerts > 0)
        self._show()

    def _show(self) -> None:
        text = list_text(self._alerts) if self._toggle.active else ""
        if self._list.text != text:
            self._list.update(text=text, visible=bool(text))


def open_text(alerts: Sequence[Alert], now_unix_s: float) -> str:
    """The alerts that last, the newest first, as HTML: a triangle, what it is, its age, and why."""
    lasting = gathered(alerts)
    if not lasting:
        return ""
    lines = "".join(
        f"<div class='alert'><b>{escape(alert.title)}</b> <span class='age'>for "
        f"{age_text(now_unix_s - alert.since_unix_s)}</span> <span class='why'>{escape(alert.sentence)}</span></div>"
        for alert in lasting[:_MOST_SHOWN]
    )
    n_more = len(lasting) - _MOST_SHOWN
    rest = f"<div class='alert'><b>and {n_more} more</b></div>" if n_more > 0 else ""
    return f"<div class='alerts' role='region' aria-label='alerts'>{lines}{rest}</div>"


def list_text(alerts: Sequence[Alert]) -> str:
    """All alerts, the newest first, as HTML with their beginning and end, and why they ended."""
    lines = "".join(
        f"<li><span class='clock'>{_clock(alert.since_unix_s)} to {_end(alert)} UTC</span> "
        f"<b>{escape(alert.title)}</b>{_frame(alert)} {escape(alert.sentence)}"
        f"{f'; <i>{escape(alert.ended)}</i>' if alert.ended else ''}</li>"
        for alert in alerts[:_MOST_LISTED]
    )
    # Whoever has no mouse scrolls what can be focused.
    return f"<div class='scrolls' tabindex='0' role='region' aria-label='all alerts'><ul>{lines}</ul></div>"


def _frame(alert: Alert) -> str:
    """When the frame was taken that it began with, where that was not at the time: an archived night."""
    unix_s = (alert.time_mjd_utc - MJD_OF_UNIX_EPOCH) * SECONDS_PER_DAY
    if not abs(unix_s - alert.since_unix_s) > _LATE_S:
        return ""
    return f" <span class='clock'>(frame of {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(unix_s))})</span>"


def _end(alert: Alert) -> str:
    return "now" if alert.is_open else _clock(alert.until_unix_s)


def _clock(unix_s: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(unix_s))
