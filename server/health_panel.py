"""The health of the night in one line."""

from __future__ import annotations

import math
import time
from html import escape

from bokeh.models import Div

from server import theme
from server.ages import age_text
from server.alert_list import open_text
from server.night_view import NightView
from stream.messages import NightStatus

_SILENCE_S = 5.0
_STATE_CLASSES = {"live": "live", "stalled": "stalled", "finished": "finished"}
_MOST_AWAITED = 4


class HealthPanel:
    """The line of health of one document."""

    def __init__(self) -> None:
        self.root = Div(text="", stylesheets=[theme.TEXT_STYLE], sizing_mode="stretch_width", name="health")

    def update(self, view: NightView) -> None:
        """Bring the line to a snapshot of the night and to the time it is."""
        text = health_text(view, time.time())
        if text != self.root.text:
            self.root.text = text


def health_text(view: NightView, now_unix_s: float) -> str:
    """Return the line of health as HTML; nothing in it changes more often than once a second."""
    status = view.status
    parts = []
    if view.is_being_read:
        parts.append("<span class='state stalled'>reading</span><span class='awaited'>the night so far is read</span>")
    elif status is None:
        parts.append("<span class='state stalled'>waiting</span><span class='awaited'>no word of the night yet</span>")
    else:
        parts.append(_state(status, now_unix_s))
        parts.extend(_figures(status, view, now_unix_s))
        if status.state != "finished":
            parts.extend(f"<span class='awaited'>{escape(line)}</span>" for line in status.awaited[:_MOST_AWAITED])
    parts.extend(f"<span class='figure bad'><b>{escape(notice)}</b></span>" for notice in view.notices)
    return f"<div class='health'>{''.join(parts)}</div>{open_text(view.alerts, now_unix_s)}"


def _state(status: NightStatus, now_unix_s: float) -> str:
    silent_s = now_unix_s - status.unix_s
    if status.state != "finished" and silent_s > _SILENCE_S:
        return f"<span class='state gone'>not running</span><span class='why'>last word {age_text(silent_s)} ago</span>"
    return f"<span class='state {_STATE_CLASSES.get(status.state, 'stalled')}'>{escape(status.state)}</span>"


def _figures(status: NightStatus, view: NightView, now_unix_s: float) -> list[str]:
    figures = [("measured", f"{status.n_measured:,}", False)]
    figures.append(("rejected", f"{max(status.n_rejected, view.n_rejected):,}", status.n_rejected > 0))
    if status.state != "finished":
        lag = f"{status.lag_s:.2f} s" if math.isfinite(status.lag_s) else "–"
        figures += [
            ("frames/s", f"{status.frames_per_s:.1f}", False),
            ("lag", lag, math.isfinite(status.lag_s) and status.lag_s > _SILENCE_S),
            ("queue", f"{status.n_queued + status.n_in_work:,}", False),
            ("workers", f"{status.n_workers}", status.n_workers == 0),
        ]
        if status.n_worker_restarts:
            figures.append(("restarted", f"{status.n_worker_restarts}", True))
        if status.n_waiting:
            figures.append(("waiting for a catalog", f"{status.n_waiting:,}", False))
    if math.isfinite(status.last_frame_unix_s):
        figures.append(("last frame", f"{age_text(now_unix_s - status.last_frame_unix_s)} ago", False))
    return [
        f"<span class='figure{' bad' if bad else ''}'><span>{name}</span> <b>{value}</b></span>"
        for name, value, bad in figures
    ]
