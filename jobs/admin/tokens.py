"""Tokens of the API: added here and shown once, as only a digest is kept."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from knox.admin import AuthTokenAdmin as TheirAdmin
from knox.admin import AuthTokenCreateForm
from knox.models import AuthToken

admin.site.unregister(AuthToken)


@admin.register(AuthToken)
class TokenAdmin(TheirAdmin):  # type: ignore[misc]  # it has no types
    """A token is added and deleted, never changed. Only a superuser adds tokens for somebody else."""

    list_display = ("token_key", "user", "created", "expiry")
    search_fields = ("token_key", f"user__{get_user_model().USERNAME_FIELD}")
    search_help_text = "The beginning of a token, or the name of a user."
    fields = ("user", "expiry")
    readonly_fields = ("token_key", "created")
    raw_id_fields = ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("user", "expiry") if obj is None else ("token_key", "user", "created", "expiry")

    def formfield_for_foreignkey(self, field: Any, request: HttpRequest, **more: Any) -> Any:
        if field.name == "user" and not request.user.is_superuser:
            more["queryset"] = get_user_model()._default_manager.filter(pk=request.user.pk or 0)
        return super().formfield_for_foreignkey(field, request, **more)

    def save_model(self, request: HttpRequest, obj: AuthToken, form: AuthTokenCreateForm, change: bool) -> None:
        obj.save()
        obj.shown_once = form.token

    def response_add(self, request: HttpRequest, obj: AuthToken, post_url_continue: str | None = None) -> HttpResponse:
        """Answer with the token itself, and not by a redirect: nothing that is stored may hold it."""
        context = {
            **self.admin_site.each_context(request),
            "title": f"Token of {obj.user}",
            "owner": obj.user,
            "token": obj.shown_once,
            "list": reverse("admin:knox_authtoken_changelist"),
            "opts": self.opts,
            "media": forms.Media(css={"all": ("jobs/admin.css",)}),
        }
        response = TemplateResponse(request, "admin/jobs/token.html", context)
        response["Cache-Control"] = "no-store, private"
        return response
