"""Mutants of ``src/persistence``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "no flush before a deletion that takes others along",
        "src/persistence/write_map.py",
        "        await self.session.flush()\n        connection = await",
        "        connection = await",
        ["tests/processing/test_batches.py::test_a_row_can_be_made_and_deleted_and_made_anew_in_one_batch"],
    ),
    Mutant(
        "what a deletion reaches is not read again",
        "src/persistence/write_map.py",
        "        for model in consequences.models:\n            await self._reload(model)\n",
        "",
        [
            "tests/processing/test_batches.py::test_what_refers_to_a_row_that_goes_with_its_parent_is_answered_as_the_database_left_it"
        ],
    ),
    Mutant(
        "a handler's rows are forgotten by a deletion",
        "src/persistence/write_map.py",
        "        held = self.changes.held(model)\n",
        "        held: list[Record] = []\n",
        [
            "tests/processing/test_batches.py::test_a_row_that_a_handler_holds_can_be_changed_after_its_parent_is_deleted"
        ],
    ),
    Mutant(
        "listed rows are nobody's change",
        "src/persistence/write_map.py",
        "            self._add(row)\n            self.changes.track(row)\n",
        "            self._add(row)\n",
        [
            "tests/processing/test_batches.py::test_a_row_that_a_handler_found_in_a_list_and_changed_has_a_version_more_and_an_event"
        ],
    ),
    Mutant(
        "listed rows are not locked",
        "src/persistence/loading.py",
        "    locked = statement.with_for_update(key_share=True)\n",
        "    locked = statement\n",
        ["tests/processing/test_batches.py::test_what_a_handler_has_listed_waits_for_it"],
    ),
    Mutant(
        "a freed name stays taken",
        "src/persistence/write_map.py",
        "            await self.write_unique_values()\n        return await super().find",
        "            pass\n        return await super().find",
        ["tests/processing/test_batches.py::test_a_name_that_is_freed_can_be_taken_by_the_same_request"],
    ),
    Mutant(
        "a foreign key needs no relationship",
        "src/persistence/relations.py",
        "        if key.parent not in related:\n",
        "        if key.parent is None:\n",
        ["tests/project/test_conventions.py::test_a_foreign_key_without_a_relationship_is_a_clear_error"],
    ),
    Mutant(
        "a deletion counts no versions",
        "src/persistence/cascades.py",
        "values(emptied | versioning.increment_in_sql(model, MOMENT))",
        "values(emptied)",
        ["tests/processing/test_batches.py::test_a_deletion_counts_the_versions_of_the_rows_that_referred_to_it"],
    ),
    Mutant(
        "children are written before parents",
        "src/persistence/bulk_writes.py",
        "        for model in sorted(tables, key=_dependency_order):",
        "        for model in sorted(tables, key=_dependency_order, reverse=True):",
        ["tests/processing/test_batches.py::test_parents_and_children_of_one_batch_are_written_together"],
    ),
    Mutant(
        "a leaf that is deleted may be made anew at once",
        "src/persistence/write_map.py",
        "        if row.id in self.writer.deleted.get(type(row), ()):\n            await self.session.flush()\n",
        "",
        ["tests/processing/test_batches.py::test_a_leaf_can_be_deleted_and_made_anew_in_one_batch"],
    ),
    Mutant(
        "written rows are unknown to the session",
        "src/persistence/bulk_writes.py",
        "        if not self.last:\n",
        "        if False:\n",
        ["tests/processing/test_batches.py::test_a_row_can_be_changed_after_it_was_written_in_the_middle_of_a_batch"],
    ),
    Mutant(
        "what is taken back stays in the rows",
        "src/persistence/batch_map.py",
        "                setattr(row, name, value)\n",
        "                pass\n",
        [
            "tests/processing/test_row_size.py::test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once"
        ],
    ),
    Mutant(
        "a row made by a refused request is written",
        "src/persistence/batch_map.py",
        "            self.writer.discard(row)\n            self._free_unique_values(row)\n",
        "            self._free_unique_values(row)\n",
        [
            "tests/processing/test_row_size.py::test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once"
        ],
    ),
    Mutant(
        "rows are listed however large they are",
        "src/persistence/chunked_reads.py",
        "        return cls(model, statement, sized, statement.where(total <= CHUNK))\n",
        "        return cls(model, statement, sized, statement)\n",
        ["tests/persistence/test_chunked_reads.py::test_a_list_of_large_rows_reads_no_more_than_an_answer_and_a_piece"],
    ),
    Mutant(
        "that a row was not there is remembered after it was made",
        "src/persistence/identity_map.py",
        "        self._parents.pop(key, None)\n",
        "",
        ["tests/processing/test_properties.py::test_what_was_found_once"],
    ),
    Mutant(
        "crud goes on after a refusal",
        "src/persistence/identity_map.py",
        "        raise error\n",
        "        pass\n",
        ["tests/processing/test_properties.py::test_what_was_found_once"],
    ),
    Mutant(
        "what a session of one's own changes is not counted",
        "src/persistence/write_session.py",
        "rows.versions.count(self, rows.is_locked)",
        "False",
        ["tests/library/test_versions.py::test_a_change_counts_when_it_is_written"],
    ),
    Mutant(
        "a row counts each time it is written",
        "src/persistence/version_counter.py",
        "written - 1 if self._given.get(row) == written else written",
        "written",
        ["tests/library/test_versions.py::test_several_changes_of_a_transaction_count_once"],
    ),
    Mutant(
        "what changes in a new row counts",
        "src/persistence/version_counter.py",
        "        self._given |= {row: row.version for row in session.new if isinstance(row, Record)}\n",
        "",
        ["tests/library/test_versions.py::test_a_new_row_has_version_1_whatever_its_transaction_does_to_it"],
    ),
    Mutant(
        "what the session's own deletion changes is not counted",
        "src/persistence/version_counter.py",
        'session.connection().execute(update, {"row_id": row.id, "moment": now()})',
        "pass",
        ["tests/library/test_versions.py::test_what_a_deletion_changes_counts"],
    ),
    Mutant(
        "a commit of one's own begins nothing anew",
        "src/persistence/write_session.py",
        "        rows.versions.clear()\n",
        "",
        ["tests/library/test_versions.py::test_each_commit_counts"],
    ),
    Mutant(
        "crud knows after a commit what it knew before",
        "src/persistence/write_session.py",
        "        rows.versions.clear()\n        rows.expire_all()\n",
        "        rows.versions.clear()\n",
        ["tests/library/test_versions.py::test_crud_reads_again_after_a_commit"],
    ),
    Mutant(
        "crud does not see what a session was given past it",
        "src/persistence/library_map.py",
        "        if any(isinstance(row, model) and (ids is None or row.id in ids) for row in pending):\n",
        "        if False:\n",
        ["tests/library/test_versions.py::test_crud_sees_what_the_session_was_given"],
    ),
    Mutant(
        "crud takes changes in a session that reads",
        "src/persistence/write_map.py",
        "    if not isinstance(rows, WriteMap):\n",
        "    if False:\n",
        ["tests/library/test_versions.py::test_a_reading_changes_nothing_and_says_so"],
    ),
    Mutant(
        "what a savepoint takes back is not taken back",
        "src/persistence/library_map.py",
        "        self.writer = OrmWriter(self.dialect)\n",
        "        self.writer = BulkWriter(self.dialect)\n",
        ["tests/library/test_versions.py::test_what_a_savepoint_takes_back_does_not_count"],
    ),
    Mutant(
        "an update takes attributes that store nothing",
        "src/crud.py",
        "    _check_names(model, changes, writable(model))\n",
        "",
        ["tests/library/test_attributes.py::test_what_stores_nothing_cannot_be_written"],
    ),
    Mutant(
        "a filter accepts names that are not columns",
        "src/crud.py",
        "    _check_names(model, [name for name, _ in where], columns(model))\n",
        "",
        ["tests/library/test_attributes.py::test_what_is_no_column_cannot_be_compared"],
    ),
]
