"""The admin as a person sees it: a real browser, a real server, a strict content security policy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, Route, expect, sync_playwright

from jobs.conf import conf
from jobs.models import Project, Run, Schedule
from jobs.services import control, definitions, scheduling
from jobs.store import claims, outputs
from jobs.store.claims import Claim, ClaimRequest, Settlement
from jobs.store.session import Session
from jobsched.domain.outcomes import Part
from jobsched.domain.specs import JobSpec
from jobsched.domain.states import State
from tests.unrun import needs

PASSWORD = "correct horse battery staple"
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\x1b[31mred\x1b[0m\n"
POLICY = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The distribution's Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        needs("chromium", "`apt-get install chromium` provides it")
    return found


@pytest.fixture
def page(chromium_path: str, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A signed-in administrator's page. Whatever the browser complains of fails the test."""
    # Playwright keeps an event loop in this thread, which makes Django suspect asynchronous code.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    Project.objects.get_or_create(name="default")
    User.objects.create_superuser("ada", password=PASSWORD)
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=list(QUIET))
        page = browser.new_page(base_url=live_server.url, viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.route("**/*", _with_policy)
        page.goto("/admin/")
        page.get_by_label("Username").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
        yield page
        browser.close()
    assert complaints == []


def _with_policy(route: Route) -> None:
    """Serve pages under a policy that forbids inline scripts and styles, as careful sites do."""
    if route.request.resource_type != "document" or route.request.method != "GET":
        route.continue_()
        return
    response = route.fetch(max_redirects=0)
    route.fulfill(response=response, headers={**response.headers, "content-security-policy": POLICY})


def test_a_job_is_added_previewed_saved_and_run(page: Page) -> None:
    page.goto("/admin/jobs/job/add/")
    expect(page.get_by_role("textbox", name="Command")).to_be_visible()
    expect(page.get_by_role("textbox", name="URL")).to_be_hidden()
    page.get_by_role("radio", name="HTTP request").check()
    expect(page.get_by_role("textbox", name="URL")).to_be_visible()
    expect(page.get_by_role("textbox", name="Command")).to_be_hidden()
    page.get_by_role("radio", name="Shell command").check()
    page.get_by_role("textbox", name="Name:").fill("Nightly report")
    page.get_by_role("textbox", name="Command").fill("echo hello\necho again")

    fires = page.locator("#js-preview .js-fires li")
    page.get_by_role("radio", name="Cron string").check()
    page.locator("#id_cron").fill("61 2 * * *")
    expect(page.locator("#js-preview .js-wrong")).to_contain_text("61")
    page.locator("#id_cron").fill("30 2 * * *")
    page.get_by_label("Time zone").select_option("Europe/Berlin")
    expect(fires).to_have_count(5)
    expect(fires.first).to_contain_text("02:30:00 CE")
    expect(page.locator("#js-preview .js-words")).to_contain_text("02:30")

    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    expect(fires).to_have_count(5)
    job = control.find("Nightly report")
    assert job.spec == {"command": "echo hello\necho again"}

    page.get_by_role("link", name="Run now…").click()
    page.get_by_role("textbox", name="Parameters").fill('{"customer": 7}')
    page.get_by_label("Priority").select_option("9")
    page.get_by_role("button", name="Run now").click()
    run = Run.objects.get()
    expect(page.locator(".messagelist")).to_contain_text(f"Run #{run.pk} of Nightly report was requested.")
    assert (run.params, run.priority, run.requested_by) == ({"customer": 7}, 9, "ada")

    page.goto("/admin/jobs/run/")
    expect(page.locator("#result_list")).to_contain_text("queued")
    page.get_by_role("link", name=f"#{run.pk}").click()
    expect(page.get_by_role("heading", name=f"Run #{run.pk} of Nightly report")).to_be_visible()
    expect(page.locator("pre").first).to_contain_text('"customer": 7')
    page.get_by_role("button", name="Cancel run").click()
    expect(page.locator(".messagelist")).to_contain_text("was cancelled before it began")
    page.get_by_role("button", name="Retry run").click()
    expect(page.locator(".messagelist")).to_contain_text("was requested")
    assert sorted(Run.objects.values_list("state", flat=True)) == ["cancelled", "queued"]


def test_a_schedule_is_judged_while_it_is_typed(page: Page) -> None:
    page.goto("/admin/jobs/job/add/")
    expect(page.get_by_label("Blackout")).to_be_hidden()
    page.get_by_role("radio", name="Recurrence rule").check()
    expect(page.locator("#id_cron")).to_be_hidden()
    page.locator("#id_rrule").fill("RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30")
    page.get_by_label("Time zone").select_option("Europe/Berlin")
    preview, fires = page.locator("#js-preview"), page.locator("#js-preview .js-fires li")
    expect(fires).to_have_count(5)
    expect(preview.locator(".js-warnings li").first).to_contain_text("Europe/Berlin")
    expect(preview.locator(".js-skipped")).to_be_hidden()
    page.get_by_label("Blackout").fill("wed,sun")  # one of them is among any five days in a row
    expect(preview.locator(".js-skipped li").first).to_contain_text("blackout wed,sun")
    page.get_by_label("Blackout").fill("someday")
    expect(preview.locator(".js-wrong")).to_contain_text("someday")
    page.get_by_label("Blackout").fill("wed,sun")
    expect(preview.locator(".js-wrong")).to_have_count(0)
    page.get_by_role("textbox", name="Name:").fill("Ruled")
    page.get_by_role("textbox", name="Command").fill("true")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    expect(page.locator("#id_rrule")).to_have_value("RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30")


def test_what_was_missed_is_looked_at_and_backfilled(page: Page) -> None:
    definitions.save(JobSpec(name="Hourly", run="true", schedule="1h"), actor="test")
    anchor = timezone.now().replace(microsecond=0) - timedelta(hours=5, seconds=30)
    Schedule.objects.update(anchor=anchor, cursor=anchor)
    scheduling.refresh_edited()
    scheduling.fire_due()
    page.goto(f"/admin/jobs/job/{control.find('Hourly').pk}/change/")
    page.get_by_role("link", name="Fires: expected and actual").click()
    expect(page.locator(".js-counts")).to_contain_text("4 skipped")
    page.go_back()
    page.get_by_role("link", name="Backfill…").click()
    page.get_by_label("From:").fill(f"{anchor:%Y-%m-%dT%H:%M:%S}")
    page.get_by_label("To:").fill(f"{anchor + timedelta(hours=5):%Y-%m-%dT%H:%M:%S}")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#content")).to_contain_text("1 had its run already")
    page.get_by_role("button", name="Make 4 runs").click()
    expect(page.locator(".messagelist")).to_contain_text("4 runs of Hourly for past instants were made")
    expect(page.locator("#result_list tbody tr")).to_have_count(4)
    page.goto("/admin/jobs/job/")
    page.get_by_role("link", name="Upcoming").click()
    expect(page.locator("table.js-table")).to_contain_text("Hourly")


def test_hostile_output_does_not_run(page: Page) -> None:
    page.goto("/admin/jobs/job/add/")
    page.get_by_role("textbox", name="Name:").fill("Hostile")
    page.get_by_role("textbox", name="Command").fill("cat page.html")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    run_id = _performed(control.trigger(job="Hostile", actor="test"), output=HOSTILE)
    for address in ("/admin/jobs/run/", f"/admin/jobs/run/{run_id}/change/"):
        page.goto(address)
        assert page.title() != "owned"
    shown = page.locator("pre.js-output").first
    expect(shown).to_contain_text("<script>document.title='owned'</script>")
    expect(shown).to_contain_text("red")
    assert "\x1b" not in (shown.text_content() or "")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the output as text").click()
    assert Path(download.value.path()).read_text() == HOSTILE
    assert page.title() != "owned"


def test_the_newest_output_of_a_running_run_is_in_view_on_a_phone(page: Page) -> None:
    definitions.save(JobSpec(name="Long", run="seq 100000"), actor="test")
    run = control.trigger(job="Long", actor="test")
    printed = "".join(f"{number}\n" for number in range(100_000)).encode()
    session = Session()
    try:
        claim = _claimed(session, run)
        outputs.keep(session, claim, Part(start=0, data=printed, replaces_from=0, final=True))
    finally:
        session.close()
    page.set_viewport_size({"width": 390, "height": 850})

    page.goto(f"/admin/jobs/run/{run.pk}/change/")

    expect(page.get_by_text(f"the end of {len(printed):,} bytes so far; reload the page for more")).to_be_visible()
    box = page.locator(".js-newest")
    below = box.evaluate(
        "box => box.querySelector('pre').getBoundingClientRect().bottom - box.getBoundingClientRect().bottom"
    )
    assert below <= 1, "the box shows the end of its text"
    assert (page.locator("pre.js-output").text_content() or "").endswith("\n99999\n")
    assert page.evaluate("document.documentElement.scrollWidth") == 390, "only tables scroll sideways"


def test_dead_ends_are_found_and_retried_all_at_once(page: Page) -> None:
    definitions.save(JobSpec(name="Report", run="exit 1"), actor="test")
    definitions.save(JobSpec(name="Other", run="exit 1"), actor="test")
    for name in ("Report", "Report", "Other"):
        _performed(control.trigger(job=name, actor="test"), output=f"{name}: disk full")
    page.goto("/admin/jobs/run/")
    expect(page.get_by_role("link", name="Retry all of these…")).to_have_count(0)
    page.get_by_role("link", name="Failed, not retried yet").click()
    rows = page.locator("#result_list tbody tr")
    expect(rows).to_have_count(3)
    page.locator("summary", has_text="By text of the reason").click()
    page.get_by_role("textbox", name="text of the reason").fill("report: DISK")
    page.get_by_role("textbox", name="text of the reason").press("Enter")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("exit code 1")
    page.get_by_role("link", name="Retry all of these…").click()
    expect(page.locator("#content")).to_contain_text("2 runs would be retried")
    page.get_by_label("By the definition").select_option("now")
    page.get_by_role("button", name="Retry them").click()
    expect(page.locator(".messagelist")).to_contain_text("2 new runs requested.")
    expect(rows).to_have_count(0)
    assert sorted(Run.objects.filter(trigger="retry").values_list("job__name", flat=True)) == ["Report", "Report"]


def _claimed(session: Session, run: Run) -> Claim:
    request = ClaimRequest(token=uuid4(), queue=run.queue, limit=1, worker="slot-1", lease=conf().lease)
    return claims.settle_and_claim(session, [], request, actor="slot-1").claims[0]


def _performed(run: Run, *, output: str) -> int:
    """Record an attempt of a run as a worker slot does."""
    session = Session()
    try:
        claim = _claimed(session, run)
        ended = Settlement(
            run_id=claim.run_id,
            attempt=claim.attempt,
            token=claim.token,
            after=State.FAILED,
            reason=output,
            again_in_seconds=None,
            verdict="failed",
            attempt_reason=output,
            exit_code=1,
            output=output,
            output_total=len(output),
        )
        claims.settle_and_claim(session, [ended], None, actor="slot-1")
    finally:
        session.close()
    return claim.run_id
