"""What needs a Docker engine: the image and its containers, and servers to test against."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import docker
import pytest

from dev import compose, containers, search, servers

NAME = "db-test-container"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[docker.DockerClient]:
    if not containers.engine_answers():
        pytest.skip("NOT TESTED: there is no Docker engine")
    with closing(docker.from_env()) as engine:
        yield engine


def test_the_containers_work_and_so_do_the_commands_of_the_page_that_need_them() -> None:
    assert compose.main() == 0


@pytest.mark.parametrize("look", [servers._postgres_search, servers._rabbitmq_search, servers._mariadb_search])
def test_a_server_in_a_container_is_stopped_and_woken(
    look: Callable[[], search.Search], engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEV_SERVERS", "docker")
    server = replace(look(), container=replace(look().container, name=NAME))
    try:
        assert server.lets_in(server.run().url)
        first = engine.containers.get(NAME).id
        assert [server.container.stop(), server.container.stop()] == [True, False]
        assert server.lets_in(server.run().url)
        assert engine.containers.get(NAME).id == first
    finally:
        for container in engine.containers.list(all=True, filters={"name": NAME}):
            container.remove(force=True, v=True)
