"""Check the migrations on a fresh database: `python -m dev.schema`.

They run from the first to the last, and the models must then hold nothing that they have not made.
"""

import os
import subprocess
import sys

from dev import database, search, servers


def main() -> int:
    """The exit code of the first step that failed, else 0."""
    try:
        found = servers.find_postgres()
    except search.NoServerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with database.fresh(found.url, "db_check") as url:
        return _alembic(url, "upgrade", "head") or _alembic(url, "check")


def _alembic(url: str, *arguments: str) -> int:
    environment = {**os.environ, "DATABASE_URL": url}
    return subprocess.run([sys.executable, "-m", "alembic", *arguments], check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
