"""The account a server runs under: PostgreSQL refuses root, RabbitMQ has one of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Account:
    """An unprivileged account of this system."""

    name: str
    uid: int
    gid: int


def unprivileged(*names: str) -> Account | None:
    """The first of these accounts that exists where we are root, else None: run as we are."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in names:
        if name in known:
            return Account(name, known[name].pw_uid, known[name].pw_gid)
    raise LookupError(f"running as root, and none of these accounts exists: {', '.join(names)}")


def as_account(account: Account | None) -> dict[str, Any]:
    """The arguments that make `subprocess` run a command under the account."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def reaches(path: Path, account: Account | None) -> bool:
    """Whether the account can read `path`, every folder above it included."""
    test = ["/bin/sh", "-c", 'test -r "$1"', "test", str(path)]
    return subprocess.run(test, check=False, cwd="/", **as_account(account)).returncode == 0


def own_folder(folder: Path, account: Account | None) -> Path:
    """Make `folder` the account's own; where it cannot get there, a new temporary folder instead."""
    folder.mkdir(parents=True, exist_ok=True)
    if account is None:
        return folder
    shutil.chown(folder, account.uid, account.gid)
    if reaches(folder, account):
        return folder
    folder.rmdir()
    elsewhere = Path(tempfile.mkdtemp(prefix="db-server-"))
    shutil.chown(elsewhere, account.uid, account.gid)
    if not reaches(elsewhere, account):
        raise PermissionError(f"{account.name} can enter neither {folder} nor {elsewhere}")
    return elsewhere
