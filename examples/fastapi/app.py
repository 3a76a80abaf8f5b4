"""``uvicorn examples.fastapi.app:app``: what there is, and the database behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Response

from examples.fastapi import problems, tasks, users
from src.library import database


class Unfit(Exception):
    """The database cannot be worked with; the message says why."""


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Begin with a database that this code fits, or not at all."""
    async with database() as opened:
        found = await opened.check()
        if not found.ok:
            raise Unfit(f"{opened.place}: {found.error or f'its schema is {found.schema}: ./db migrate'}")
        yield


app = FastAPI(title="Users and their tasks", lifespan=lifespan)
app.include_router(users.router)
app.include_router(tasks.router)
problems.handle(app)


@app.get("/health")
async def health(response: Response) -> dict[str, Any]:
    """How the database is; 503 where it cannot be worked with."""
    found = await database().check()
    response.status_code = 200 if found.ok else 503
    return {"ok": found.ok, **asdict(found)}
