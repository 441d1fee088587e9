"""`manage.py doctor`: look at the servers and rows there are, and say what is wrong and how to mend it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from jobs.services import preflight
from jobs.services.preflight import Level


class Command(BaseCommand):
    """Works while PostgreSQL or RabbitMQ are away: that is what it says then."""

    help = "Look at PostgreSQL, RabbitMQ, queues and beats. The exit status is 1 if anything is wrong."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="print all findings as JSON")
        parser.add_argument("--all", action="store_true", dest="everything", help="print also what is fine")

    def handle(self, *args: Any, as_json: bool = False, everything: bool = False, **options: Any) -> None:
        report = preflight.examine()
        if as_json:
            self.stdout.write(json.dumps(report.to_json(), indent=2))
        else:
            self._print(report, everything)
        if not report.healthy:
            raise SystemExit(1)

    def _print(self, report: preflight.Report, everything: bool) -> None:
        styles = {Level.ERROR: self.style.ERROR, Level.WARNING: self.style.WARNING, Level.FINE: self.style.SUCCESS}
        shown = [f for f in report.findings if everything or f.level is not Level.FINE]
        for finding in shown:
            style = styles.get(finding.level, str)
            self.stdout.write(f"{style(finding.level.value):<8} {finding.about}: {finding.sentence}")
        fine = sum(finding.level is Level.FINE for finding in report.findings)
        self.stdout.write(f"{fine} of {len(report.findings)} checks are fine.")
