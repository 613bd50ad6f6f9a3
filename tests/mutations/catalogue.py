"""The safeguards, each with the tests that hold it; a new one gets its line here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_STATEMENTS = "queue/statements.py"
_BULK = "queue/bulk.py"
_DOMAINS = "queue/migrations/0013_domains.sql"
_RULES = "tests/queue/test_enqueue.py::test_half_states_are_refused"
_CLAIMING = "queue/claiming.py"
_KEYED = "queue/keyed.py"
_KEYED_TESTS = "tests/queue/test_keyed.py"
_COPIED = "tests/queue/test_copied.py"
_FENCING = "tests/queue/test_fencing.py"
_CIRCUITS = "tests/runtime/test_circuits.py"
_SCHEMA = "tests/runtime/test_schema_changes.py"
_RESCUE = "tests/queue/test_rescue.py"
_STOPS = "tests/simulation/test_stops.py"
_CLOSING = "postgres/closing.py"
_CLOSING_TESTS = "tests/postgres/test_closing.py"
_STRAYS = "tests/chaos/test_stray_cancellations.py"
_LENDING_BEGUN = "tests/postgres/test_lending_begun.py"
_ORDER = "tests/queue/test_lock_order.py"
_PLANS = "tests/queue/test_plans.py"
_SLEEPERS = "tests/runtime/test_sleepers.py"
_SWEEPS = "tests/queue/test_sweep_races.py"
_VACUUMER = "tests/runtime/test_vacuumer.py"
_ANY_TOKEN = "AND $2::bigint IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Mutation:
    """``old`` becomes ``new`` wherever it stands in the file; ``tests`` are pytest's node ids."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, package: Path) -> None:
        """Change the copy; a safeguard that is not found has moved, and its line must follow."""
        place = package / self.file
        text = place.read_text(encoding="utf-8")
        if self.old not in text:
            raise LookupError(f"{self.name}: {self.file} no longer holds {self.old!r}")
        place.write_text(text.replace(self.old, self.new), encoding="utf-8")


MUTATIONS = (
    Mutation(
        "a sleeper that does not look again", "runtime/sleepers.py",
        "look = new.keys() | (", "look = set() | (",
        (f"{_SLEEPERS}::test_a_commit_just_before_the_server_knows",),
    ),
    Mutation(
        "a sleeper that forgets who was writing", "queue/sleepers.py",
        "return await writers(conn)", "return frozenset()",
        (f"{_SLEEPERS}::test_a_commit_whose_insert_rang_nobody",),
    ),
    Mutation(
        "a lost session that still sleeps", "runtime/sleepers.py", "self._known.clear()", "pass",
        (f"{_SLEEPERS}::test_a_new_session_sleeps_for_the_same",),
    ),
    Mutation(
        "a busy worker that is rung for ever", "runtime/sleepers.py",
        "self._too_busy.add(worker.name)", "pass",
        (f"{_SLEEPERS}::test_a_busy_worker_is_rung_no_more",),
    ),
    Mutation(
        "a worker that is known to sleep until its locks are gone", "runtime/sleepers.py",
        "gone = [self._known.pop(name) for name in self._too_busy & self._known.keys()]",
        "gone = (self._known.pop(name) for name in self._too_busy & self._known.keys())",
        (f"{_SLEEPERS}::test_who_lies_down_while_another_is_told_to_be_awake",),
    ),
    Mutation(
        "a worker given up that is rung for ever", "runtime/supervisor.py",
        "self.process.sleepers.rung(worker)", "worker.name in self.process.wakeups and "
        "self.process.sleepers.rung(worker)",
        (f"{_SLEEPERS}::test_nobody_rings_for_a_worker_that_was_given_up",),
    ),
    Mutation(
        "a question that keeps its lock", "queue/migrations/0011_sleepers.sql",
        "not pg_catalog.pg_advisory_unlock(5277240125) else", "false else",
        ("tests/queue/test_sleepers.py::test_asking_leaves_no_lock_behind",),
    ),
    Mutation(
        "a rescue long after its heartbeat", _STATEMENTS,
        "(SELECT clock_timestamp()) < coalesce($3::timestamptz, 'infinity')",
        "$3::timestamptz IS NOT DISTINCT FROM $3",
        (f"{_RESCUE}::test_a_rescue_that_comes_late_rescues_nothing",),
    ),
    Mutation(
        "a rescue that does not know how old its heartbeat is", "runtime/heartbeat.py",
        "budget, not_after=not_after)", "budget, not_after=None)",
        ("tests/runtime/test_rescuer.py::test_held_up_after_its_heartbeat_it_rescues_nothing",),
    ),
    Mutation(
        "a charge that no end takes back", _STATEMENTS, "THEN 0 ELSE j.crashes END",
        "THEN 1 ELSE j.crashes END",
        (f"{_RESCUE}::test_an_attempt_that_ends_takes_the_first_charge_back",),
    ),
    Mutation(
        "a charge that a give-back takes back", _STATEMENTS, "j.crashes = 1 AND judged.acquits",
        "j.crashes = 1", (f"{_RESCUE}::test_any_other_end_leaves_the_charge",),
    ),
    Mutation(
        "a second crash that is taken back", _STATEMENTS, "WHEN j.crashes = 1 AND",
        "WHEN j.crashes > 0 AND", (f"{_RESCUE}::test_any_other_end_leaves_the_charge",),
    ),
    Mutation(
        "a snooze that takes back every charge", _STATEMENTS, "AND NOT (judged.refund AND (",
        "AND NOT (false AND (",
        (f"{_RESCUE}::test_a_job_that_snoozes_and_crashes_in_turns_is_found_out",),
    ),
    Mutation(
        "a retry that takes no charge back", "runtime/outcomes.py", "acquits=True", "acquits=False",
        ("tests/process/test_death.py::test_a_poison_job_is_found_out",),
    ),
    Mutation(
        "a last chance beside what runs", "runtime/solitude.py",
        "return all(each.holds_nothing for each in self._crew)", "return True",
        ("tests/process/test_death.py::test_an_innocent_is_not_failed_for_its_neighbour",),
    ),
    Mutation(
        "claims beside a last chance", "runtime/solitude.py",
        "self._seeker, self._alone, self._patience = None, claim.lock_token, self._least",
        "self._seeker, self._patience = None, self._least",
        ("tests/process/test_death.py::test_an_innocent_is_not_failed_for_its_neighbour",),
    ),
    Mutation(
        "a claim that waited while a last chance was taken", "runtime/claims.py",
        "if not process.solitude.lets(self._worker):", "if False:",
        ("tests/runtime/test_solitude.py::test_a_claim_takes_nothing_else_with_it",),
    ),
    Mutation(
        "a lost claim that only its worker gives back", "runtime/claims.py",
        "await self._return_doubtful(conn)\n                try", "try",
        ("tests/runtime/test_solitude.py::test_a_lost_answer_is_undone_before_anything_is_claimed",),
    ),
    Mutation(
        "a process that waits for ever for a long job", "runtime/solitude.py",
        "            self._put_off()\n        if self.is_kept",
        "            pass\n        if self.is_kept",
        ("tests/runtime/test_solitude.py::test_a_long_job_does_not_stop_the_service",),
    ),
    Mutation(
        "a vacuum that waits for another one", "queue/maintenance.py",
        "VACUUM (SKIP_LOCKED, ", "VACUUM (",
        (f"{_VACUUMER}::test_one_vacuums_at_a_time",),
    ),
    Mutation(
        "a vacuum that shortens the file", "queue/maintenance.py",
        "TRUNCATE false, ", "",
        (f"{_VACUUMER}::test_many_dead_rows_are_vacuumed",),
    ),
    Mutation(
        "a vacuum in vain, again and again", "runtime/vacuumer.py",
        "2 * max(self._vain_seconds, took)", "max(self._vain_seconds, took)",
        (f"{_VACUUMER}::test_a_vacuum_in_vain_is_not_soon_repeated",),
    ),
    Mutation(
        "a vacuum that is left behind on the server", "runtime/vacuumer.py",
        "await close(conn)", "conn.terminate()",
        (f"{_VACUUMER}::test_a_stop_cuts_it_off",),
    ),
    Mutation(
        "a vacuum that holds up a migration", "runtime/vacuumer.py",
        "waited = await is_waited_for(conn)", "waited = await is_waited_for(conn) and False",
        (f"{_VACUUMER}::test_it_makes_way_for_who_alters_the_table",),
    ),
    Mutation(
        "idle processes that look after the table", "runtime/vacuumer.py",
        "if self._process.settled - self._looked_at < ENDED_JOBS:", "if False:",
        (f"{_VACUUMER}::test_who_ended_few_jobs_does_not_look",),
    ),
    Mutation(
        "a completion without its token", _STATEMENTS,
        "ON j.id = done.id AND j.lock_token = done.token", "ON j.id = done.id",
        (f"{_FENCING}::test_the_late_holder_writes_nothing",),
    ),
    Mutation(
        "a batch of completions without its token", _STATEMENTS,
        "::bigint[]) AND lock_token = $2", f"::bigint[]) {_ANY_TOKEN}",
        (f"{_FENCING}::test_the_late_holder_writes_nothing",),
    ),
    Mutation(
        "any other end without its token", _STATEMENTS,
        "ON j.id = f.id AND j.lock_token = f.token", "ON j.id = f.id",
        (f"{_FENCING}::test_the_late_holder_writes_nothing",),
    ),
    Mutation(
        "a completion in a transaction without its token", _STATEMENTS,
        "result = $3::jsonb,\n           lock_token = NULL, locked_until = NULL\n"
        "     WHERE id = $1 AND lock_token = $2",
        "result = $3::jsonb,\n           lock_token = NULL, locked_until = NULL\n"
        f"     WHERE id = $1 {_ANY_TOKEN}",
        (f"{_FENCING}::test_the_late_holder_writes_nothing",),
    ),
    Mutation(
        "a renewal without its token", _STATEMENTS,
        "ON j.id = held.id AND j.lock_token = held.token", "ON j.id = held.id",
        (f"{_FENCING}::test_the_late_holder_writes_nothing",),
    ),
    Mutation(
        "a fence that locks nothing", _STATEMENTS, "       FOR NO KEY UPDATE\n", "",
        (f"{_FENCING}::test_the_fence_holds_to_the_commit",),
    ),
    Mutation(
        "no fence before a commit", "postgres/transactions.py",
        "self._proof() if self._proof else NOTHING_SWALLOWED", "NOTHING_SWALLOWED",
        ("tests/runtime/test_transactions.py::test_a_job_that_moved_on_writes_nothing",),
    ),
    Mutation(
        "no proof that nothing was swallowed", "postgres/transactions.py",
        "            await conn.execute(proof.statement, *proof.args)\n",
        "            pass\n",
        ("tests/postgres/test_transactions.py",),
    ),
    Mutation(
        "a proof that does not fail where no row is ours", "queue/fragments.py",
        "CASE WHEN EXISTS (SELECT FROM mine)", "CASE WHEN true",
        ("tests/runtime/test_transactions.py::test_a_job_that_moved_on_writes_nothing",),
    ),
    Mutation(
        "a commit in front of its proof", _CLOSING,
        'f"EXECUTE {name}{given};COMMIT{then}"', 'f"COMMIT;EXECUTE {name}{given}{then}"',
        (f"{_CLOSING_TESTS}::test_a_proof_that_fails_commits_nothing",),
    ),
    Mutation(
        "text of a job in a message", _CLOSING, "if type(each) is int:", "if each is not None:",
        (f"{_CLOSING_TESTS}::test_text_goes_as_a_parameter",),
    ),
    Mutation(
        "a transaction that asyncpg takes for open", _CLOSING,
        "                self._top_xact = None ", "                pass ",
        (f"{_CLOSING_TESTS}::test_after_it_a_transaction_is_no_savepoint",),
    ),
    Mutation(
        "a proof that its session has forgotten", _CLOSING, "self._names.clear()", "pass",
        (f"{_CLOSING_TESTS}::test_what_a_handler_deallocates_is_prepared_anew",),
    ),
    Mutation(
        "one message where sessions are shared", "runtime/execution.py",
        "if process.database.keeps_sessions:", "if True:",
        ("tests/postgres/test_pooling.py::test_pooling_is_found_and_lived_with",),
    ),
    Mutation(
        "a transaction whose now() is long past", _CLOSING,
        "begun < time.monotonic() - FRESH_SECONDS", "False",
        (f"{_CLOSING_TESTS}::test_what_was_begun_long_ago_is_begun_anew",),
    ),
    Mutation(
        "a transaction that began before its job was claimed", "runtime/job_transactions.py",
        "not_before=self._rush.ledger.arrived", "not_before=0.0",
        ("tests/runtime/test_brief_transactions.py::test_now_is_never_before_the_claim",),
    ),
    Mutation(
        "rows that autovacuum does not hear of", _CLOSING,
        "begin_next and self.outermost.may_begin_next(now)", "begin_next",
        (f"{_CLOSING_TESTS}::test_what_is_written_without_end_is_counted",),
    ),
    Mutation(
        "a stranger's words in a job's transaction", _CLOSING,
        "if self._said != self._conn._protocol.queries_count:", "if False:",
        (f"{_CLOSING_TESTS}::test_what_a_stranger_said_in_it_is_undone",),
    ),
    Mutation(
        "a connection that is lent although its bound has passed", "postgres/lending.py",
        "return not _is_lost(proxy)  #", "return True  #",
        (f"{_LENDING_BEGUN}::test_a_loop_that_stalls_meanwhile_harms_nobody",),
    ),
    Mutation(
        "silent connections that are ended one after the other", "postgres/lending.py",
        "group.start_soon(self._release, proxy)", "await self._release(proxy)",
        (f"{_LENDING_BEGUN}::test_silent_ones_do_not_wait_for_each_other",),
    ),
    Mutation(
        "a job that is not finished before its loan has ended", "runtime/job_transactions.py",
        "job.finished = job.completion is not None  #", "pass  #",
        ("tests/runtime/test_brief_transactions.py::test_a_time_out_behind_the_commit_undoes_nothing",),
    ),
    Mutation(
        "progress that waits in a transaction nobody knows of", "postgres/lending.py",
        "        if not self._begun:\n", "        if False:\n",
        ("tests/runtime/test_brief_transactions.py::test_progress_beside_it_is_seen_at_once",),
    ),
    Mutation(
        "a session that stays in a transaction for nobody", "postgres/lending.py",
        "            self._begun.set()\n", "            pass\n",
        ("tests/runtime/test_brief_transactions.py::test_no_session_waits_in_a_transaction",),
    ),
    Mutation(
        "a transaction begun while others wait for the connection", "postgres/lending.py",
        "            await _ended(proxy)\n", "            pass\n",
        (f"{_LENDING_BEGUN}::test_who_waits_gets_a_connection_in_no_transaction",),
    ),
    Mutation(
        "a look at the schema without a bound", "queue/migrate.py",
        "with answering(conn, PROBING_SECONDS):", "if True:",
        ("tests/queue/test_migrate.py::test_a_connection_that_falls_silent_is_given_up",),
    ),
    Mutation(
        "a commit that can be cut off", "postgres/transactions.py",
        "scope_class()(shield=True)", "scope_class()()",
        ("tests/runtime/test_shields.py::test_a_commit_under_way_is_not_cut_off",),
    ),
    Mutation(
        "a flush of finishes that can be cut off", "runtime/acks.py",
        "with anyio.CancelScope(shield=True):\n                failures",
        "with anyio.CancelScope():\n                failures",
        ("tests/runtime/test_shields.py::test_a_flush_under_way_is_not_cut_off",),
    ),
    Mutation(
        "a claim that can be cut off", "runtime/claims.py",
        "shield=True, unless=process", "unless=process",
        ("tests/runtime/test_shields.py::test_a_claim_under_way_is_not_cut_off",),
    ),
    Mutation(
        "a scope that stays shielded after a use", "postgres/line.py",
        "scope.shield = False", "pass",
        ("tests/postgres/test_line.py::test_a_scope_serves_many_uses",),
    ),
    Mutation(
        "a bound that outlasts its use", "postgres/line.py",
        "self._watch.drop(self)", "pass",
        ("tests/postgres/test_line.py::test_a_scope_serves_many_uses",),
    ),
    Mutation(
        "a worker that ends with a claim that has no answer", "runtime/loop.py",
        "while not self._is_ending():\n            #", "if True:\n            #",
        ("tests/chaos/test_network.py::test_a_silent_connection_is_replaced",),
    ),
    Mutation(
        "a timer for each look at what waits", "postgres/bounds.py", "self._timer.cancel()", "pass",
        ("tests/postgres/test_bounds.py::test_one_timer_serves_all",),
    ),
    Mutation(
        "a worker that a stray cancellation ends", "runtime/slots.py",
        "if anyio.current_effective_deadline() == -math.inf:\n                    raise",
        "if True:\n                    raise",
        (f"{_STRAYS}::test_what_it_left_behind_cancels_nobody",),
    ),
    Mutation(
        "a cancellation that comes after it was forgotten", "runtime/slots.py",
        "        await asyncio.sleep(0)  # one", "        pass  # one",
        (f"{_STRAYS}::test_a_time_out_after_it_ends_a_job_and_no_slot",),
    ),
    Mutation(
        "a cancellation that is counted for ever", "runtime/slots.py",
        "if task.cancelling() and not self._is_cancelled():", "if False:",
        (f"{_STRAYS}::test_a_time_out_after_it_ends_a_job_and_no_slot",),
    ),
    Mutation(
        "a use that never gives up", "postgres/line.py", "self._scope.cancel()", "pass",
        ("tests/postgres/test_line.py::test_a_use_without_an_answer_ends",),
    ),
    Mutation(
        "a slot that is called after it was cancelled", "runtime/slots.py",
        "self._bells.remove(bell)", "pass",
        ("tests/runtime/test_waiting.py::test_nobody_is_roused_who_was_cancelled",),
    ),
    Mutation(
        "a time that rings after the wait", "runtime/waiting.py", "timer.cancel()", "pass",
        ("tests/runtime/test_waiting.py::test_a_ring_in_time",),
    ),
    Mutation(
        "a claim that is begun after the stop", "runtime/claims.py",
        "shield=True, unless=process.stop.claiming, scope", "shield=True, scope",
        (f"{_STOPS}::test_no_worker_begins_a_claim_once_it_is_to_stop",),
    ),
    Mutation(
        "a stop that waits for one worker after the other", "runtime/supervisor.py",
        "seconds=max(0.0, seconds - passed)", "seconds=seconds",
        (f"{_STOPS}::test_many_that_never_opened_are_left_as_fast_as_one",),
    ),
    Mutation(
        "last words one after the other", "runtime/supervisor.py",
        "group.start_soon(self._say_farewell, name)", "await self._say_farewell(name)",
        (f"{_STOPS}::test_many_that_never_opened_are_left_as_fast_as_one",),
    ),
    Mutation(
        "a claim that travels past an opened circuit", "runtime/loop.py",
        "            self._give_back_the_shut(claimed.jobs)\n", "            pass\n",
        ("tests/simulation/test_simulation.py::test_a_seed_that_once_failed",),
    ),
    Mutation(
        "a claim right after a probe that failed", "runtime/loop.py",
        "await (self._probe(job_type) if job_type else self._claim(want))",
        "(await self._probe(job_type) if job_type else None) or await self._claim(want)",
        (f"{_CIRCUITS}::test_what_a_probe_meets_is_heeded_before_the_next_claim",),
    ),
    Mutation(
        "a new start that does not know of refused ends", "runtime/supervisor.py",
        "        loop.health.finishes_refused(self._unwritable)\n", "",
        (f"{_SCHEMA}::test_a_new_start_claims_nothing_while_no_end_can_be_written",),
    ),
    Mutation(
        "a drain that forgets what was claimed after a look in vain", "runtime/loop.py",
        "        self.process.quiet.pop(self.worker.name, None)", "        pass",
        ("tests/runtime/test_loop.py::test_a_drain_waits_for_what_was_claimed_after_a_look_in_vain",),
    ),
    Mutation(
        "pauses that start anew while the database is away", "runtime/health.py",
        "if self._lost_by_job and self._away_since is None:", "if self._lost_by_job:",
        ("tests/runtime/test_away.py::test_a_job_that_needs_no_database_says_nothing_about_it",),
    ),
    Mutation(
        "claims that wait for each other", _CLAIMING, "FOR UPDATE SKIP LOCKED", "FOR UPDATE",
        ("tests/queue/test_claim.py::test_a_locked_row_is_passed_by",),
    ),
    Mutation(
        "finishes that wait for a locked row", _STATEMENTS,
        "FOR UPDATE OF j SKIP LOCKED", "FOR UPDATE OF j",
        (f"{_ORDER}::test_a_locked_row_is_passed_over",),
    ),
    Mutation(
        "a rescue that waits for a locked row", _STATEMENTS,
        "LIMIT $2 FOR UPDATE SKIP LOCKED", "LIMIT $2 FOR UPDATE",
        (f"{_ORDER}::test_a_locked_row_is_passed_over",),
    ),
    Mutation(
        "a sweep that waits for a locked row", "queue/maintenance.py",
        "FOR UPDATE SKIP LOCKED", "FOR UPDATE",
        ("tests/queue/test_maintenance.py::test_a_locked_row_is_left_for_the_next_sweep",),
    ),
    Mutation(
        "a sweep that waits without a bound", "queue/maintenance.py",
        ", set_config('lock_timeout', '100ms', true)", "",
        (f"{_SWEEPS}::test_a_sweep_waits_for_no_disk_and_no_lock",),
    ),
    Mutation(
        "a sweep that leaves what was locked once", "queue/maintenance.py",
        "SELECT seen.marked FROM seen", "SELECT seen.marked FROM seen WHERE false",
        (f"{_SWEEPS}::test_what_was_locked_once_is_forgotten",),
    ),
    Mutation(
        "sweeps that never begin at the first row again", "runtime/sweeper.py",
        "if now - self._whole_at >= WHOLE_SHARE * self._vain_seconds:", "if self._whole_at < 0:",
        ("tests/runtime/test_sweeper.py",),
    ),
    Mutation(
        "sweeps that never get past what stays", "runtime/sweeper.py",
        "2 * self._patience", "self._patience",
        ("tests/runtime/test_sweeper.py::test_whatever_stays_in_front_is_got_past",),
    ),
    Mutation(
        "locks in no order", _STATEMENTS, "     ORDER BY j.id\n       FOR UPDATE OF j",
        "       FOR UPDATE OF j", (f"{_PLANS}::test_locks_are_taken_in_id_order",),
    ),
    Mutation(
        "a give-back that locks in no order", _CLAIMING, "     ORDER BY j.id\n       FOR UPDATE\n",
        "     ORDER BY j.id DESC\n       FOR UPDATE\n",
        (f"{_ORDER}::test_unclaim_locks_in_id_order",),
    ),
    Mutation(
        "a time that is no bound of an index", _CLAIMING,
        "(SELECT clock_timestamp())", "clock_timestamp()",
        (f"{_PLANS}::test_reads_are_bounded",),
    ),
    Mutation(
        "one token for all claims of a worker", "runtime/claims.py", "store.new_token()", "4711",
        ("tests/runtime/test_shields.py::test_each_claim_has_a_token_of_its_own",),
    ),
    Mutation(
        "tokens in a row", "queue/store.py", "secrets.randbits(63)", "next(_TOKENS)",
        (f"{_FENCING}::test_tokens_are_random",),
    ),
    Mutation(
        "a ring that is lost during the look", "runtime/loop.py",
        "        if await rung_within(self.wakeup, seconds)",
        "        self.wakeup.clear()\n        if await rung_within(self.wakeup, seconds)",
        ("tests/runtime/test_claiming.py::test_a_ring_during_the_look_is_not_lost",),
    ),
    Mutation(
        "a stop that costs an attempt", "runtime/outcomes.py", "refund=True", "refund=False",
        ("tests/process/test_signals.py::test_a_job_longer_than_the_grace_is_given_back",),
    ),
    Mutation(
        "claims of a key that do not lock it", _KEYED,
        'if row["ours"]]', "]",
        (f"{_KEYED_TESTS}::test_a_locked_key_is_passed_by",),
    ),
    Mutation(
        "a key whose running jobs are not counted again", _KEYED,
        "$7::bigint - (SELECT count(*)", "$7::bigint - 0 * (SELECT count(*)",
        (f"{_KEYED_TESTS}::test_many_claimers_never_overshoot",),
    ),
    Mutation(
        "claims of paused types", "queue/fragments.py",
        "NOT EXISTS (SELECT FROM ops.paused", "true OR NOT EXISTS (SELECT FROM ops.paused",
        ("tests/queue/test_pauses.py::test_no_claim_takes_a_paused_type",),
    ),
    Mutation(
        "a lost claim that takes its successor along", "runtime/ledger.py",
        "if (claim.id, claim.lock_token) in tokens]", "if claim.id in {one[0] for one in tokens}]",
        ("tests/runtime/test_claiming.py::test_a_job_claimed_anew_during_a_heartbeat_is_kept",),
    ),
    Mutation(
        "a second enqueue that does not hold its job",
        "queue/migrations/0007_enqueue.sql",
        "               for key share;", ";",
        ("tests/queue/test_unique_keys.py::test_the_first_waits_for_the_seconds_commit",),
    ),
    Mutation(
        "a function that looks where its caller says", "queue/migrations/0007_enqueue.sql",
        "security definer set search_path = ''", "security definer",
        ("tests/security/test_search_path.py",),
    ),
    Mutation(
        "a table without row-level security", "queue/migrations/0005_schedules.sql",
        "alter table ops.schedules enable row level security;", "",
        ("tests/security/test_roles.py::test_row_level_security_is_on_and_not_forced",),
    ),
    Mutation(
        "a folder that may be a link", "workers/places.py",
        "os.O_DIRECTORY | os.O_NOFOLLOW", "os.O_DIRECTORY",
        ("tests/security/test_hostile_files.py",),
    ),
    Mutation(
        "backslashes of a copied payload as they are", _BULK,
        r'text.replace("\\", r"\\")', "text", (f"{_COPIED}::test_any_text",),
    ),
    Mutation(
        "line ends of a copied key as they are", _BULK,
        "value.translate(_ESCAPES)", "value", (f"{_COPIED}::test_any_text",),
    ),
    Mutation(
        "copied jobs in the session's encoding", _BULK, 'encoding="utf8"', "encoding=None",
        (f"{_COPIED}::test_what_is_given_means_the_same_in_any_session",),
    ),
    Mutation(
        "ids still being drawn when a payload is refused", _BULK,
        "finally:\n        ids", "finally:\n        pass\n    ids",
        (f"{_COPIED}::test_one_payload_that_is_not_json",),
    ),
    Mutation(
        "copied jobs without the keys they were given", _BULK,
        "if limits.count(None) == len(limits):", "if limits:", (_COPIED,),
    ),
    Mutation(
        "a key of any length", _DOMAINS,
        "check (length(value) between 1 and 500)", "check (true)", (_RULES,),
    ),
    Mutation(
        "a job in any state", _DOMAINS,
        "constraint state_is_possible check (", "constraint state_is_possible check (true or",
        (_RULES,),
    ),
    Mutation(
        "a type that each client has to look up", _STATEMENTS,
        "VALUES ($1::text, $2, coalesce", "VALUES ($1, $2, coalesce",
        ("tests/queue/test_sql.py::test_no_type_has_to_be_looked_up",),
    ),
    Mutation(
        "a view that stands in a migration's way, unnamed", "queue/migrate.py",
        "{error.detail}. ", "{error.sqlstate}. ",
        ("tests/queue/test_migrate.py::test_a_view_in_the_way_is_named",),
    ),
    Mutation(
        "a connection left open to a server that is mute", "ops/drill/proxy.py",
        "            writer.close()\n            raise", "            raise",
        ("tests/ops/test_drill_proxy.py::test_a_server_that_says_nothing_is_left",),
    ),
)  # fmt: skip
