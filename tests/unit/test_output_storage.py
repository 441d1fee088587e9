"""Stored output is for those who may see the run: where it goes without any setting, and what is refused."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, default_storage
from django.test import override_settings

from jobs.conf import conf
from jobs.output_storage import output_folder, output_name, output_storage, problem, store_token
from jobs.services.running.storing import Storing
from jobs.store.outputs import Waiting

FILES = "django.core.files.storage.FileSystemStorage"
PRIVATE = {"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path) -> Iterator[None]:
    """The settings of a project that embeds the app: public media in its default storage, and none for output."""
    with override_settings(
        BASE_DIR=tmp_path,
        JOBSCHED={},
        MEDIA_ROOT=str(tmp_path / "media"),
        STATIC_ROOT=str(tmp_path / "static"),
        STORAGES={"default": {"BACKEND": FILES}},
    ):
        conf.cache_clear()
        yield
    conf.cache_clear()


def using(**storage: Any) -> Any:
    """Choose a storage for output, beside the project's own."""
    return override_settings(STORAGES={"default": {"BACKEND": FILES}, "jobsched": storage})


def test_without_any_setting_output_is_private_and_apart_from_the_media(tmp_path: Path) -> None:
    key = output_storage().save(output_name(7, 1, 0), ContentFile(b"secret"))
    path = tmp_path / ".jobsched" / "output" / key
    assert path.read_bytes() == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in path.parents:
        if folder.is_relative_to(tmp_path / ".jobsched" / "output"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not default_storage.exists(key) and not (tmp_path / "media").exists()
    assert problem() is None


def test_names_of_output_cannot_be_guessed() -> None:
    names = {output_name(12_345, 2, 0) for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) <= 200 and name.startswith("runs/1/12345/2-000000000000-") for name in names)


def test_a_project_can_choose_another_storage(tmp_path: Path) -> None:
    with using(BACKEND=FILES, OPTIONS={"location": tmp_path / "elsewhere", **PRIVATE}):
        assert output_folder() == tmp_path / "elsewhere"
        assert problem() is None


@pytest.mark.parametrize("location", ["media", "media/deep/inside", "static/output"])
def test_a_folder_that_is_served_is_refused(tmp_path: Path, location: str) -> None:
    with using(BACKEND=FILES, OPTIONS={"location": tmp_path / location, **PRIVATE}):
        assert "makes public" in str(problem())


def test_the_default_storage_is_refused_for_output() -> None:
    with using(BACKEND=FILES):
        assert "MEDIA_ROOT" in str(problem())


def test_media_inside_the_folder_of_runs_are_refused(tmp_path: Path) -> None:
    with override_settings(MEDIA_ROOT=str(tmp_path / ".jobsched" / "output" / "runs")):
        assert "makes public" in str(problem())


def test_a_link_into_the_media_is_seen(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "innocent").symlink_to(tmp_path / "media")
    with using(BACKEND=FILES, OPTIONS={"location": tmp_path / "innocent", **PRIVATE}):
        assert "MEDIA_ROOT" in str(problem())


@pytest.mark.parametrize("entry", ["assets", ("prefix", "assets")])
def test_a_folder_of_static_files_is_refused(tmp_path: Path, entry: Any) -> None:
    entry = str(tmp_path / entry) if isinstance(entry, str) else (entry[0], str(tmp_path / entry[1]))
    with (
        override_settings(STATICFILES_DIRS=[entry]),
        using(BACKEND=FILES, OPTIONS={"location": tmp_path / "assets" / "output", **PRIVATE}),
    ):
        assert "STATICFILES_DIRS" in str(problem())


def test_a_data_folder_inside_the_media_is_refused(tmp_path: Path) -> None:
    with override_settings(MEDIA_ROOT=str(tmp_path)):
        assert "JOBSCHED['DATA_DIR']" in str(problem())


@pytest.mark.parametrize(
    ("modes", "option"),
    [
        ({}, "file_permissions_mode"),
        ({**PRIVATE, "file_permissions_mode": 0o644}, "file_permissions_mode"),
        ({**PRIVATE, "directory_permissions_mode": None}, "directory_permissions_mode"),
        ({**PRIVATE, "directory_permissions_mode": 0o755}, "directory_permissions_mode"),
    ],
)
def test_files_that_other_users_may_read_are_refused(tmp_path: Path, modes: dict[str, Any], option: str) -> None:
    with using(BACKEND=FILES, OPTIONS={"location": tmp_path / "elsewhere", **modes}):
        assert str(problem()).startswith(option)


def test_a_storage_in_memory_is_refused() -> None:
    with using(BACKEND="django.core.files.storage.InMemoryStorage"):
        assert "memory of one process" in str(problem())


class Refusing(Storage):
    """A storage whose errors are of its own, as those of many packages are, and name an account."""

    def exists(self, name: str) -> bool:
        return False

    def _save(self, name: str, content: Any) -> str:
        raise RuntimeError("account 4711 is closed")


def test_an_error_of_a_foreign_storage_costs_no_result_and_names_no_account(caplog: pytest.LogCaptureFixture) -> None:
    storing = Storing()
    with using(BACKEND="tests.unit.test_output_storage.Refusing"):
        key = storing.start(Waiting(run_id=7, attempt=1, start=0, data=b"x" * 100_000)).result(timeout=60)
    storing.close()
    assert key is None
    assert "it stays in the database run=7 attempt=1 start=0 error=RuntimeError" in caplog.text
    assert "4711" not in caplog.text


def test_a_folder_has_one_token_for_all_that_share_it(tmp_path: Path) -> None:
    with using(BACKEND=FILES, OPTIONS={"location": tmp_path / "shared", **PRIVATE}):
        assert store_token() is None
        with ThreadPoolExecutor(8) as threads:
            tokens = set(threads.map(lambda _: store_token(create=True), range(40)))
    assert len(tokens) == 1
    assert None not in tokens
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [".store"]
    with using(BACKEND=FILES, OPTIONS={"location": tmp_path / "other", **PRIVATE}):
        assert store_token(create=True) not in tokens


def test_a_storage_that_cannot_be_made_is_refused_in_one_sentence() -> None:
    with using(BACKEND="nowhere.Storage"):
        assert str(problem()).startswith("The storage of output cannot be made: ")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"default_acl": "public-read"}, "default_acl"),
        ({"querystring_auth": False}, "querystring_auth"),
        ({"custom_domain": "media.example.com"}, "custom_domain"),
    ],
)
def test_a_public_bucket_is_refused(options: dict[str, Any], word: str) -> None:
    pytest.importorskip("storages", reason="the s3 extra is not installed; `make install` brings it")
    with using(BACKEND="config.bucket.BucketStorage", OPTIONS={"bucket_name": "b", **options}):
        assert word in str(problem())
    with using(BACKEND="config.bucket.BucketStorage", OPTIONS={"bucket_name": "b"}):
        assert problem() is None


def test_django_checks_the_storage(tmp_path: Path) -> None:
    with using(BACKEND=FILES):
        assert "jobs.E006" in [message.id for message in run_checks(tags=["jobs"])]
    assert "jobs.E006" not in [message.id for message in run_checks(tags=["jobs"])]
