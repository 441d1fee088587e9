"""Make a new installation usable: an administrator who can sign in, and a token for the REST API."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from jobs.conf import conf
from jobsched.domain.errors import InvalidInput
from jobsched.secretfiles import secret

ADMIN = "admin"


class Command(BaseCommand):
    """`bootstrap`: safe to repeat; it never changes an administrator or a token that are there."""

    help = (
        f"Create the superuser '{ADMIN}' with the password in JOBSCHED_ADMIN_PASSWORD, or in the file that "
        "JOBSCHED_ADMIN_PASSWORD_FILE names (without either, a generated one goes into the file admin-password in the "
        "data folder), and with --token-file a token for the REST API, which does not expire."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--token-file",
            type=Path,
            help="keep a token for the REST API in this file, readable by its owner only",
        )
        parser.add_argument("--user", help="make the token for this user, who exists, and create no superuser")

    def handle(self, *args: Any, token_file: Path | None = None, user: str | None = None, **options: Any) -> None:
        if user is not None and token_file is None:
            raise CommandError("--user says for whom a token is: name its file with --token-file.")
        with transaction.atomic():
            owner = self._admin() if user is None else _existing(user)
            if token_file is not None:
                self._token(owner, token_file)

    def _admin(self) -> AbstractBaseUser:
        found = _user(ADMIN)
        if found is not None:
            self.stdout.write(f"user {ADMIN} is there")
            return found
        try:
            password = secret("JOBSCHED_ADMIN_PASSWORD", os.environ)
        except InvalidInput as error:
            raise CommandError(str(error)) from None
        if not password:
            password = secrets.token_urlsafe(12)
            path = conf().data_dir / "admin-password"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_private(path, password)
            self.stdout.write(f"the password of {ADMIN} is in {path}")
        created = _create_superuser(password)
        self.stdout.write(f"user {ADMIN} created")
        return created

    def _token(self, owner: AbstractBaseUser, path: Path) -> None:
        if not apps.is_installed("knox"):
            raise CommandError("'knox' is not in INSTALLED_APPS: add it for the tokens of the API, and run `migrate`.")
        from knox.crypto import hash_token  # its models cannot be imported where the app is not installed
        from knox.models import AuthToken

        if path.exists() and AuthToken.objects.filter(digest=hash_token(path.read_text().strip())).exists():
            self.stdout.write("the token is there")
            return
        _, token = AuthToken.objects.create(owner, expiry=None)
        _write_private(path, token)
        self.stdout.write(f"a token is in {path}")


def _user(name: str) -> AbstractBaseUser | None:
    model = get_user_model()
    return model.objects.filter(**{model.USERNAME_FIELD: name}).first()


def _existing(name: str) -> AbstractBaseUser:
    found = _user(name)
    if found is None:
        raise CommandError(f"There is no user '{name}': create one with `manage.py createsuperuser`, or in the admin.")
    return found


def _create_superuser(password: str) -> AbstractBaseUser:
    """Raises CommandError where the project's own model of users needs more than is known here."""
    model = get_user_model()
    more = set(model.REQUIRED_FIELDS) - {"email"}
    if more:
        raise CommandError(
            f"A user of this project needs more than a name and a password ({', '.join(sorted(more))}): create one "
            "with `manage.py createsuperuser`, and a token with `manage.py bootstrap --user NAME --token-file FILE`."
        )
    fields = {model.USERNAME_FIELD: ADMIN, "password": password}
    return model.objects.create_superuser(**fields, **({"email": ""} if "email" in model.REQUIRED_FIELDS else {}))


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
