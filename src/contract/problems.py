"""The problems that an operation may answer with: those of its kind, and those that its entity file declares.

Every request and every write may be answered some problems whatever the operation does. An operation that every entity
has raises those of ``src/crud.py`` that the entity's table allows, and an operation of that name in an entity file may
raise the same. Any other operation raises what a request that names a row (``Id``, ``RowRef``) may raise. The rest is
declared: ``command(..., raises=...)``, ``query(..., raises=...)``.
"""

from collections.abc import Iterable, Iterator

from src import errors
from src.base import Id, Record, RowRef
from src.entity import Entity, Operation
from src.errors import Problem
from src.persistence import relations

ALWAYS = (
    errors.Malformed,
    errors.UnsupportedEncoding,
    errors.Invalid,
    errors.TooLarge,
    errors.ResultTooLarge,
    errors.DeadlineExceeded,
    errors.RateLimited,
    errors.Internal,
)
"""The problems of any request; ``unknown-operation`` is the answer to a routing key that names no operation."""

WRITES = (errors.IdempotencyKeyReused, errors.IdempotencyKeyRequired)
"""The problems that any write may be answered besides."""

_DELETES_CHILDREN = ("CASCADE", "SET NULL")  # rules of a foreign key that let its parent be deleted


def of(operation: Operation) -> list[type[Problem]]:
    """Every problem that the operation may answer with, each once."""
    return [*ALWAYS, *(WRITES if operation.writes else ()), *beside(operation)]


def beside(operation: Operation) -> list[type[Problem]]:
    """The problems of the operation beside those of every request and every write, as ``src/errors.py`` orders them."""
    given = {*_of_kind(operation), *operation.raises} - {*ALWAYS, *(WRITES if operation.writes else ())}
    return [kind for kind in _subclasses(Problem) if kind in given]


def known(entities: Iterable[Entity]) -> list[type[Problem]]:
    """Every problem of ``src/errors.py``, and every one that an operation declares."""
    declared = {kind for entity in entities for operation in entity.operations() for kind in operation.raises}
    return [kind for kind in _subclasses(Problem) if kind in declared or kind.__module__ == errors.__name__]


def _of_kind(operation: Operation) -> Iterator[type[Problem]]:
    model, fields = operation.entity.model, operation.request.model_fields.keys()
    if issubclass(operation.request, Id):
        yield errors.NotFound
    if issubclass(operation.request, RowRef):
        yield errors.VersionMismatch
    match operation.name if operation.writes else None:
        case "create":
            yield errors.Conflict  # the id may be taken
            if relations.parents(model):
                yield errors.ForeignKey
        case "update":
            if any(not fields.isdisjoint(unique) for unique in relations.uniques(model)):
                yield errors.Conflict
            if not fields.isdisjoint(relations.parents(model)):
                yield errors.ForeignKey
        case "delete":
            if _may_be_kept(model):
                yield errors.ForeignKey
        case _:
            pass


def _may_be_kept(model: type[Record]) -> bool:
    """Whether rows of others may keep one of the model from being deleted."""
    return any(relations.on_delete(child, name) not in _DELETES_CHILDREN for child, name in relations.children(model))


def _subclasses(kind: type[Problem]) -> Iterator[type[Problem]]:
    for own in kind.__subclasses__():
        yield own
        yield from _subclasses(own)
