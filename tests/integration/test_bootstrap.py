"""`bootstrap` in a project of its own: nothing but `JOBSCHED` says where its files go."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from knox.models import AuthToken
from knox.settings import knox_settings
from rest_framework.test import APIClient

from jobs.conf import conf


@pytest.fixture
def folder(transactional_db: None, settings: Any, tmp_path: Path) -> Iterator[Path]:
    """The folder of a project without the settings of this one."""
    del settings.DATA_DIR
    settings.BASE_DIR, settings.JOBSCHED, settings.REST_KNOX = tmp_path, {}, {}
    conf.cache_clear()
    yield tmp_path
    conf.cache_clear()


def test_the_password_is_in_the_data_folder_and_the_token_does_not_expire(folder: Path) -> None:
    assert knox_settings.TOKEN_TTL is not None
    call_command("bootstrap", token_file=folder / "token")

    password = folder / ".jobsched" / "admin-password"
    assert stat.S_IMODE(password.stat().st_mode) == stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    admin = User.objects.get(username="admin")
    assert admin.is_superuser and admin.check_password(password.read_text())
    assert AuthToken.objects.get().expiry is None
    client = APIClient(headers={"Authorization": f"Token {(folder / 'token').read_text()}"})
    assert client.get("/api/v1/runs/").status_code == 200


def test_a_user_who_exists_can_be_given_a_token(folder: Path) -> None:
    User.objects.create_user("ann")
    call_command("bootstrap", user="ann", token_file=folder / "token")
    assert AuthToken.objects.get().user.username == "ann"
    assert not User.objects.filter(username="admin").exists()
    call_command("bootstrap", user="ann", token_file=folder / "token")
    assert AuthToken.objects.count() == 1


def test_a_user_who_does_not_exist_is_named_in_a_sentence(folder: Path) -> None:
    with pytest.raises(CommandError, match="There is no user 'bob': create one with"):
        call_command("bootstrap", user="bob", token_file=folder / "token")
    with pytest.raises(CommandError, match="name its file with --token-file"):
        call_command("bootstrap", user="bob")


def test_without_the_app_of_tokens_a_sentence_says_what_to_add(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "knox")
    with pytest.raises(CommandError, match="'knox' is not in INSTALLED_APPS"):
        call_command("bootstrap", token_file=folder / "token")
