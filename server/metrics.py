"""Figures of a night as Prometheus scrapes them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.door import DoorCounts
from server.night_view import NightView
from stream.alerts import AlertKind

_STATES = ("live", "stalled", "finished")


class _NightCollector(Collector):
    """What a snapshot says, as metrics; unknown figures are left out."""

    def __init__(self, view: NightView, now_unix_s: float, counts: DoorCounts) -> None:
        self._view, self._now_unix_s, self._counts = view, now_unix_s, counts

    def collect(self) -> Iterator[Metric]:
        """Yield one family after the other."""
        frames = GaugeMetricFamily("opticam_live_frames_measured", "Measured frames of a key.", labels=["key"])
        for key, shown in self._view.keys.items():
            frames.add_metric([key], shown.n_frames)
        yield frames
        yield GaugeMetricFamily("opticam_live_frames_rejected", "Rejected frames.", value=self._view.n_rejected)
        alerts = GaugeMetricFamily("opticam_live_alerts", "Alerts that last, of each kind.", labels=["kind"])
        for kind in AlertKind:
            alerts.add_metric([kind], sum(alert.is_open and alert.kind is kind for alert in self._view.alerts))
        yield alerts
        yield from self._of_the_door()
        status = self._view.status
        if status is None:
            return
        states = GaugeMetricFamily(
            "opticam_live_night_state", "1 for the state that the night is in.", labels=["state"]
        )
        for state in _STATES:
            states.add_metric([state], float(state == status.state))
        yield states
        for name, meaning, value in (
            ("frames_waiting", "Frames that wait for the catalog of their key.", status.n_waiting),
            ("frames_queued", "Frames that wait for a worker.", status.n_queued),
            ("frames_in_work", "Frames that are being measured.", status.n_in_work),
            ("workers", "Workers.", status.n_workers),
            ("worker_restarts", "Workers that were started again.", status.n_worker_restarts),
            ("dropped_messages", "Messages of workers that made no sense or came twice.", status.n_dropped_messages),
            ("refused_peers", "Attempts to connect to the night without its keys.", status.n_refused_peers),
            ("frames_per_second", "Committed frames a second over the last ten seconds.", status.frames_per_s),
            ("lag_seconds", "File complete to row committed, median of the last frames.", status.lag_s),
            ("last_frame_age_seconds", "Since the last frame arrived.", self._now_unix_s - status.last_frame_unix_s),
            ("status_age_seconds", "Since the night last said how it is.", self._now_unix_s - status.unix_s),
        ):
            if math.isfinite(value):
                yield GaugeMetricFamily(f"opticam_live_{name}", meaning, value=value)

    def _of_the_door(self) -> Iterator[Metric]:
        refused = CounterMetricFamily("opticam_live_page_refusals", "Refused requests.", labels=["status"])
        for status, n_refused in sorted(self._counts.refusals.items()):
            refused.add_metric([str(status)], n_refused)
        yield refused
        n_shut = self._counts.n_shut_sockets
        yield CounterMetricFamily("opticam_live_page_shut_sockets", "Pages that said too much.", value=n_shut)
        n_cut = self._counts.n_shut_connections
        yield CounterMetricFamily("opticam_live_page_shut_connections", "Connections beyond the limit.", value=n_cut)


def metrics_text(view: NightView, now_unix_s: float, counts: DoorCounts | None = None) -> bytes:
    """Return the figures of a snapshot, and of the door of its page, in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NightCollector(view, now_unix_s, counts or DoorCounts()))
    return generate_latest(registry)
