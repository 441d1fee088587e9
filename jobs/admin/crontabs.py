"""django-celery-beat's pages of crontabs, with our words: its own are false for many steps and ranges."""

from __future__ import annotations

from django.contrib import admin
from django_celery_beat.admin import CrontabScheduleAdmin as TheirAdmin
from django_celery_beat.models import CrontabSchedule

from jobs.rules import crontab_in_words

admin.site.unregister(CrontabSchedule)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(TheirAdmin):  # type: ignore[misc]  # it has no types
    """Crontab rows are edited as ever."""

    list_display = ("__str__", "in_words")
    fields = tuple("in_words" if name == "human_readable" else name for name in TheirAdmin.fields)
    readonly_fields = ("in_words",)

    @admin.display(description="in words")
    def in_words(self, crontab: CrontabSchedule) -> str:
        """Return when the row is due."""
        return crontab_in_words(crontab) if crontab.pk else "-"
