"""No address of admin and API answers 500, whatever its path, filters, fields and bodies hold.

`make test-hostile` tries every value for every name. Otherwise one request in ten is tried, always the same ones.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, quote_from_bytes

import pytest
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from knox.models import AuthToken

from jobs.models import Apply, Job, Queue, Run
from jobs.services import definitions, scheduling
from jobs.store import births
from jobs.store.births import Birth
from jobs.store.session import django_connection
from jobsched.domain.manifest import parse_job
from jobsched.domain.specs import JobSpec

Request = TypeVar("Request")

ALL = os.environ.get("HOSTILE_REQUESTS") == "all"
ONE_IN = 10
"""So few of the requests are sent when not all are."""

# Thousands of requests; on a busy machine they take a while.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

VALUES = [
    *("", "\0", "a\0b", "0\0", "'\"<script>%s%n", "None", "[]", "\r\nX: y", "x" * 3000),
    *("-1", "nan", "1e309", "١٢", "²", str(2**31), str(2**63), "9" * 40, "9" * 5000),
    *("2026-02-30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-23:59", "10000-01-01"),
]
RAW = [quote(value) for value in VALUES] + [quote_from_bytes(raw) for raw in (b"\xed\xa0\x80", b"\xff\xfe")]
"""As they stand in an address; the last are half of a surrogate pair and bytes that are not UTF-8."""
WORST = [*map(quote, ("\0", "9" * 40, "9999-12-31T23:59:59-23:59", "2026-02-30")), quote_from_bytes(b"\xed\xa0\x80")]
"""Each is tried for every name alone; the others for all names together."""
JSON_VALUES: list[Any] = [
    *(None, 10**30, "a\0b", "\ud800", [], {"\0": 1}, {"a": "\udfff"}, "9999-12-31T23:59:59-23:59"),
]


@pytest.fixture
def rows(project: Any) -> Job:
    """One row of everything."""
    specs = [
        {"name": "Hourly", "schedule": "0 * * * *", "params": {"a": 1}},
        {"name": "Rule", "schedule": "RRULE:FREQ=MONTHLY;BYDAY=2TU"},
    ]
    for spec in specs:
        definitions.save(parse_job({"run": "true", **spec}), actor="ada")
    job = Job.objects.get(name="Hourly")
    scheduling.refresh_edited()
    births.create(django_connection, [Birth(job_id=job.pk, trigger="request")])
    crontab = CrontabSchedule.objects.create(minute="5")
    PeriodicTask.objects.create(name="plain", task="x.y", crontab=crontab)
    IntervalSchedule.objects.create(every=3, period="days")
    ClockedSchedule.objects.create(clocked_time=datetime.now(UTC) + timedelta(days=1))
    SolarSchedule.objects.create(event="sunrise", latitude=1, longitude=2)
    Queue.objects.create(name="default", rate="10/m")
    Group.objects.create(name="operators")
    return job


@pytest.fixture
def root(rows: Job) -> User:
    return User.objects.create_superuser("root", password="x")


@pytest.fixture
def browser(root: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(root)
    AuthToken.objects.create(root)
    return client


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """What answered 500; the test fails when there is any."""
    found: list[str] = []
    yield found
    assert not found, f"{len(found)} requests were answered with 500, such as:\n" + "\n".join(found[:30])


def chosen(requests: Iterable[Request], seed: str) -> list[Request]:
    """Return all requests, or one in ten; the seed decides which."""
    everything = list(requests)
    if ALL:
        return everything
    return random.Random(seed).sample(everything, -(-len(everything) // ONE_IN))


def sites() -> list[tuple[type[Model], Any]]:
    """All pages of the admin. They are found when the addresses are read."""
    assert get_resolver().url_patterns
    found = list(admin.site._registry.items())
    assert len(found) > 10
    return found


def queries(names: set[str]) -> Iterator[str]:
    """Yield what stands behind the question mark of an address: each name alone, and all of them."""
    for value in WORST:
        yield from (f"{name}={value}" for name in sorted(names))
    for value in RAW:
        yield "&".join(f"{name}={value}" for name in sorted(names))
    yield f"%00=1&{'x' * 300}=%00"


def base(model: type[Model]) -> str:
    return f"admin:{model._meta.app_label}_{model._meta.model_name}"


def names_of(site: Any) -> set[str]:
    """All parameters that a list reads, and some that it does not."""
    names = {"q", "p", "o", "ot", "all", "e", "_popup", "_to_field", "_facets", "id__lt", "pk", "id__in", "before", "x"}
    hierarchy = [site.date_hierarchy] if site.date_hierarchy else []
    names |= {f"{field}__{part}" for field in hierarchy for part in ("year", "month", "day", "gte", "lt")}
    for entry in site.list_filter:
        field = entry[0] if isinstance(entry, tuple) else entry
        if isinstance(field, type) and issubclass(field, SimpleListFilter):
            names.add(str(field.parameter_name))
        else:
            names |= {str(field)} | {
                f"{field}__{lookup}" for lookup in ("exact", "in", "isnull", "gte", "lt", "id__exact")
            }
    return names


def paths(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    """Yield every path below a resolver, with `{}` for each of its arguments."""
    for entry in resolver.url_patterns:
        pattern = str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from paths(entry, prefix + pattern)
        elif isinstance(entry, URLPattern):
            yield prefix + pattern


def test_lists_of_the_admin_take_any_filter(browser: Client, failures: list[str]) -> None:
    for model, site in sites():
        address = reverse(f"{base(model)}_changelist")
        assert browser.get(address).status_code == 200, address
        for query in chosen(queries(names_of(site)), address):
            if browser.get(f"{address}?{query}").status_code >= 500:
                failures.append(f"{address}?{query}"[:200])


def own_paths() -> list[str]:
    """Every path of the web process, with `{}` for each argument."""
    found: set[str] = set()
    for path in paths(get_resolver()):
        path = re.sub(r"\(\?P<\w+>(?:[^()]|\([^()]*\))*\)|<[^>]*>", "{}", path)
        found.add("/" + path.replace("^", "").replace("/?\\Z", "").replace("\\Z", "").replace("$", ""))
    return sorted(found)


def test_paths_take_any_argument(browser: Client, rows: Job, root: User, failures: list[str]) -> None:
    token = AuthToken.objects.create(root)[1]
    asked = own_paths()
    assert "/admin/jobs/run/{}/cancel/" in asked and "/api/v1/jobs/{}/next" in asked
    for path in asked:
        for value in chosen([*RAW, str(rows.pk), "Hourly"], path) if "{}" in path else [""]:
            address = path.replace("{}", value)
            for send in (browser.get, browser.post) if "logout" not in path else ():
                answer = send(address, headers={"Authorization": f"Token {token}"})
                if answer.status_code >= 500:
                    failures.append(f"{send.__name__} {address[:150]}")


def test_pages_of_the_admin_take_any_parameter(browser: Client, rows: Job, failures: list[str]) -> None:
    run, task = Run.objects.latest("pk"), PeriodicTask.objects.get(name="plain")
    pages = [
        *("/admin/", "/admin/login/", "/admin/jsi18n/", "/admin/autocomplete/", "/admin/jobs/job/run/"),
        *(
            f"/admin/jobs/job/{rows.pk}/{page}"
            for page in ("change/", "fires/", "definitions/", "backfill/", "history/")
        ),
        *("/admin/jobs/job/upcoming/", f"/admin/jobs/run/{run.pk}/change/", "/admin/jobs/run/cancel/"),
        *("/admin/jobs/run/retry/", f"/admin/django_celery_beat/periodictask/{task.pk}/change/"),
        "/admin/jobs/job/add/",
    ]
    names = [
        *("id", "next", "before", "hours", "project", "from", "to", "start", "end", "only", "app_label", "model_name"),
        *("field_name", "term", "page", "_changelist_filters", "_popup", "_to_field", "after", "gaps", "attempt", "x"),
        *("state__exact", "reason", "worker", "error", "job", "queue", "created_at__gte", "exit_code"),
    ]
    for page in pages:
        for query in chosen(queries(set(names)), page):
            if browser.get(f"{page}?{query}").status_code >= 500:
                failures.append(f"{page}?{query}"[:200])


def fields_of(answer: Any) -> set[str]:
    """Names of the fields of a page's forms."""
    return set(re.findall(r'name="([^"]+)"', answer.content.decode()))


@pytest.mark.parametrize("value", ["\0", "9" * 40, "9999-12-31T23:59:59-23:59", '["\\u0000"]'])
def test_forms_of_the_admin_take_any_field(browser: Client, rows: Job, failures: list[str], value: str) -> None:
    forms = ["/admin/login/", "/admin/password_change/"]
    for model, _ in sites():
        forms += [reverse(f"{base(model)}_add")]
        if (row := model._default_manager.first()) is not None:
            forms += [reverse(f"{base(model)}_change", args=[row.pk])]
    forms += [f"/admin/jobs/job/{rows.pk}/backfill/", f"/admin/jobs/job/run/?id={rows.pk}", "/admin/jobs/job/preview/"]
    for page in forms:
        fields = fields_of(browser.get(page)) - {"csrfmiddlewaretoken"}
        sound = dict.fromkeys(fields, "1")
        single = chosen(({**sound, name: value} for name in sorted(fields)), page + value)
        for sent in [dict.fromkeys(fields, value), *single, {value: value}]:
            if browser.post(page, sent).status_code >= 500:
                failures.append(f"{page} {str(sent)[:150]}")


def test_actions_of_the_admin_take_any_selection(browser: Client, failures: list[str]) -> None:
    for model, site in sites():
        address = reverse(f"{base(model)}_changelist")
        for action in ["delete_selected", *(site.actions or ()), "\0", "x"]:
            for value in ("\0", "9" * 40, "x", "-1"):
                sent = {"action": str(action), "_selected_action": value, "index": value, "select_across": value}
                if browser.post(address, sent).status_code >= 500:
                    failures.append(f"{address} {sent}")


def test_cookies_may_hold_anything(root: User, failures: list[str]) -> None:
    for name in ("sessionid", "csrftoken", "messages", "x"):
        for value in ('"aaaaaaaaaaaa\\000aaaa"', '"\\355\\240\\200aaaaaaaa"', "x" * 4000, '"\\000"'):
            client = Client(raise_request_exception=False, HTTP_COOKIE=f"{name}={value}")
            for page in ("/admin/", "/admin/login/", "/admin/jobs/job/", "/"):
                if client.get(page).status_code >= 500:
                    failures.append(f"{page} {name}={value[:40]}")


def known_keys(answer: Any) -> list[str]:
    """The keys that an address says it knows, when it is sent another."""
    found = re.search(r"known: ([^)]*)", answer.content.decode())
    return [] if found is None or found[1] == "none" else found[1].split(", ")


@pytest.fixture
def call(root: User) -> Callable[..., Any]:
    token = AuthToken.objects.create(root)[1]
    client = Client(raise_request_exception=False, headers={"Authorization": f"Token {token}"})
    return lambda method, path, **more: client.generic(method, path, **more)


def api_paths(rows: Job, root: User) -> list[str]:
    run = Run.objects.latest("pk")
    apply = Apply.objects.create(actor=root.username, filename="jobs.yaml", source="jobs: []", batch=1)
    given = {"jobs": "Hourly", "runs": str(run.pk), "queues": "default", "applies": str(apply.pk)}
    found = [path for path in own_paths() if path.startswith("/api/")]
    return [path.replace("{}", given[path.split("/")[3]], 1) if "{}" in path else path for path in found]


def test_the_api_takes_any_parameter(call: Callable[..., Any], rows: Job, root: User, failures: list[str]) -> None:
    period = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    tried = 0
    for path in api_paths(rows, root):
        for query in chosen(queries({*known_keys(call("GET", f"{path}?zz=1"))}), path):
            asked = f"{path}?{period}&{query}" if path.endswith("fires") else f"{path}?{query}"
            tried += 1
            if call("GET", asked).status_code >= 500:
                failures.append(f"GET {asked}"[:200])
    assert tried > (500 if ALL else 50)


def test_the_api_takes_any_body(call: Callable[..., Any], rows: Job, root: User, failures: list[str]) -> None:
    raw = [b"", b"\0", b"\xff", b"[]", b"1", b"null", b'{"a":', b"[" * 100_000, b'"\\ud800"', b"NaN", b"9" * 5000]
    job_keys = list(JobSpec.model_fields)
    tried = 0
    for path in api_paths(rows, root):
        for method in ("POST", "PUT"):
            first = call(method, path, data=b'{"zz": 1}', content_type="application/json")
            if first.status_code == 405:
                continue
            keys = known_keys(first) if "known" in first.content.decode() else [*job_keys, "project"]
            bodies = [json.dumps({key: value}).encode() for key in [*keys, "zz", "\0"] for value in JSON_VALUES]
            values = [json.dumps(value).encode() for value in JSON_VALUES]
            for body in chosen([*raw, *values, *bodies], method + path):
                tried += 1
                if call(method, path, data=body, content_type="application/json").status_code >= 500:
                    failures.append(f"{method} {path} {body[:100]!r}")
    assert tried > (1000 if ALL else 100)


def test_tokens_may_hold_anything(rows: Job, failures: list[str]) -> None:
    for header in (
        "Token",
        "Token \0",
        "Token " + "x" * 5000,
        "Token \xff",
        "\0",
        "Token a b",
        "Bearer x",
        "Token 9\0999999999",
    ):
        client = Client(raise_request_exception=False, headers={"Authorization": header})
        if client.get("/api/v1/jobs").status_code >= 500:
            failures.append(repr(header))


@pytest.mark.parametrize(
    "address",
    [
        *(f"/admin/jobs/run/?{name}=%00" for name in ("state__exact", "reason", "worker", "error", "project", "q")),
        "/admin/jobs/queue/%00/change/",
        "/admin/jobs/run/?created_at__gte=9999-12-31T23:59:59-23:59",
        f"/admin/django_celery_beat/periodictask/?start_time__year={'9' * 40}",
        "/admin/auth/user/1/change/?_to_field=",
    ],
)
def test_what_once_answered_500_is_refused_with_a_sentence(browser: Client, address: str) -> None:
    answer = browser.get(address)
    assert answer.status_code == 400
    assert "This request holds" in answer.content.decode() or "of this request holds" in answer.content.decode()


def test_a_number_of_thousands_of_digits_is_no_job(browser: Client) -> None:
    answer = browser.get(f"/admin/jobs/job/run/?id={'9' * 5000}", follow=True)
    assert "There is no such job to run" in answer.content.decode()
