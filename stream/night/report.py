"""What a night looks like from outside: its counts, its health and why frames were rejected."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.alerts import Alert, gathered
from stream.errors import NightError
from stream.messages import FrameRejected, NightStatus
from stream.night.ledger import LedgerCounts, LedgerReader
from stream.night.night_folder import RunFile, read_run_file
from stream.processes import holder_of

_SENTENCES_SHOWN = 20
_PAST_ALERTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class NightReport:
    """Counts of the ledger, the last health of the night, its alerts and its newest rejections."""

    out: Path
    counts: LedgerCounts
    status: NightStatus | None
    running: RunFile | None
    rejected: tuple[FrameRejected, ...]
    alerts: tuple[Alert, ...] = ()
    """Newest first; those of the past included."""

    @property
    def state(self) -> str:
        """``live``, ``stalled`` or ``finished``; ``stopped`` where the night ended without saying so."""
        if self.running is None:
            return "finished" if self.status is not None and self.status.state == "finished" else "stopped"
        return self.status.state if self.status is not None else "live"

    def lines(self) -> list[str]:
        """The report for people."""
        counts = self.counts
        lines = [f"{self.out}: {self.state}"]
        lines.append(f"frames: {counts.n_frames}, measured: {counts.n_measured}, rejected: {counts.n_rejected}")
        if counts.n_pending:
            lines.append(f"not measured yet: {counts.n_pending}")
        lines += [f"  {n} {key}" for key, n in sorted(counts.by_key.items())]
        if self.running is not None and self.status is not None:
            lines.append(health_sentence(self.status))
            lines += [f"awaited: {sentence}" for sentence in self.status.awaited]
        if self.running is not None and self.running.page is not None:
            lines.append(f"page: {self.running.page}")
        now = time.time()
        lines += [f"alert: {alert.line(now)}" for alert in gathered(self.alerts)]
        past = [alert for alert in self.alerts if not alert.is_open]
        lines += [f"alert over: {alert.line(now)}" for alert in past[:_PAST_ALERTS_SHOWN]]
        lines += [f"rejected {reason}: {n}" for reason, n in sorted(counts.by_reason.items())]
        lines += [f"  {rejected.sentence}" for rejected in self.rejected[:_SENTENCES_SHOWN]]
        n_more = counts.n_rejected - _SENTENCES_SHOWN
        return lines + ([f"  and {n_more} earlier ones"] if n_more > 0 else [])

    def to_json(self) -> str:
        """The report for programs; numbers that are unknown are null."""
        content = {
            "state": self.state,
            "counts": self.counts,
            "status": self.status,
            "page": self.running.page if self.running is not None else None,
            "rejected": self.rejected,
            "alerts": [alert for alert in self.alerts if alert.is_open],
            "alerts_over": [alert for alert in self.alerts if not alert.is_open],
        }
        return msgspec.json.format(msgspec.json.encode(content)).decode()


def read_report(out: Path) -> NightReport:
    """Read the report of a running or finished night.

    Raises
    ------
    LedgerError
        If there is no night in `out`.
    """
    reader = LedgerReader(out)
    try:
        counts, status, rejected = reader.counts(), reader.status(), tuple(reader.rejected())
        return NightReport(out, counts, status, _running(out), rejected, reader.alerts())
    finally:
        reader.close()


def health_sentence(status: NightStatus) -> str:
    """One line of health."""
    lag = "" if math.isnan(status.lag_s) else f", lag {1000.0 * status.lag_s:.0f} ms"
    waiting = f", {status.n_waiting} wait for a catalog" if status.n_waiting else ""
    restarts = f", {status.n_worker_restarts} restarts" if status.n_worker_restarts else ""
    dropped = f", {status.n_dropped_messages} messages dropped" if status.n_dropped_messages else ""
    refused = f", {status.n_refused_peers} strangers refused" if status.n_refused_peers else ""
    return (
        f"{status.state}: {status.n_measured} measured, {status.n_rejected} rejected, "
        f"{status.n_queued} queued{waiting}, {status.frames_per_s:.1f} frames/s{lag}, "
        f"{status.n_workers} workers{restarts}{dropped}{refused}"
    )


def _running(out: Path) -> RunFile | None:
    """The running night; a run file that a killed night left says nothing, whoever has its number now."""
    try:
        run = read_run_file(out)
    except NightError:
        return None
    return run if holder_of(out) == run.pid else None
