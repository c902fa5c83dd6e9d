"""How often one address may ask: a bucket of requests that fills again."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MOST_ADDRESSES = 4096
_NETWORK_BITS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server bears.

    Attributes
    ----------
    requests_per_s, burst : float
        Of one address: on average, and at once. A page is about a dozen requests.
    heavy : float
        Requests that a page, a light curve or a figure counts for.
    sessions, streams : int
        Pages, and listeners to ``/api/events``, at a time.
    """

    requests_per_s: float = 60.0
    burst: float = 1200.0
    heavy: float = 10.0
    sessions: int = 80
    streams: int = 64


class Rates:
    """Buckets by address; those of addresses that asked longest ago are forgotten when there are too many.

    Parameters
    ----------
    limits : Limits
    clock : callable
        Monotonic time, seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, address: str, cost: float) -> bool:
        """Take `cost` requests out of the bucket of an address; False where it holds fewer."""
        now, name = self._clock(), network_of(address)
        left, at_s = self._buckets.pop(name, (self._limits.burst, now))
        left = min(self._limits.burst, left + (now - at_s) * self._limits.requests_per_s)
        allowed = left >= cost
        self._buckets[name] = (left - cost if allowed else left, now)
        if len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed


def network_of(address: str) -> str:
    """The address, of IPv6 its network: whoever has one address of it has them all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))
