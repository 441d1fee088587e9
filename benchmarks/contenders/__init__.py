"""The systems that are compared, one file each."""

from benchmarks.contenders.base import Contender, Place
from benchmarks.contenders.celery import CeleryIgnoringResults, CeleryWithResults, CeleryWithResultsKept
from benchmarks.contenders.ours import (
    Ours,
    OursInProcess,
    OursIsolated,
    OursIsolatedWithEvents,
)
from benchmarks.contenders.pgqueuer import Pgqueuer, PgqueuerLargeBatches
from benchmarks.contenders.procrastinate import Procrastinate

OURS: tuple[type[Ours], ...] = (OursInProcess, OursIsolated, OursIsolatedWithEvents)
CONTENDERS: tuple[type[Contender], ...] = (
    OursInProcess,
    OursIsolated,
    CeleryIgnoringResults,
    CeleryWithResults,
    CeleryWithResultsKept,
    Procrastinate,
    Pgqueuer,
    PgqueuerLargeBatches,
    OursIsolatedWithEvents,
)
__all__ = ["CONTENDERS", "OURS", "Contender", "Ours", "Place"]
