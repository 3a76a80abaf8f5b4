"""The types that migrations make columns of, on each database. Landed migrations never change: nor does what is here.

What the models say in ``src/dialects/types.py`` is written so by ``make db-migrate-new``.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

MYSQL = ("mysql", "mariadb")

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql").with_variant(mysql.LONGTEXT(), *MYSQL)
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql").with_variant(sa.String(255), *MYSQL)
"""Text that is indexed."""
Word = sa.String(20).with_variant(sa.String(20, collation="C"), "postgresql")
Uncollated = sa.Text().with_variant(mysql.LONGTEXT(), *MYSQL)
"""Text before 0004."""
UncollatedKey = sa.Text().with_variant(sa.String(255), *MYSQL)
Moment = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *MYSQL)
Identifier = sa.Uuid().with_variant(sa.Uuid(native_uuid=False), *MYSQL)
Number: sa.Double[float] = sa.Double()
Json = (
    sa.JSON(none_as_null=True)
    .with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    .with_variant(mysql.LONGTEXT(), *MYSQL)
)
Digest = sa.LargeBinary(32).with_variant(mysql.BINARY(32), *MYSQL)
Blob = sa.LargeBinary().with_variant(mysql.LONGBLOB(), *MYSQL)
