"""What code in a process of its own needs, from one place: the models and schemas, ``engine`` and its sessions.

Beside what is written here, these are found when they are asked for::

    engine          that of ``database()``
    CurrentSession  get_session as a dependency of FastAPI: committed before the answer is sent
    CurrentReading  get_reading as one
    User, Task, ReadTask, TaskStatus, …  every class of every entity
"""

import inspect
from collections.abc import AsyncIterator
from functools import cache
from importlib import import_module
from typing import Annotated, Any

from sqlalchemy.ext.asyncio import AsyncSession

from src import models
from src.base import Base
from src.database import Database
from src.database_status import Check

__all__ = ["Base", "Check", "Database", "database", "get_reading", "get_session"]


@cache
def database() -> Database:
    """That of this process, as the settings say. Raises WrongSettings."""
    return Database.from_settings()


async def get_session() -> AsyncIterator[AsyncSession]:
    """A session that is committed at the end, rolled back where anything is raised."""
    async with database().session() as session:
        yield session


async def get_reading() -> AsyncIterator[AsyncSession]:
    """A session that changes nothing, and keeps nobody from changing what it reads."""
    async with database().reading() as session:
        yield session


def __getattr__(name: str) -> Any:
    match name:
        case "engine":
            return database().engine
        case "CurrentSession":
            return _dependency(get_session)
        case "CurrentReading":
            return _dependency(get_reading)
        case _ if name in _classes():
            return _classes()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=None)


def _dependency(get: Any) -> Any:
    from fastapi import Depends  # noqa: PLC0415 - whoever has no FastAPI needs none

    return Annotated[AsyncSession, Depends(get, scope="function")]  # it ends before the answer is sent


@cache
def _classes() -> dict[str, Any]:
    """Those that the modules of the entities define."""
    modules = [import_module(entity.model.__module__) for entity in models.entities()]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }
