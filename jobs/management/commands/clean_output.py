"""Remove stored output that belongs to no run, and store what the output store has not taken yet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs.services import output_cleaning
from jobsched.domain.errors import Unavailable


class Command(BaseCommand):
    help = (
        "Removes stored output of runs and attempts that were removed, and objects that belong to nothing; moves "
        "output to the output store that this did not take while it was full or could not be reached. Run it after "
        "runs were removed. Where hosts keep output on their own disks, run it on each of them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than-hours",
            type=float,
            default=output_cleaning.NEW.total_seconds() / 3600,
            help="spare objects that belong to nothing and are newer (default: 24)",
        )

    def handle(self, *args: Any, older_than_hours: float, **options: Any) -> None:
        try:
            done = output_cleaning.clean(older_than=timedelta(hours=older_than_hours))
        except Unavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{done.removed} chunks of removed runs and {done.orphans} objects without a run removed, "
            f"{done.stored} chunks stored."
        )
