"""Which modules of the project hold functions that jobs may call."""

from __future__ import annotations

from collections.abc import Iterable

from celery import current_app
from django.apps import apps
from django.conf import settings
from kombu.utils.functional import maybe_list

from jobs.conf import conf
from jobsched.allowed_modules import AllowedModules, is_forbidden, is_installed, is_within


def project_modules() -> AllowedModules:
    """Return the modules that the setting CALLABLE_MODULES names.

    Without it, return the modules that Celery imports (JOBSCHED_IMPORTS) and the installed apps, as far as they are
    the project's own: neither forbidden nor installed as packages.
    """
    names = conf().callable_modules
    if names is None:
        names = tuple(
            name
            for name in dict.fromkeys(
                (
                    *maybe_list(current_app.conf.imports or ()),
                    *maybe_list(current_app.conf.include or ()),
                    *(app.name for app in apps.get_app_configs()),
                )
            )
            if not is_forbidden(name) and not is_installed(name)
        )
    return AllowedModules(names=names, except_for=_settings_modules(names))


def _settings_modules(allowed: Iterable[str]) -> frozenset[str]:
    """Return the module of the settings, and the package around it unless something in that is allowed.

    Functions that read a setting for its name are often defined there.
    """
    module = getattr(settings, "SETTINGS_MODULE", None)
    if not module:  # settings.configure() was called instead
        return frozenset()
    package, _, _ = module.rpartition(".")
    if not package or any(is_within(name, package) for name in allowed):
        return frozenset({module})
    return frozenset({module, package})
