"""Tokens that are added in the admin are shown once, and work."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from knox.models import AuthToken

pytestmark = pytest.mark.django_db

ADD = "/admin/knox/authtoken/add/"
LIST = "/admin/knox/authtoken/"


def shown(answer: Any) -> str:
    found = re.search(r"js-token\">(\w+)<", answer.content.decode())
    assert found, answer.content.decode()
    return found[1]


@pytest.fixture
def keeper(db: None) -> Client:
    """Staff who may add tokens and is no superuser."""
    user = User.objects.create_user("keeper", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["add_authtoken", "view_authtoken"]))
    client = Client()
    client.force_login(user)
    return client


def test_a_token_is_shown_when_it_is_added_and_then_no_more(admin_client: Client, admin_user: User) -> None:
    answer = admin_client.post(ADD, {"user": admin_user.pk})
    token = shown(answer)
    assert "no-store" in answer["Cache-Control"]
    called = Client().get("/api/v1/jobs", headers={"Authorization": f"Token {token}"})
    assert called.status_code == 200
    kept = AuthToken.objects.get()
    for page in (LIST, f"{LIST}{kept.pk}/change/", f"{LIST}{kept.pk}/history/", "/admin/"):
        assert token not in admin_client.get(page).content.decode()


@pytest.mark.parametrize("button", ["_save", "_addanother", "_continue"])
def test_it_is_shown_whichever_button_is_pressed(admin_client: Client, admin_user: User, button: str) -> None:
    assert len(shown(admin_client.post(ADD, {"user": admin_user.pk, button: "1"}))) > 30


def test_only_a_superuser_adds_a_token_for_another_user(keeper: Client, admin_user: User) -> None:
    assert "valid choice" in keeper.post(ADD, {"user": admin_user.pk}).content.decode()
    assert not AuthToken.objects.exists()
    me = User.objects.get(username="keeper")
    shown(keeper.post(ADD, {"user": me.pk}))
    assert AuthToken.objects.get().user == me


def test_a_token_is_never_changed(admin_client: Client, admin_user: User) -> None:
    kept = AuthToken.objects.create(admin_user)[0]
    assert admin_client.post(f"{LIST}{kept.pk}/change/", {"expiry_0": "2030-01-01"}).status_code == 403


ELSEWHERE = [
    "https://example.org/",
    "//example.org",
    "/\\example.org",
    "javascript:alert(1)",
    "http:///x",
    "x" * 5000,
    "",
]


@pytest.mark.parametrize("place", ELSEWHERE)
@pytest.mark.parametrize("sent", ["address", "form"])
def test_a_sign_in_that_leads_elsewhere_ends_on_the_first_page(client: Client, place: str, sent: str) -> None:
    User.objects.create_superuser("ada", password="only-for-this-test")
    asked: dict[str, Any] = {"username": "ada", "password": "only-for-this-test"}
    query = {"next": place} if sent == "address" else {}
    answer = client.post("/admin/login/", asked | ({} if query else {"next": place}), query_params=query, follow=True)
    assert answer.status_code == 200 or "x" * 50 in place
    assert not answer.redirect_chain or all("example.org" not in address for address, _ in answer.redirect_chain)
    if place[:5] != "xxxxx":
        assert answer.redirect_chain[-1][0] == "/admin/"


@pytest.mark.parametrize("place", ELSEWHERE[:5])
def test_a_sign_out_that_leads_elsewhere_ends_on_a_page(admin_client: Client, place: str) -> None:
    for query, form in (({"next": place}, {}), ({}, {"next": place})):
        answer = admin_client.post("/admin/logout/", form, query_params=query, follow=True)
        assert answer.status_code == 200
        assert all("example.org" not in address for address, _ in answer.redirect_chain)


def test_the_sign_in_page_redirects_a_user_who_is_signed_in(admin_client: Client) -> None:
    answer = admin_client.get("/admin/login/", {"next": "https://example.org/"}, follow=True)
    assert (answer.status_code, answer.redirect_chain[-1][0]) == (200, "/admin/")
