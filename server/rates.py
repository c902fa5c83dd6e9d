"""How often one address may ask: a bucket of requests that fills again."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from stream.page_options import Limits

_MOST_ADDRESSES = 4096
_NETWORK_BITS = 64


class Bucket:
    """What may be taken at once, filling again at a steady rate.

    Parameters
    ----------
    per_s, burst : float
    now_s : float
        Monotonic time.
    """

    __slots__ = ("_at_s", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at_s = burst, now_s

    def take(self, cost: float, now_s: float) -> bool:
        """Take `cost` out; False where there is less."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < cost:
            return False
        self._left -= cost
        return True


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
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def allow(self, address: str, cost: float) -> bool:
        """Take `cost` requests out of the bucket of an address; False where it holds fewer."""
        now_s, name = self._clock(), network_of(address)
        bucket = self._buckets.pop(name, None) or Bucket(self._limits.requests_per_s, self._limits.burst, now_s)
        self._buckets[name] = bucket
        if len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket.take(cost, now_s)


def network_of(address: str) -> str:
    """The address, of IPv6 its network: whoever has one address of it has them all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))
