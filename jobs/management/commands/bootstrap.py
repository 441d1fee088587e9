"""Make a new installation usable: an administrator who can sign in, and a token for the REST API."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from knox.crypto import hash_token
from knox.models import AuthToken

from jobsched.domain.errors import InvalidInput
from jobsched.secretfiles import secret

ADMIN = "admin"


class Command(BaseCommand):
    """`bootstrap`: safe to repeat; it never changes an administrator or a token that are there."""

    help = (
        f"Create the superuser '{ADMIN}' with the password in JOBSCHED_ADMIN_PASSWORD, or in the file that "
        "JOBSCHED_ADMIN_PASSWORD_FILE names (without either, a generated one goes into the file admin-password in the "
        "data folder), and with --token-file a token for the REST API."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--token-file",
            type=Path,
            help="keep a token for the REST API in this file, readable by its owner only",
        )

    def handle(self, *args: Any, token_file: Path | None = None, **options: Any) -> None:
        with transaction.atomic():
            admin = self._admin()
            if token_file is not None:
                self._token(admin, token_file)

    def _admin(self) -> AbstractUser:
        model = get_user_model()
        found = model.objects.filter(username=ADMIN).first()
        if found is not None:
            self.stdout.write(f"user {ADMIN} is there")
            return found
        try:
            password = secret("JOBSCHED_ADMIN_PASSWORD", os.environ)
        except InvalidInput as error:
            raise CommandError(str(error)) from None
        if not password:
            password = secrets.token_urlsafe(12)
            path = Path(settings.DATA_DIR) / "admin-password"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_private(path, password)
            self.stdout.write(f"the password of {ADMIN} is in {path}")
        self.stdout.write(f"user {ADMIN} created")
        return model.objects.create_superuser(ADMIN, email="", password=password)

    def _token(self, admin: AbstractUser, path: Path) -> None:
        if path.exists() and AuthToken.objects.filter(digest=hash_token(path.read_text().strip())).exists():
            self.stdout.write("the token is there")
            return
        _, token = AuthToken.objects.create(admin)
        _write_private(path, token)
        self.stdout.write(f"a token is in {path}")


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
