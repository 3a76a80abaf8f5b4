"""Databases that are made, cloned and dropped beside another one, each kind in its own way."""

import asyncio
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from src.database import Database


class Kind(ABC):
    """One kind of database server. Raises what the driver raises."""

    @abstractmethod
    async def make(self, url: sa.URL, template: sa.URL | None) -> None:
        """Make this database, empty or a clone of another that nobody is connected to."""

    @abstractmethod
    async def drop(self, url: sa.URL) -> None:
        """Drop this database, if it is there, whoever is connected to it."""

    def beside(self, url: sa.URL, name: str) -> sa.URL:
        """Where the database of this name is."""
        return url.set(database=name)


class _PostgreSQL(Kind):
    async def make(self, url: sa.URL, template: sa.URL | None) -> None:
        async with _administering(url.set(database="postgres")) as connection:
            source = template.database if template else "template1"
            await connection.exec_driver_sql(f'CREATE DATABASE "{url.database}" TEMPLATE "{source}"')

    async def drop(self, url: sa.URL) -> None:
        async with _administering(url.set(database="postgres")) as connection:
            await connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')


class _MariaDB(Kind):
    async def make(self, url: sa.URL, template: sa.URL | None) -> None:
        async with _administering(url.set(database="information_schema")) as connection:
            await connection.exec_driver_sql(f"CREATE DATABASE `{url.database}` COLLATE utf8mb4_nopad_bin")
            if template:
                await self._copy(connection, str(template.database), str(url.database))

    async def _copy(self, connection: AsyncConnection, source: str, target: str) -> None:
        tables = (await connection.exec_driver_sql(f"SHOW TABLES IN `{source}`")).scalars().all()
        shown = [await connection.exec_driver_sql(f"SHOW CREATE TABLE `{source}`.`{each}`") for each in tables]
        made = [str(each.mappings().one()["Create Table"]) for each in shown]
        await connection.exec_driver_sql(f"USE `{target}`")
        await connection.exec_driver_sql("SET foreign_key_checks = 0")
        for table, statement in zip(tables, made, strict=True):
            await connection.exec_driver_sql(statement.replace("%", "%%"))
            await connection.exec_driver_sql(f"INSERT INTO `{table}` SELECT * FROM `{source}`.`{table}`")  # noqa: S608 - both are ours

    async def drop(self, url: sa.URL) -> None:
        async with _administering(url.set(database="information_schema")) as connection:
            await connection.exec_driver_sql(f"DROP DATABASE IF EXISTS `{url.database}`")


class _SQLite(Kind):
    SUFFIXES: ClassVar = ("", "-wal", "-shm", ".serving")

    async def make(self, url: sa.URL, template: sa.URL | None) -> None:
        if template:
            await asyncio.to_thread(shutil.copyfile, str(template.database), str(url.database))

    async def drop(self, url: sa.URL) -> None:
        for suffix in self.SUFFIXES:
            Path(f"{url.database}{suffix}").unlink(missing_ok=True)  # noqa: ASYNC240 - as quick as it gets

    def beside(self, url: sa.URL, name: str) -> sa.URL:
        return url.set(database=str(Path(str(url.database)).with_name(f"{name}.db")))


_MARIADB = _MariaDB()
_KINDS: dict[str, Kind] = {"postgresql": _PostgreSQL(), "mysql": _MARIADB, "mariadb": _MARIADB, "sqlite": _SQLite()}


def of(url: str) -> Kind:
    """The kind of the database at this URL."""
    return _KINDS[sa.make_url(url).get_backend_name()]


async def make(url: str, name: str, template: str | None = None) -> str:
    """The URL of a new database of this name, beside that at ``url``; a clone of ``template``, if that is given."""
    made = of(url).beside(sa.make_url(url), name)
    await of(url).make(made, (template and sa.make_url(template)) or None)
    return made.render_as_string(hide_password=False)


async def drop(url: str) -> None:
    """Drop the database at this URL."""
    await of(url).drop(sa.make_url(url))


@asynccontextmanager
async def _administering(url: sa.URL) -> AsyncIterator[AsyncConnection]:
    async with Database(url.render_as_string(hide_password=False)).connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")
