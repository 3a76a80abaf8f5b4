"""Mutants of ``src/amqp``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "a limit of connections is a missing virtual host",
        "src/amqp/connections.py",
        "error.code == NOT_ALLOWED and not is_limit(error)",
        "error.code == NOT_ALLOWED",
        ["tests/faults/test_broker_limits.py::test_a_limit_of_connections_is_waited_for"],
    ),
    Mutant(
        "a limit of queues is a difference of arguments",
        "src/consumers/topology.py",
        "            if is_limit(error):\n",
        "            if not error.args:\n",
        ["tests/faults/test_broker_limits.py::test_a_limit_of_queues_is_no_difference_of_arguments"],
    ),
    Mutant(
        "a batch is queued from the arrival of its newest request",
        "src/amqp/batch.py",
        "return self.deliveries[0].arrived",
        "return self.deliveries[-1].arrived",
        ["tests/telemetry/test_metrics.py::test_a_batch_is_queued_from_the_arrival_of_its_oldest_request"],
    ),
    Mutant(
        "an ack of several counts for one",
        "src/amqp/confirm_channel.py",
        "range(self._settled if multiple else end - 1, end)",
        "range(end - 1, end)",
        ["tests/amqp/test_confirm_channel.py::test_one_ack_may_answer_for_many_messages"],
    ),
    Mutant(
        "a returned message counts as taken",
        "src/amqp/confirm_channel.py",
        "PublishResult.REFUSED if index in self._returned else result",
        "result",
        ["tests/amqp/test_confirm_channel.py::test_a_message_that_is_returned_is_refused_though_it_is_acked"],
    ),
    Mutant(
        "what is published to a missing exchange is given up",
        "src/amqp/publisher.py",
        "            case PublishResult.EXCHANGE_MISSING:\n                return True\n",
        "            case PublishResult.EXCHANGE_MISSING:\n                return False\n",
        [
            "tests/faults/test_deleted.py::test_what_is_published_to_an_exchange_that_is_missing_is_there_once_it_is_back"
        ],
    ),
    Mutant(
        "what comes back is not bound",
        "src/amqp/topology_recovery.py",
        "        self._restored.add(name)\n",
        "",
        ["tests/faults/test_deleted.py::test_an_exchange_that_is_deleted_comes_back_with_its_bindings[released]"],
    ),
    Mutant(
        "a binding is taken away while the service runs",
        "src/amqp/topology_recovery.py",
        "if self._declared else await",
        "if not self._declared else await",
        ["tests/faults/test_deleted.py::test_while_it_runs_it_takes_no_binding_away"],
    ),
    Mutant(
        "what is no text is escaped in deliveries alone",
        "src/amqp/sanitizing.py",
        "    layout = _LAYOUTS.get(payload[:4])\n",
        "    layout = _LAYOUTS[DELIVER] if payload[:4] == DELIVER else None\n",
        ["tests/amqp/test_frames.py::test_whatever_a_frame_holds_what_aiormq_is_given_decodes"],
    ),
    Mutant(
        "a direct reply that ends its connection is tried again",
        "src/amqp/publisher.py",
        "PublishResult.REFUSED if direct and result is PublishResult.CONNECTION_LOST else result",
        "result",
        ["tests/guarantees/test_forged.py::test_a_batch_of_forged_direct_replies_ends_its_connection_a_few_times_only"],
    ),
    Mutant(
        "aiormq sees no sign of life where a handler takes every frame",
        "src/amqp/frame_reader.py",
        "            super().feed_data(_HEARTBEAT)\n",
        "",
        ["tests/amqp/test_frames.py::test_aiormq_sees_a_sign_of_life_though_every_frame_is_handled"],
    ),
    Mutant(
        "a routing key is cut inside a character",
        "src/amqp/sanitizing.py",
        '.encode()[:255].decode(errors="ignore")',
        '.encode()[:255].decode(errors="surrogateescape")',
        ["tests/amqp/test_frames.py::test_whatever_the_routing_key_holds_the_method_decodes"],
    ),
    Mutant(
        "a broker of another name is waited for",
        "src/amqp/connections.py",
        "            if isinstance(error.__cause__, SSLCertVerificationError):\n",
        "            if isinstance(error.__cause__, EOFError):\n",
        ["tests/deploy/test_tls.py::test_a_broker_that_is_not_who_it_says_is_refused_in_one_line"],
    ),
    Mutant(
        "a window keeps whatever comes",
        "src/amqp/window.py",
        "            self.needs_resize = self._size > self._limits.window_bytes\n",
        "            self.needs_resize = False\n",
        [
            "tests/guarantees/test_windows.py::test_a_window_of_large_bodies_holds_a_bounded_number_of_bytes_and_none_is_lost_or_done_twice"
        ],
    ),
    Mutant(
        "a reduced window stays reduced",
        "src/amqp/window.py",
        "            self.needs_resize = sum(self._sizes) <= self._limits.window_bytes\n",
        "            self.needs_resize = False\n",
        [
            "tests/guarantees/test_windows.py::test_a_window_of_large_bodies_holds_a_bounded_number_of_bytes_and_none_is_lost_or_done_twice"
        ],
    ),
    Mutant(
        "a suspect is served among others",
        "src/amqp/window.py",
        "            if self._is_suspected(self._arrived[0]):\n                break\n",
        "",
        ["tests/amqp/test_window.py::test_a_batch_ends_before_what_is_taken_alone"],
    ),
    Mutant(
        "a classic queue's count is believed",
        "src/amqp/window.py",
        "        if not (delivery.redelivered and self._limits.has_delivery_count):",
        "        if not delivery.redelivered:",
        ["tests/amqp/test_window.py::test_where_no_queue_counts_whatever_has_come_back_is_taken_alone"],
    ),
    Mutant(
        "the end of a resource alarm is not seen",
        "src/amqp/frame_reader.py",
        "self.blocked = payload[:4] == frames.BLOCKED",
        "self.blocked = True",
        ["tests/amqp/test_frames.py::test_the_reader_knows_whether_a_resource_alarm_blocks_the_connection"],
    ),
    Mutant(
        "a backoff goes on with its longest delay after a success",
        "src/backoff.py",
        "        self._bound = None\n",
        "        self._bound = self.longest\n",
        ["tests/test_backoff.py::test_after_a_success_the_first_delay_comes_again"],
    ),
]
