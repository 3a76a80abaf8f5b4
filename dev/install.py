"""The system packages that servers of our own need, and Prometheus, which tests its rules."""

import os
import shutil
import subprocess

_SECONDS = 900.0


class InstallError(RuntimeError):
    """The package could not be installed; the message says what to do."""


def rabbitmq_server() -> None:
    """Install `rabbitmq-server` by apt-get, as root; `InstallError` where that is not possible."""
    _install("RabbitMQ", "rabbitmq-server", "start Docker, or set RABBITMQ_URL")


def mariadb_server() -> None:
    """Install `mariadb-server` by apt-get, as root; `InstallError` where that is not possible."""
    _install("MariaDB", "mariadb-server", "start Docker, or set MARIADB_URL")


def prometheus() -> None:
    """Install `prometheus` by apt-get, as root, where it is missing; `InstallError` where that is not possible."""
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        _install("Prometheus", "prometheus", "or do without its tests")


def _install(name: str, package: str, otherwise: str) -> None:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise InstallError(f"{name} is missing: install the package `{package}`, {otherwise}.")
    install = ("install", "-y", "--no-install-recommends", package)
    # A fresh system has no package lists yet, so a first failure is worth an update.
    if not (_runs(apt, *install) or (_runs(apt, "update") and _runs(apt, *install))):
        raise InstallError(f"{name} is missing and `apt-get install {package}` failed: run it and see, {otherwise}.")


def _runs(*command: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS, env=environment).returncode == 0
