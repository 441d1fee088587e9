"""This host: its clock against the database's, and room on disks that can be seen from here."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

from django.db import DatabaseError, connection

from jobs.conf import conf
from jobs.output_storage import output_folder, problem, store_token
from jobs.services.preflight.findings import Finding, Notes
from jobs.store import facts, outputs
from jobs.store.session import django_connection, now

CLOCK_SECONDS: Final = 2.0
LITTLE_BYTES: Final = 2**30
LITTLE_SHARE: Final = 0.05
NOTHING_BYTES: Final = 100 * 2**20
"""Output of a run may take as much in a moment."""


def look() -> list[Finding]:
    """Return what is to be said of the host this is asked on; of others, ask there."""
    notes = Notes("host")
    try:
        _clock(notes)
        _room_of_database(notes, facts.server(django_connection).settings.get("data_directory"))
    except DatabaseError:
        notes.unknown("clock", "The clock cannot be compared, nor is known where the database keeps its data.")
    _room(notes, "workspaces", conf().workspace_dir, "runs begin in it")
    _output(notes)
    return notes.found


def _output(notes: Notes) -> None:
    if (sentence := problem()) is not None:
        notes.error("output_storage", sentence)
        return
    notes.fine("output_storage", "Stored output can be read by this service only.")
    folder = output_folder()
    if folder is not None:
        _hosts_with_output(notes)
        _room(notes, "output", folder, "output of runs is kept in it")
    else:
        notes.unknown("output", "Room for output cannot be seen: it is kept in a bucket.")


def _hosts_with_output(notes: Notes) -> None:
    """Say so when output is kept where only one of several hosts can read it."""
    try:
        stores = outputs.stores_in_use(django_connection)
    except DatabaseError:
        return
    hosts = sorted({host for _, host in stores})
    if len(stores) > 1 and len(hosts) > 1:
        notes.error(
            "output_hosts",
            f"Workers on {len(hosts)} hosts keep output on their own disks ({', '.join(hosts)}; seen within a day): no "
            "server can show all of it, only its end. Keep it in a bucket (JOBSCHED_S3_BUCKET) or in a folder that all "
            "hosts share.",
        )
    elif stores and all(token != store_token() for token, _ in stores):
        notes.warning(
            "output_hosts",
            f"Output is kept on the disk of {hosts[0]}, which cannot be read from here: only its end is shown. Keep it "
            "in a bucket (JOBSCHED_S3_BUCKET) or in a folder that both share.",
        )
    else:
        notes.fine("output_hosts", "Output is kept where it can be read from here.")


def _clock(notes: Notes) -> None:
    before = time.time()
    theirs = now(django_connection).timestamp()
    after = time.time()
    difference = (before + after) / 2 - theirs
    if abs(difference) - (after - before) / 2 > CLOCK_SECONDS:
        word = "ahead of" if difference > 0 else "behind"
        notes.warning(
            "clock",
            f"The clock of this host is {abs(difference):.1f} s {word} the database's, which alone decides what is "
            "due: logs and Flower show other times; set it by NTP.",
        )
    else:
        notes.fine("clock", "The clock of this host agrees with the database's.")


def _room_of_database(notes: Notes, folder: str | None) -> None:
    hosts = {str(connection.settings_dict["HOST"]), ""}
    if folder is None:
        notes.unknown(
            "database_room",
            "PostgreSQL does not tell how much room its disk has, nor our account where its data is; watch it there.",
        )
    elif not hosts <= {"", "localhost", "127.0.0.1", "::1"} and not str(connection.settings_dict["HOST"]).startswith(
        "/"
    ):
        notes.unknown("database_room", "PostgreSQL does not tell how much room its disk has; watch it on its host.")
    else:
        _room(notes, "database_room", Path(folder), "PostgreSQL keeps its data in it")


def _room(notes: Notes, check: str, folder: Path, purpose: str) -> None:
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        usage = shutil.disk_usage(nearest)
    except OSError as error:
        notes.unknown(check, f"Room in {folder} cannot be seen from here ({error.strerror}); {purpose}.")
        return
    sentence = f"{folder} has {usage.free / 2**30:.1f} GiB left of {usage.total / 2**30:.1f}"
    if usage.free < NOTHING_BYTES:
        notes.error(check, f"{sentence}: the disk is as good as full, and {purpose}; make room.")
    elif usage.free < max(LITTLE_BYTES, LITTLE_SHARE * usage.total):
        notes.warning(check, f"{sentence}, and {purpose}: make room before it is full.")
    else:
        notes.fine(check, f"{sentence}.")
