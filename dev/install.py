"""The one system package that a private RabbitMQ needs."""

import os
import shutil
import subprocess

_PACKAGE = "rabbitmq-server"
_SECONDS = 900.0


class InstallError(RuntimeError):
    """The package could not be installed; the message says what to do."""


def rabbitmq_server() -> None:
    """Install `rabbitmq-server` by apt-get, as root; `InstallError` where that is not possible."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise InstallError(f"RabbitMQ is missing: install the package `{_PACKAGE}`, start Docker, or set RABBITMQ_URL.")
    install = ("install", "-y", _PACKAGE)
    # A fresh system has no package lists yet, so a first failure is worth an update.
    if not (_runs(apt, *install) or (_runs(apt, "update") and _runs(apt, *install))):
        raise InstallError(
            f"RabbitMQ is missing and `apt-get install {_PACKAGE}` failed: run it and see, or set RABBITMQ_URL."
        )


def _runs(*command: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS, env=environment).returncode == 0
