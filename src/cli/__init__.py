from dataclasses import dataclass
import typer
@dataclass(frozen=True)
class Target:
    rabbitmq_url: str
    database_url: str
    service: str
app = typer.Typer(no_args_is_help=True)
