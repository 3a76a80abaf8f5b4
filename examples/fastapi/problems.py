"""What goes wrong, as application/problem+json: the service's own problems by HTTP."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from src.errors import Invalid, Problem, Transient, Unavailable
from src.wire import PROBLEM

NOT_NOW = {
    "type": "about:blank",
    "title": "Service Unavailable",
    "status": 503,
    "detail": "The database cannot be used now.",
    "retryable": True,
}


def handle(app: FastAPI) -> None:
    """Answer with them."""

    @app.exception_handler(Problem)
    async def answer(_: Request, problem: Problem) -> JSONResponse:
        return _response(problem)

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        return _response(Invalid(errors=[_entry(each) for each in error.errors()]))

    @app.exception_handler(Transient)
    @app.exception_handler(Unavailable)
    async def put_off(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse(NOT_NOW, 503, {"Retry-After": "1"}, media_type=PROBLEM)


def _response(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.document(), problem.status, media_type=PROBLEM)


def _entry(error: Any) -> dict[str, str]:
    _, *where = error["loc"]  # the first says: in the body, the path or the query
    return {"pointer": "".join(f"/{each}" for each in where), "message": error["msg"]}
