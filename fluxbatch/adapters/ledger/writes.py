"""What jobs of a plan and steps of jobs are written by.

Each call of sqlite3 lets go of the interpreter and then waits for it, so what takes a job or a step is a trigger, and
many of them come as the rows of one statement: all are taken, in order, or none.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ENLIST",
    "FORGET",
    "FREE",
    "HAS_LINKS",
    "LINK",
    "MOST_ROWS",
    "PLANNED",
    "REFUSED",
    "STEPS",
    "TAKE",
    "UNLINK",
]

MOST_ROWS: Final = 16
"""of one statement"""
REFUSED: Final = "not in the state that the step begins in"


def _of_rows(view: str, columns: str, *statements: str) -> tuple[str, str]:
    """A view whose rows are given to these statements, each in turn: many of them in one statement, all or none."""
    acts = "".join(f"{statement.replace(':', 'new.')};" for statement in statements)
    return (
        f"CREATE TEMP VIEW {view} ({columns}) AS SELECT {_marks(columns).replace('?', 'NULL')}",
        f"CREATE TEMP TRIGGER write_{view} INSTEAD OF INSERT ON {view} BEGIN {acts} END",
    )


def _marks(columns: str) -> str:
    return ", ".join("?" * len(columns.split(",")))


def _inserts(view: str, columns: str) -> tuple[str, ...]:
    return tuple(f"INSERT INTO {view} VALUES {', '.join([f'({_marks(columns)})'] * n)}" for n in range(MOST_ROWS + 1))


_COUNTERS: Final = "charged, unknown, lost, pardoned, cost_usd, unknown_usd"

_IS_REPLANNED: Final = "id = :id AND fingerprint <> :fingerprint AND state NOT IN ('submitted', 'generated')"

# counters belong to (id, fingerprint): they go with a fingerprint or row that goes, and come back if that comes back;
# what was paid for and stored is no longer held against it then: the image gave way to another on purpose
_REMEMBER: Final = f"""
INSERT OR REPLACE INTO former (id, fingerprint, {_COUNTERS})
SELECT id, fingerprint, charged, unknown, lost,
    CASE WHEN state = 'stored' THEN MAX(pardoned, charged - lost) ELSE pardoned END, cost_usd, unknown_usd
FROM jobs WHERE (charged OR unknown OR lost OR pardoned OR cost_usd OR unknown_usd)
"""
_REVIVE: Final = f"""
INSERT INTO jobs (id, manifest, position, run_id, selected, state, model, fingerprint, job, {_COUNTERS})
SELECT :id, :manifest, :position, :run_id, :selected, 'pending', :model, :fingerprint, :job, {_COUNTERS}
FROM former WHERE id = :id AND fingerprint = :fingerprint AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = :id)
"""
_PUT_ASIDE: Final = f"{_REMEMBER} AND {_IS_REPLANNED}"
_TAKE_UP: Final = f"""
UPDATE jobs SET fingerprint = :fingerprint, ({_COUNTERS}) = (
    SELECT COALESCE(SUM(charged), 0), COALESCE(SUM(unknown), 0), COALESCE(SUM(lost), 0), COALESCE(SUM(pardoned), 0),
        COALESCE(SUM(cost_usd), 0), COALESCE(SUM(unknown_usd), 0)
    FROM former WHERE id = :id AND fingerprint = :fingerprint
) WHERE {_IS_REPLANNED}
"""
_TAKEN_UP: Final = """
DELETE FROM former WHERE id = :id AND fingerprint = :fingerprint
    AND EXISTS (SELECT 1 FROM jobs WHERE id = :id AND fingerprint = :fingerprint)
"""

_REPLAN: Final = """
INSERT INTO jobs (
    id, manifest, position, run_id, selected, wait, state, model, fingerprint, job, stored, failure, reason
) VALUES (
    :id, :manifest, :position, :run_id, :selected, CASE WHEN :state = 'generated' THEN 0 ELSE :waits END,
    :state, :model, :fingerprint, :job, NULLIF(:stored, 0), NULLIF(:failure, 0), NULLIF(:reason, 0)
) ON CONFLICT (id) DO UPDATE SET
    manifest = excluded.manifest, position = excluded.position, run_id = excluded.run_id,
    selected = excluded.selected, wait = excluded.wait,
    state = CASE WHEN :keep THEN state ELSE excluded.state END,
    failure = CASE WHEN :keep THEN failure ELSE excluded.failure END,
    reason = CASE WHEN :keep THEN reason ELSE excluded.reason END,
    model = excluded.model, job = excluded.job,
    attempts = CASE WHEN :keep THEN attempts ELSE 0 END,
    pardoned = CASE WHEN :pardon THEN MAX(pardoned, charged + unknown - 1) ELSE pardoned END,
    lease_url = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_url END,
    lease_deadline = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_deadline END,
    lease_granted_at = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_granted_at END,
    stored = COALESCE(excluded.stored, stored),
    stored_by = CASE WHEN excluded.stored IS NULL THEN stored_by ELSE '' END
WHERE state NOT IN ('submitted', 'generated')
"""

# what is under way keeps job and state as they were when it was sent
_STAMP: Final = """
UPDATE jobs SET manifest = :manifest, position = :position, run_id = :run_id, selected = :selected,
    wait = -(fingerprint <> :fingerprint)
WHERE id = :id AND state IN ('submitted', 'generated')
"""

_PLANNED: Final = (
    "id, manifest, position, run_id, selected, state, keep, pardon, waits, model, fingerprint, job,"
    " stored, failure, reason"
)
PLANNED: Final = _of_rows("planned", _PLANNED, _REVIVE, _PUT_ASIDE, _TAKE_UP, _TAKEN_UP, _STAMP, _REPLAN)
"""what takes jobs of a plan: a connection makes these for itself; in their rows 0 is for NULL"""
ENLIST: Final = _inserts("planned", _PLANNED)
"""the statements for so many of them"""

_IS_UNDER_WAY: Final = "EXISTS (SELECT 1 FROM jobs WHERE id = :id AND state IN ('submitted', 'generated'))"

HAS_LINKS: Final = "SELECT EXISTS (SELECT 1 FROM needs)"
UNLINK: Final = f"DELETE FROM needs WHERE id = :id AND NOT {_IS_UNDER_WAY}"
LINK: Final = f"INSERT INTO needs (id, upstream) SELECT :id, :upstream WHERE NOT {_IS_UNDER_WAY}"
"""with ``UNLINK``, what a job needs, written anew before its row is; it stays as it is while the job is under way"""

FORGET: Final = (
    f"{_REMEMBER} AND id = :id AND state NOT IN ('submitted', 'generated')",
    UNLINK,
    "DELETE FROM jobs WHERE id = :id AND state NOT IN ('submitted', 'generated')",
)
"""what removes a row: each statement for all of them, in this order"""

_IS_STILL_NEEDED: Final = """
SELECT 1 FROM needs LEFT JOIN jobs AS upstream ON upstream.id = needs.upstream
WHERE needs.id = jobs.id AND (upstream.id IS NULL OR upstream.state <> 'stored' OR upstream.wait < 0)
"""
FREE: Final = f"""
UPDATE jobs SET wait = 2
WHERE id IN (SELECT id FROM needs WHERE upstream = :id) AND wait = 1 AND NOT EXISTS ({_IS_STILL_NEEDED})
"""
"""what lets those go on that waited for a job, if it was the last one they waited for"""

_ADVANCE: Final = """
UPDATE jobs SET
    state = :into_, attempts = attempts + :attempts,
    charged = charged + :charged, unknown = unknown + :unknown, lost = lost + :lost,
    cost_usd = cost_usd + :charged * :usd, unknown_usd = unknown_usd + :unknown * :usd,
    lease_url = NULLIF(:lease_url, 0),
    lease_deadline = CASE WHEN :lease_url <> 0 THEN :lease_deadline END,
    lease_granted_at = CASE WHEN :lease_url <> 0 THEN :lease_granted_at END,
    request_id = CASE WHEN :request_id = '' THEN request_id ELSE :request_id END,
    stored = CASE WHEN :stored = 0 THEN stored ELSE :stored END,
    stored_by = CASE WHEN :stored = 0 THEN stored_by ELSE :run_id END,
    failure = NULLIF(:failure, 0), reason = NULLIF(:reason, 0)
WHERE id = :id AND state = :frm
"""
_REFUSE: Final = f"SELECT RAISE (ABORT, '{REFUSED}') WHERE changes() <> 1"
_SPEND: Final = "UPDATE runs SET spent_usd = spent_usd + :usd WHERE (:charged OR :unknown) AND id = :run_id"

_STEP: Final = (
    "id, frm, into_, run_id, attempts, charged, unknown, lost, usd,"
    " lease_url, lease_deadline, lease_granted_at, request_id, stored, failure, reason"
)
STEPS: Final = _of_rows("steps", _STEP, _ADVANCE, _REFUSE, f"{FREE} AND :into_ = 'stored'", _SPEND)
"""what takes steps of jobs, likewise"""
TAKE: Final = _inserts("steps", _STEP)
"""the statements for so many of them"""
