"""One entity, one file: its table, its schemas, its operations, and ``entity = Entity(...)``."""

import importlib
import pkgutil

from src.entity import Entity


def entities() -> tuple[Entity, ...]:
    """The entity of every module in this package, which is imported first (so that ``Base.metadata`` is complete)."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").entity for name in names)
