"""Run output in S3, or in any server that speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from django.core.files.base import ContentFile, File
from storages.backends.s3 import S3Storage  # type: ignore[import-untyped]

# A worker stores output between two heartbeats: a server that does not answer must not cost it its lease.
_PATIENCE = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})


class BucketStorage(S3Storage):  # type: ignore[misc]
    """Django's storage contract over a private bucket.

    Whatever goes wrong is an OSError, as it is with files, and FileNotFoundError for a name that is not there.
    """

    def __init__(self, **settings: Any) -> None:
        private = {"default_acl": None, "file_overwrite": False, "client_config": _PATIENCE}
        super().__init__(**{**private, **settings})

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        # Read at once: a lazy read would raise the client's own errors later, outside this method.
        with _as_os_errors(name), super()._open(name, mode) as remote:
            return ContentFile(remote.read(), name=name)

    def _save(self, name: str, content: File[bytes]) -> str:
        with _as_os_errors(name):
            return str(super()._save(name, content))

    def exists(self, name: str) -> bool:
        """Tell whether the name is taken; `save` asks before it writes."""
        with _as_os_errors(name):
            return bool(super().exists(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return the names of folders and of objects in a folder."""
        with _as_os_errors(path):
            folders, names = super().listdir(path)
            return list(folders), list(names)

    def get_modified_time(self, name: str) -> datetime:
        """Return when the object was written."""
        with _as_os_errors(name):
            modified: datetime = super().get_modified_time(name)
            return modified

    def delete(self, name: str) -> None:
        """Remove the name. One that is not there is no error."""
        with _as_os_errors(name):
            super().delete(name)


@contextmanager
def _as_os_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        # The code only: the full message may name keys and accounts.
        raise OSError(f"the bucket answered {error.response['Error']['Code']} for {name}") from error
    except BotoCoreError as error:
        raise OSError(f"the bucket cannot be used for {name}: {type(error).__name__}") from error
