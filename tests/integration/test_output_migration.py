"""Output that an earlier version stored as one object can still be read."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test import override_settings

from jobs.models import OutputChunk, Run
from jobs.output_storage import output_storage
from jobs.services import outputs
from jobs.store.session import Session
from tests.integration.conftest import claim_next
from tests.integration.test_api_runs import finish

MIGRATION = import_module("jobs.migrations.0014_output_in_chunks")
FILES = "django.core.files.storage.FileSystemStorage"
SHOWN = b"x" * 262_144 + "\n[… 75712 bytes left out …]\n".encode() + b"y" * 262_144


@pytest.mark.parametrize(("stored", "total"), [(b"short" * 20_000, 100_000), (SHOWN, 600_000)])
def test_an_object_of_before_becomes_a_chunk(
    make_runs: Callable[..., list[Run]], session: Session, tmp_path: Path, stored: bytes, total: int
) -> None:
    [run] = make_runs(1)
    with override_settings(STORAGES={"jobsched": {"BACKEND": FILES, "OPTIONS": {"location": tmp_path}}}):
        key = output_storage().save("runs/0/1-1.log", ContentFile(stored))
        finish(session, claim_next(session)[0], output="the end", output_total=total)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE jobs_attempt ADD COLUMN output_key varchar(200)")
            try:
                cursor.execute("UPDATE jobs_attempt SET output_key = %s", [key])
                for start in (0, 4):
                    OutputChunk.objects.create(run=run, attempt=1, start=start, size=4, data=b"left")
                cursor.execute(MIGRATION.KEEP_STORED)
            finally:
                cursor.execute("ALTER TABLE jobs_attempt DROP COLUMN output_key")
        [chunk] = OutputChunk.objects.filter(run=run)
        assert (chunk.start, chunk.size) == (0, len(stored))
        shown = "".join(outputs.pieces(run.pk, outputs.output(run.pk, attempt=1, offset=0)))
        assert shown.encode().startswith(stored)
