"""Mutants of ``src/admin``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "an outage is counted when it is over",
        "src/admin/exposition.py",
        "        metrics.DATABASE.count()\n",
        "",
        ["tests/faults/test_watched.py::test_an_outage_of_the_database_is_seen_while_it_lasts_and_after"],
    ),
    Mutant(
        "what does not answer is asked again and again",
        "src/admin/single_flight.py",
        "(self._call.done() and moment",
        "(moment",
        [
            "tests/admin/test_health.py::test_what_does_not_answer_is_asked_once_and_waited_for_no_longer_than_the_timeout"
        ],
    ),
    Mutant(
        "who consumes nothing is ready",
        "src/admin/health.py",
        "OK if each.consuming.is_set() else",
        "OK if each.lives else",
        ["tests/admin/test_health.py::test_a_queue_that_is_not_consumed_is_not_ready"],
    ),
    Mutant(
        "HTTP takes the signals",
        "src/admin/http.py",
        "    def capture_signals(",
        "    def capture_no_signals(",
        ["tests/admin/test_health.py::test_it_takes_no_signal"],
    ),
    Mutant(
        "the first dead letter is no increase",
        "src/admin/exposition.py",
        "        metrics.DEAD_LETTERS.labels(reason)\n",
        "        pass\n",
        ["tests/telemetry/test_metrics.py::test_the_first_dead_letter_is_an_increase"],
    ),
    Mutant(
        "the doctor looks only for what is missing",
        "src/admin/broker_checks.py",
        '            self.different.append(f"{name} has other arguments: {error}")\n',
        "            del error\n",
        ["tests/faults/test_doctor.py::test_arguments_that_differ_are_found_all_of_them"],
    ),
    Mutant(
        "the probe takes any answer",
        "src/admin/healthcheck.py",
        ".status == ALIVE",
        ".status > 0",
        ["tests/deploy/test_deploy.py::test_the_probe_says_what_the_service_says"],
    ),
]
