"""Mutants, one file a room of ``src``: ``python -m dev.mutants`` runs the tests against each."""

from dev.mutants import (
    admin,
    amqp,
    cli,
    consumers,
    contract,
    dead_letters,
    dialects,
    models,
    persistence,
    processing,
    root,
)
from dev.mutants.mutant import Mutant

MUTANTS: list[Mutant] = [
    *admin.MUTANTS,
    *amqp.MUTANTS,
    *cli.MUTANTS,
    *consumers.MUTANTS,
    *contract.MUTANTS,
    *dead_letters.MUTANTS,
    *dialects.MUTANTS,
    *models.MUTANTS,
    *persistence.MUTANTS,
    *processing.MUTANTS,
    *root.MUTANTS,
]
