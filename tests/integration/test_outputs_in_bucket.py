"""Output in chunks in a bucket: stored, read and cleaned up as in files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from jobs.models import Attempt, Job, OutputChunk, OutputStore, Run
from jobs.services import control, output_cleaning, outputs, running
from tests.unit.test_bucket import Bucket, bucket  # noqa: F401 - a fixture

LINES = 300_000
ALL_LINES = "".join(f"{number}\n" for number in range(1, LINES + 1))


@pytest.mark.usefixtures("own_slot")
def test_output_is_stored_read_and_cleaned_up(make_job: Callable[..., Job], bucket: type[Bucket]) -> None:  # noqa: F811
    options: dict[str, Any] = {
        "bucket_name": "runs",
        "location": "output",
        "endpoint_url": bucket.address,
        "region_name": "us-east-1",
        "access_key": "key",
        "secret_key": "secret",
        "addressing_style": "path",
    }
    storages = {**settings.STORAGES, "jobsched": {"BACKEND": "config.bucket.BucketStorage", "OPTIONS": options}}
    with override_settings(STORAGES=storages):
        make_job("Prints", spec={"command": f"seq {LINES}"})
        runs = [control.trigger(job="Prints", actor="test") for _ in range(2)]
        while Run.objects.active().exists():  # a slot's turn may end before
            running.work("default", hostname="slot@test")

        assert not OutputChunk.objects.filter(key=None).exists()
        assert not OutputStore.objects.exists(), "every host can read a bucket"
        for run in runs:
            assert "".join(outputs.pieces(run.pk, outputs.output(run.pk, attempt=1, offset=0))) == ALL_LINES

        before = len(bucket.objects)
        Attempt.objects.filter(run=runs[0]).delete()
        Run.objects.filter(pk=runs[0].pk).delete()
        bucket.objects["/runs/output/runs/0/999/1-000-none.log"] = b"nobody's"
        done = output_cleaning.clean(older_than=timedelta(0))
        assert (done.removed, done.orphans) == (before // 2, 1)
        assert len(bucket.objects) == before // 2
        assert all(f"/{runs[1].pk}/" in name for name in bucket.objects)
