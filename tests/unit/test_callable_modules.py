"""Which modules jobs may call functions of, when the settings name none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.conf import settings
from django.test import override_settings

from jobs import callable_modules
from jobs.callable_modules import project_modules
from jobs.conf import conf
from jobsched.allowed_modules import AllowedModules


@pytest.fixture(autouse=True)
def _unread() -> Iterator[None]:
    conf.cache_clear()
    yield
    conf.cache_clear()


def allowed(*, callable_modules: tuple[str, ...] | None, **given: Any) -> AllowedModules:
    changed = {**settings.JOBSCHED, "CALLABLE_MODULES": callable_modules}
    with override_settings(JOBSCHED=changed, **given):
        conf.cache_clear()
        return project_modules()


def test_they_are_what_celery_imports_and_the_installed_apps_that_are_the_projects_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Celery(set_as_current=False, imports=["tests.sample_callables", "knox.models", "os", "jobs.celery_tasks"])
    monkeypatch.setattr(callable_modules, "current_app", app)
    found = allowed(callable_modules=None, INSTALLED_APPS=[*settings.INSTALLED_APPS, "examples"])
    assert found.names == ("tests.sample_callables", "examples")


def test_the_settings_may_name_others_also_installed_ones() -> None:
    assert allowed(callable_modules=("knox",)).names == ("knox",)


@pytest.mark.parametrize(
    ("settings_module", "module", "may"),
    [
        ("shop.settings", "shop.settings", False),
        ("shop.settings", "shop.settings.local", False),
        ("shop.settings", "shop.reports", True),
        ("shop.settings.production", "shop.settings.production", False),
        ("site_of_shop.settings", "shop.settings", True),
        (None, "shop.settings", True),
    ],
)
def test_the_module_of_the_settings_is_never_allowed(settings_module: str | None, module: str, may: bool) -> None:
    assert allowed(callable_modules=("shop",), SETTINGS_MODULE=settings_module).allows(module) is may


def test_nor_is_the_package_around_the_settings_unless_something_in_it_is_allowed() -> None:
    names = ("shop", "site_of_shop_tools")
    found = allowed(callable_modules=names, SETTINGS_MODULE="site_of_shop.settings")
    assert found.except_for == {"site_of_shop", "site_of_shop.settings"}
    inside = allowed(callable_modules=("shop.reports",), SETTINGS_MODULE="shop.settings")
    assert inside.except_for == {"shop.settings"}
