"""The rules in ``deploy/`` by Prometheus' own tools: they parse, and each has something to go by."""

import asyncio
import contextlib
import json
import math
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import config
from dev import install, ports
from src.startup import serving_http
from tests.support import harness, requester, scraped

RULES = harness.ROOT / "deploy/alerts.yml"
CONFIGURATION = """
global: {scrape_interval: 1s}
rule_files: [%(rules)s]
scrape_configs:
  - {job_name: db, static_configs: [{targets: ["127.0.0.1:%(port)d"]}]}
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """Prometheus and its promtool, installed where they are missing."""
    try:
        install.prometheus()
    except install.InstallError as error:
        pytest.skip(f"NOT TESTED: {error}")


def promtool(*arguments: str, text: str = "") -> str:
    ended = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_the_rules_are_rules() -> None:
    number = len(re.findall(r"^ +- alert:", RULES.read_text(), re.MULTILINE))
    assert f"{number} rules found" in promtool("check", "rules", str(RULES))


NOBODY = """
rule_files: [%s]
tests:
  - input_series: []
    alert_rule_test:
      - eval_time: 5m
        alertname: DbReplicaAway
        exp_alerts:
          - exp_labels: {severity: critical, job: db}
            exp_annotations: {summary: every replica does not answer}
"""


def test_that_no_replica_is_known_is_an_alert_too(tmp_path: Path) -> None:
    (tmp_path / "tests.yml").write_text(NOBODY % RULES)
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "tests.yml"))


async def test_the_metrics_are_metrics(own_settings: config.Settings) -> None:
    async with busy(own_settings) as port:
        text = (await scraped.ask(port, "/metrics")).body.decode()
    assert not promtool("check", "metrics", text=text)  # what it has to say is a complaint


async def test_each_expression_of_the_rules_finds_data_of_a_busy_service(
    own_settings: config.Settings, tmp_path: Path
) -> None:
    async with busy(own_settings) as port, prometheus(port, tmp_path) as its:
        await harness.eventually(lambda: scraped_often(its), "it has scraped more than once")
        for rule in await rules(its):
            compared = re.fullmatch(r"(.+) [<>] [\d.]+", rule["query"])
            assert compared, rule
            found = [float(each["value"][1]) for each in await query(its, compared[1])]
            assert found, rule
            assert not any(map(math.isnan, found)), rule


@contextlib.asynccontextmanager
async def busy(settings: config.Settings) -> AsyncIterator[int]:
    """The port of a service that has something to do."""
    (port,) = ports.free(1)
    chosen = settings.model_copy(update={"http_port": port})
    async with harness.running(chosen) as service, serving_http(service), requester.asking(settings) as db:
        asking = asyncio.create_task(ask(db))
        yield port
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def ask(db: requester.Requester) -> None:
    while True:
        await db.ask("session.create")
        await db.ask("session.count")
        await db.ask("stranger.call")


@contextlib.asynccontextmanager
async def prometheus(port: int, folder: Path) -> AsyncIterator[int]:
    """The port of a Prometheus that scrapes this one."""
    (its,) = ports.free(1)
    configuration = folder / "prometheus.yml"
    configuration.write_text(CONFIGURATION % {"rules": RULES, "port": port})
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{its}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield its
    finally:
        process.terminate()
        await process.wait()


async def rules(port: int) -> list[Any]:
    """The rules as Prometheus has read them."""
    (group,) = (await asyncio.to_thread(_get, port, "rules"))["groups"]
    return list(group["rules"])


async def query(port: int, expression: str) -> list[Any]:
    path = f"query?query={urllib.parse.quote(expression)}"
    return list((await asyncio.to_thread(_get, port, path))["result"])


def _get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)["data"]


async def scraped_often(port: int) -> bool:
    with contextlib.suppress(OSError):
        counted = await query(port, 'count_over_time(up{job="db"}[1m])')
        return bool(counted) and int(counted[0]["value"][1]) >= 5
    return False
