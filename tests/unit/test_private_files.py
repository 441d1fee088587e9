"""Runs cannot open the files that secrets of the installation were read from, where a mount namespace is possible."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.services.running import slot
from jobsched.secretfiles import files_read, secret
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, shell


def written(file: Path) -> Path:
    file.write_text("a-needle")
    file.chmod(0o600)
    return file


def test_the_files_that_secrets_were_read_from_are_known(tmp_path: Path) -> None:
    file = written(tmp_path / "key")
    assert file not in files_read()
    secret("SHOP_KEY", {"SHOP_KEY_FILE": str(file)})
    assert file in files_read()


def test_a_run_cannot_open_the_files_with_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, of_a_project, of_boto = (written(tmp_path / name) for name in ("broker", "shop", "aws"))
    other = written(tmp_path / "other")
    monkeypatch.setenv("JOBSCHED_ISOLATION", "namespace")
    monkeypatch.setenv("JOBSCHED_BROKER_URL_FILE", str(named))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(of_boto))
    monkeypatch.setattr(slot, "_covered", ())
    secret("SHOP_KEY", {"SHOP_KEY_FILE": str(of_a_project)})
    slot.cover_private_files()
    with slot.make_engine(after_fork=lambda: None) as engine:
        work = shell(f"cd {tmp_path}; grep -c needle broker shop aws other")
        report = engine.perform(work, ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
    found = report.output.decode().split()
    assert found == ["broker:0", "shop:0", "aws:0", f"{other.name}:1"]
