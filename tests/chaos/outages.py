"""A worker that cannot reach one of its servers for a while, over a wire that is torn or goes silent."""

from __future__ import annotations

import time

from tests.chaos.proxies import Proxy
from tests.chaos.stage import Stage


def outage(stage: Stage, proxy: Proxy, how: str, seconds: float) -> None:
    """Take the server away, as `how` says: `cut` resets and refuses, `silence` swallows. Then give it back."""
    stage.say(f"{how} for {seconds:g} s")
    {"cut": proxy.cut, "silence": proxy.silence}[how]()
    try:
        time.sleep(seconds)
    finally:
        proxy.mend()


def ways(stage: Stage) -> list[str]:
    """Return the ways an experiment tries: both in the full suite, one of them in a short mix."""
    both = ["cut", "silence"]
    return both if stage.is_full else [stage.random.choice(both)]
