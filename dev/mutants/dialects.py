"""Mutants of ``src/dialects`` and ``src/database.py``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "text is cut to the length of its column",
        "src/dialects/postgresql.py",
        "    return sa.Text() if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum) else kind",
        "    return kind",
        ["tests/guarantees/test_blame.py::test_a_bad_request_among_many_fails_alone"],
    ),
    Mutant(
        "a migration waits in front of everybody",
        "src/dialects/postgresql.py",
        "f\"SET lock_timeout = '{dialect.MIGRATION_LOCK_TIMEOUT}s'\"",
        "\"SET lock_timeout = '0s'\"",
        ["tests/deploy/test_deploy.py::test_a_migration_behind_a_long_transaction_lets_others_pass"],
    ),
    Mutant(
        "a statement of an altered table is nobody's fault",
        "src/dialects/postgresql.py",
        '        "invalid cached statement": Transient,  # the driver\'s own: a migration has run\n',
        "",
        ["tests/guarantees/test_altered.py::test_what_meets_an_altered_table_is_served"],
    ),
    Mutant(
        "nobody asks the database for the time",
        "src/database.py",
        "        now.correct(time, asked)\n",
        "",
        ["tests/test_clock.py::test_the_time_is_the_databases_wherever_it_goes"],
    ),
    Mutant(
        "SQLite: a list is a parameter for each value",
        "src/dialects/sqlite.py",
        "column.in_(sa.select(value))",
        "column.in_(sa.bindparam(parameter, type_=column.type, expanding=True))",
        ["tests/databases/test_sqlite.py::test_there_may_be_more_values_than_a_statement_may_have_parameters"],
    ),
    Mutant(
        "SQLite: a transaction that writes begins as one that reads",
        "src/dialects/sqlite.py",
        '"BEGIN" if options.get(READING) else "BEGIN IMMEDIATE"',
        '"BEGIN"',
        [
            "tests/databases/test_sqlite.py::test_a_transaction_that_writes_says_so_as_it_begins_and_others_read_meanwhile"
        ],
    ),
    Mutant(
        "SQLite: who reads waits for who writes",
        "src/dialects/sqlite.py",
        '"BEGIN" if options.get(READING) else "BEGIN IMMEDIATE"',
        '"BEGIN IMMEDIATE"',
        [
            "tests/databases/test_sqlite.py::test_a_transaction_that_writes_says_so_as_it_begins_and_others_read_meanwhile"
        ],
    ),
    Mutant(
        "SQLite: a file is served by several",
        "src/dialects/sqlite.py",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        ["tests/databases/test_sqlite.py::test_a_file_is_served_by_one_process_whatever_it_is_called"],
    ),
    Mutant(
        "SQLite: a link to a file is another file",
        "src/dialects/sqlite.py",
        "{path.resolve()}.serving",
        "{path}.serving",
        ["tests/databases/test_sqlite.py::test_a_file_is_served_by_one_process_whatever_it_is_called"],
    ),
    Mutant(
        "SQLite: nobody waits for the disk",
        "src/dialects/sqlite.py",
        "synchronous = FULL",
        "synchronous = OFF",
        ["tests/databases/test_sqlite.py::test_a_connection_keeps_what_it_commits_and_knows_its_foreign_keys"],
    ),
    Mutant(
        "SQLite: a thread is left of what could not be opened",
        "src/dialects/sqlite.py",
        '            "async_creator_fn": _open,\n',
        "",
        ["tests/databases/test_sqlite.py::test_what_cannot_be_opened_leaves_no_thread_that_outlives_the_loop"],
    ),
    Mutant(
        "SQLite: lower is that of ASCII",
        "src/dialects/sqlite.py",
        'FUNCTIONS = {"lower": _lower, ',
        "FUNCTIONS = {",
        ["tests/databases/test_sqlite.py::test_lower_knows_all_letters"],
    ),
    Mutant(
        "SQLite: a full disk is a fault of who asks",
        "src/dialects/sqlite.py",
        '        "SQLITE_IOERR": Unavailable,\n',
        "",
        ["tests/databases/test_sqlite.py::test_a_full_disk_is_waited_for"],
    ),
    Mutant(
        "SQLite: a locked file is a fault of who asks",
        "src/dialects/sqlite.py",
        '        "SQLITE_BUSY": Transient,\n',
        "",
        ["tests/databases/test_sqlite.py::test_that_a_statement_finds_the_file_locked_is_the_moments_fault"],
    ),
    Mutant(
        "a database in memory is another one for the probe",
        "src/dialects/engines.py",
        "pooled if found.in_memory else ",
        "",
        ["tests/databases/test_sqlite.py::test_a_database_in_memory_is_one_for_all_who_ask"],
    ),
    Mutant(
        "a database that only reads is well",
        "src/database_status.py",
        "return self.writable and",
        "return",
        ["tests/library/test_database.py::test_a_database_that_only_reads_is_told"],
    ),
    Mutant(
        "MariaDB: text is compared with its end cut off",
        "src/dialects/mysql.py",
        'COLLATION = "utf8mb4_nopad_bin"',
        'COLLATION = "utf8mb4_bin"',
        ["tests/databases/mariadb/test_mariadb.py::test_texts_that_differ_in_case_or_spaces_are_two"],
    ),
    Mutant(
        "MariaDB: a transaction sees what there was as it began",
        "src/dialects/mysql.py",
        '{"isolation_level": "READ COMMITTED"}',
        '{"isolation_level": "REPEATABLE READ"}',
        ["tests/databases/mariadb/test_transactions.py::test_a_transaction_sees_what_was_committed_since_it_began"],
    ),
    Mutant(
        "MariaDB: a packet is as large as it is",
        "src/dialects/mysql.py",
        '        event.listen(engine, "before_cursor_execute", _check_packet)\n',
        "",
        ["tests/databases/mariadb/test_mariadb.py::test_what_no_packet_holds_is_refused_before_it_is_sent"],
    ),
    Mutant(
        "MariaDB: an answer is waited for however long",
        "src/dialects/mysql.py",
        "None if without_timeouts else dialect.COMMAND_TIMEOUT",
        "None",
        ["tests/databases/mariadb/test_mariadb.py::test_a_server_that_says_nothing_is_not_waited_for"],
    ),
    Mutant(
        "MariaDB: the driver logs the server's warnings",
        "src/dialects/mysql.py",
        'logging.getLogger("asyncmy").setLevel(logging.ERROR)',
        'logging.getLogger("asyncmy")',
        ["tests/databases/mariadb/test_mariadb.py::test_no_key_that_another_has_served_is_logged"],
    ),
    Mutant(
        "MariaDB: a savepoint that is gone is a fault of who asks",
        "src/dialects/mysql.py",
        "        1305,  # the savepoint is gone, and with it the transaction: a deadlock has ended it\n",
        "",
        [
            "tests/databases/mariadb/test_transactions.py::test_a_unit_of_work_whose_transaction_a_deadlock_has_ended_keeps_all_or_nothing[False]"
        ],
    ),
    Mutant(
        "an enum's column compares as the database does",
        "src/dialects/types.py",
        'f\'{kind} COLLATE "C"\' if isinstance(options.get("type_expression"), sa.Column) else kind',
        "kind",
        ["tests/test_migrations.py::test_the_migrations_make_the_schema_of_the_models"],
    ),
    Mutant(
        "what a driver raises outside a statement comes out as it is",
        "src/dialects/driver_errors.py",
        "case _ if dialects.is_raw(error):",
        "case _ if False:",
        [
            "tests/library/test_cut.py::test_what_a_driver_raises_outside_a_statement_is_an_outage_and_no_connection_is_missing"
        ],
    ),
    Mutant(
        "a rollback that fails leaves its connection in use",
        "src/persistence/session_connection.py",
        "    finally:\n        await sever(session)\n",
        "    finally:\n        pass\n",
        [
            "tests/library/test_cut.py::test_what_a_driver_raises_outside_a_statement_is_an_outage_and_no_connection_is_missing"
        ],
    ),
    Mutant(
        "a rollback that fails hides what the block raised",
        "src/persistence/session_connection.py",
        "    except Exception as error:\n        log",
        "    except ZeroDivisionError as error:\n        log",
        ["tests/library/test_cut.py::test_what_a_block_raises_comes_out_though_its_rollback_fails"],
    ),
    Mutant(
        "MariaDB: a read sees what was committed since it began",
        "src/dialects/mysql.py",
        '        event.listen(engine, "begin", _begin)\n',
        "",
        ["tests/databases/mariadb/test_transactions.py::test_a_read_sees_one_snapshot"],
    ),
]
