"""Schedules over REST: previews, what became of what was due, backfills, the look ahead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from rest_framework.test import APIClient

from jobs.models import Backfill, Job, Run, Schedule
from jobs.services import scheduling
from jobsched.cli import preview as command_preview
from jobsched.domain.manifest import parse_job
from tests.integration.api import signed_in

HOUR = timedelta(hours=1)


@pytest.fixture
def api(make_job: Callable[..., Job]) -> APIClient:
    make_job()
    return signed_in()


@pytest.fixture
def midnight(api: APIClient) -> datetime:
    """A job that is due at every full hour, and whose schedule began two days before this midnight."""
    post(api, "jobs/", {"name": "Hourly", "schedule": "0 * * * *", "run": "true"})
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    began = midnight - 48 * HOUR
    Schedule.objects.update(anchor=began, cursor=began)
    scheduling.refresh_edited()
    return midnight


def post(api: APIClient, path: str, body: dict[str, Any] | None = None) -> Any:
    return api.post(f"/api/v1/{path}", body or {}, format="json")


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def sentences(preview: dict[str, Any]) -> dict[str, Any]:
    return {**preview, "warnings": [warned["sentence"] for warned in preview["warnings"]]}


class TestNext:
    def test_tells_the_schedule_in_words_and_instants(self, api: APIClient) -> None:
        post(api, "jobs/", {"name": "Nightly", "schedule": "0 2 * * *", "run": "true"})
        shown = api.get("/api/v1/jobs/Nightly/next?count=3").json()
        assert "02:00" in shown["words"]
        assert len(shown["fires"]) == 3
        assert all("T02:00:00Z" in fire for fire in shown["fires"])
        assert (shown["skipped"], shown["warnings"]) == ([], [])

    def test_of_a_job_without_a_schedule_is_nothing(self, api: APIClient) -> None:
        shown = api.get("/api/v1/jobs/Noop/next").json()
        assert shown == {"words": "only on request", "fires": [], "skipped": [], "warnings": [], "held": None}
        assert api.get("/api/v1/jobs/Noop/next?count=101").status_code == 400

    @pytest.mark.parametrize(
        ("hold", "held"),
        [
            (lambda api: post(api, "jobs/Nightly/pause"), "paused"),
            (lambda api: PeriodicTask.objects.update(enabled=False), "switched off"),
        ],
        ids=["paused", "switched off"],
    )
    def test_of_a_schedule_that_does_not_fire_says_why(self, api: APIClient, hold: Any, held: str) -> None:
        post(api, "jobs/", {"name": "Nightly", "schedule": "0 2 * * *", "run": "true"})
        assert api.get("/api/v1/jobs/Nightly/next").json()["held"] is None
        hold(api)
        assert api.get("/api/v1/jobs/Nightly/next").json()["held"] == held
        post(api, "jobs/Nightly/resume")
        assert api.get("/api/v1/jobs/Nightly/next").json()["held"] is None

    def test_tells_what_will_be_skipped_and_why(self, api: APIClient) -> None:
        tomorrow = timezone.now() + timedelta(days=1)
        day = f"{tomorrow:%Y-%m-%d}"
        post(api, "jobs/", {"name": "N", "schedule": "59 23 * * *", "run": "true", "exclude": [day]})
        shown = api.get("/api/v1/jobs/N/next").json()
        assert shown["skipped"] == [{"at": f"{day}T23:59:00Z", "reason": f"excluded: {day}"}]
        assert f"{day}T23:59:00Z" not in shown["fires"]
        assert len(shown["fires"]) == 5


class TestPreview:
    def test_needs_no_more_than_when(self, api: APIClient) -> None:
        answer = post(api, "preview?count=2", {"schedule": "30 6 * * mon", "timezone": "Europe/Berlin"})
        assert answer.status_code == 200
        assert "06:30" in answer.json()["words"]
        assert len(answer.json()["fires"]) == 2
        assert Job.objects.count() == 1, "nothing is saved"

    def test_takes_a_whole_job_as_the_api_shows_it(self, api: APIClient, midnight: datetime) -> None:
        shown = api.get("/api/v1/jobs/Hourly/").json()
        assert post(api, "preview", shown).json()["words"] == shown["words"]

    def test_warns_of_clock_changes(self, api: APIClient) -> None:
        warnings = post(api, "preview", {"schedule": "30 2 * * *", "timezone": "Europe/Berlin"}).json()["warnings"]
        assert warnings
        assert all(datetime.fromisoformat(warned["at"]).month in (3, 10) for warned in warnings)
        assert all(warned["sentence"] for warned in warnings)

    @pytest.mark.parametrize(
        "keys",
        [
            {},
            {"schedule": "30 2 * * *", "timezone": "Europe/Berlin"},
            {"schedule": "30 2 * * *", "timezone": "Asia/Tokyo", "run_once": True},
            {"schedule": "0 * * * *", "exclude": ["2026-12-24..2126-01-01"], "blackout": ["22:00-23:30"]},
            {"schedule": "90s", "start": "2055-12-01 03:00", "end": "2055-12-01 03:04"},
            {"schedule": "0 9 L * *", "timezone": "Asia/Tokyo"},
            {"at": "2055-12-01 03:00", "timezone": "Europe/Berlin"},
        ],
        ids=str,
    )
    def test_is_the_one_that_the_command_works_out_by_itself(self, api: APIClient, keys: dict[str, Any]) -> None:
        spec = parse_job({"name": "A", "run": "true", **keys})

        def worked_out() -> dict[str, Any]:
            return sentences(command_preview.preview(spec, now=datetime.now(UTC), count=4))

        # A clock that strikes between the two would make them differ, once.
        ours = worked_out(), sentences(post(api, "preview?count=4", keys).json()), worked_out()
        assert ours[1] in (ours[0], ours[2])

    def test_of_nothing_is_only_on_request(self, api: APIClient) -> None:
        assert post(api, "preview").json()["words"] == "only on request"

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({"schedule": "61 * * * *"}, "key 'schedule'"),
            ({"schedule": "@daily"}, "names such as @daily"),
            ({"schedule": "90s", "timezone": "Europe/Berlik"}, "is not a time zone"),
            ({"schedul": "90s"}, "schedul"),
        ],
    )
    def test_refuses_what_the_format_refuses(self, api: APIClient, body: dict[str, Any], sentence: str) -> None:
        answer = post(api, "preview", body)
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]


class TestFires:
    def ask(self, api: APIClient, start: datetime, end: datetime) -> Any:
        return api.get("/api/v1/jobs/Hourly/fires", {"from": text(start), "to": text(end)})

    def test_tells_of_each_instant_what_became_of_it(self, api: APIClient, midnight: datetime) -> None:
        begun = self.ask(api, midnight - 2 * HOUR, midnight).json()
        assert begun["counts"] == {"run": 0, "skipped": 0, "owed": 3, "unexplained": 0}, "both ends are included"

        scheduling.fire_due()
        told = self.ask(api, midnight - 2 * HOUR, timezone.now()).json()

        run = Run.objects.get(state="queued")
        *missed, last = told["instants"]
        assert last == {
            "at": f"{text(run.scheduled_for)}",  # type: ignore[arg-type]
            "became": "run",
            "run": run.pk,
            "state": "queued",
            "reason": "",
        }
        assert {instant["became"] for instant in missed} == {"skipped"}
        assert all(instant["reason"] and instant["state"] == "skipped" for instant in missed)
        assert told["unexpected"] == []
        assert sum(told["counts"].values()) == len(told["instants"])

    def test_shows_gaps_and_what_was_not_expected(self, api: APIClient, midnight: datetime) -> None:
        scheduling.fire_due()
        Run.objects.filter(state="skipped").update(skipped_until=None)
        run = Run.objects.get(state="queued")
        Run.objects.filter(pk=run.pk).update(scheduled_for=midnight - timedelta(minutes=7))
        told = self.ask(api, midnight - 3 * HOUR, midnight).json()
        assert told["unexpected"] == [run.pk]
        assert {instant["became"] for instant in told["instants"]} <= {"unexplained", "skipped"}
        assert told["counts"]["unexplained"] >= 3

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("", "the key 'from' is missing; the key 'to' is missing"),
            ("from=2026-11-01T00:00:00&to=2026-11-02T00:00:00Z", "'from' must name its time zone"),
            ("from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "'to' lies before 'from'; exchange them"),
            ("from=yesterday&to=2026-11-01T00:00:00Z", "'from'"),
            ("from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", "'from'"),
            ("start=2026-11-02T00:00:00Z", "there is no key 'start' (known: project, from, to)"),
        ],
    )
    def test_needs_a_period_that_makes_sense(
        self, api: APIClient, midnight: datetime, query: str, sentence: str
    ) -> None:
        answer = api.get(f"/api/v1/jobs/Hourly/fires?{query}")
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]

    def test_of_a_job_without_a_schedule_are_refused(self, api: APIClient) -> None:
        answer = api.get("/api/v1/jobs/Noop/fires?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z")
        assert answer.status_code == 400
        assert "'Noop' has no schedule" in answer.json()["error"]


class TestBackfill:
    def ask(self, api: APIClient, start: datetime, end: datetime, **more: Any) -> Any:
        return post(api, "jobs/Hourly/backfill", {"from": text(start), "to": text(end), **more})

    def test_makes_each_run_once(self, api: APIClient, midnight: datetime) -> None:
        period = midnight - 3 * HOUR, midnight

        counted = self.ask(api, *period, dry_run=True)
        assert counted.status_code == 200
        assert counted.json() == {"id": None, "instants": 4, "made": 4, "already": 0, "excluded": 0}
        assert not Run.objects.exists()

        made = self.ask(api, *period, max_running=1)
        assert made.status_code == 201
        assert made.json() == {**counted.json(), "id": Backfill.objects.get().pk}

        again = self.ask(api, *period)
        assert again.status_code == 200
        assert again.json() == {"id": None, "instants": 4, "made": 0, "already": 4, "excluded": 0}

        runs = api.get("/api/v1/runs/?trigger=backfill").json()["runs"]
        assert [run["scheduled_for"] for run in runs[::-1]] == [text(midnight - n * HOUR) for n in (3, 2, 1, 0)]
        assert {(run["trigger"], run["requested_by"], run["lane"]) for run in runs} == {
            ("backfill", "ann", f"backfill:{made.json()['id']}")
        }
        assert sorted(run["held"] or "" for run in runs) == ["", "job", "job", "job"]

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({}, "the key 'from' is missing"),
            ({"from": "2026-11-01T00:00:00", "to": "2026-11-02T00:00:00Z"}, "'from' must name its time zone"),
            ({"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "'to' lies before 'from'"),
            ({"from": "2026-11-01T00:00:00Z", "to": "2126-11-01T00:00:00Z"}, "yet to come"),
            ({"from": "2010-11-01T00:00:00Z", "to": "2020-11-01T00:00:00Z"}, "more than 10000 instants"),
            ({"max_running": 0}, "'max_running'"),
            ({"max_running": "2"}, "'max_running'"),
            ({"dry_run": "no"}, "'dry_run'"),
            ({"limit": 5}, "there is no key 'limit' (known: from, to, max_running, dry_run)"),
        ],
    )
    def test_that_makes_no_sense_is_refused(
        self, api: APIClient, midnight: datetime, body: dict[str, Any], sentence: str
    ) -> None:
        answer = post(api, "jobs/Hourly/backfill", body)
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]
        assert not Run.objects.exists()


class TestUpcoming:
    def test_lists_the_next_fires_of_all_jobs_in_order(self, api: APIClient, midnight: datetime) -> None:
        scheduling.fire_due()
        post(api, "jobs/?project=other", {"name": "Half", "schedule": "30 * * * *", "run": "true"})
        scheduling.refresh_edited()
        fires = api.get("/api/v1/upcoming?hours=5").json()["fires"]
        assert [fire["at"] for fire in fires] == sorted(fire["at"] for fire in fires)
        assert {(fire["project"], fire["job"]) for fire in fires} == {("default", "Hourly"), ("other", "Half")}
        assert len(fires) == 10
        assert "at minute 30 of every hour" in next(fire["words"] for fire in fires if fire["job"] == "Half")

        def asked(query: str) -> list[str]:
            return [fire["job"] for fire in api.get(f"/api/v1/upcoming?{query}").json()["fires"]]

        assert asked("hours=5&project=other") == ["Half"] * 5
        assert len(asked("hours=5&limit=3")) == 3
        assert sorted(asked("hours=5&of_each=1")) == ["Half", "Hourly"]

    @pytest.mark.parametrize("query", ["hours=0", "hours=9000", "limit=1001", "of_each=0", "days=2"])
    def test_keeps_to_its_bounds(self, api: APIClient, query: str) -> None:
        assert api.get(f"/api/v1/upcoming?{query}").status_code == 400
