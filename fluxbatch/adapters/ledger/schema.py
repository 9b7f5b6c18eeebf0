"""Tables and statements of the ledger. WAL and ``synchronous=FULL``: what was committed survives a power cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ADVANCE",
    "AS_NOW",
    "BEGIN_RUN",
    "CLAIM",
    "COLUMNS",
    "CREATE",
    "END_RUN",
    "ENLIST",
    "ENLIST_AGAIN",
    "FORGET",
    "FREE",
    "FREED",
    "HAND_OUT",
    "HAS_FORMER",
    "HAS_LINKS",
    "IDS",
    "IN_STATE",
    "LAST_RUN",
    "LINK",
    "MIGRATE",
    "OWNERS",
    "PENDING",
    "PENDING_MODELS",
    "PRAGMAS",
    "ROWS",
    "RUNS_SINCE",
    "SORT_ON_DISK",
    "SPEND",
    "STRANDED",
    "TWINS",
    "UNLINK",
    "VERSION",
    "WAITING",
    "tally",
]

VERSION: Final = 3

PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    # URLs are forgotten once their image is stored, also by the pages they were on; the WAL holds them until it is
    # checkpointed, which happens as it grows, at the start of a run and at its end
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -1000",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA wal_checkpoint(TRUNCATE)",
)

SORT_ON_DISK: Final = "PRAGMA cache_size = -100"
"""as much as is read or sorted at a time is held in memory: 2 MB of each, unless told otherwise"""

# what was counted for fingerprints that the job's row no longer has
_FORMER: Final = """
CREATE TABLE former (
    id TEXT NOT NULL, fingerprint TEXT NOT NULL,
    charged INTEGER NOT NULL, unknown INTEGER NOT NULL, lost INTEGER NOT NULL, pardoned INTEGER NOT NULL,
    cost_usd REAL NOT NULL, unknown_usd REAL NOT NULL,
    PRIMARY KEY (id, fingerprint)
) WITHOUT ROWID
"""

# which jobs take the output of which
_NEEDS: Final = """
CREATE TABLE needs (id TEXT NOT NULL, upstream TEXT NOT NULL, PRIMARY KEY (id, upstream)) WITHOUT ROWID
"""
_NEEDED: Final = "CREATE INDEX needs_of ON needs (upstream, id)"

# whether a job waits for those that it needs: 0 no, 1 yes, 2 not any more, 3 not any more, and handed out;
# -1: it is under way as something else than what was asked for last, so that nothing must be made of its image
_WAIT: Final = "wait INTEGER NOT NULL DEFAULT 0"
_WAITERS: Final = "CREATE INDEX jobs_waiting ON jobs (run_id, position) WHERE wait = 1"
_FREED: Final = "CREATE INDEX jobs_freed ON jobs (run_id, model, position) WHERE wait = 2"

_FILE: Final = "json_extract(CAST(stored AS TEXT), '$.file')"
_FILES: Final = f"CREATE INDEX jobs_of_file ON jobs ({_FILE}) WHERE stored IS NOT NULL"

CREATE: Final = f"""
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, summary BLOB,
    carried_usd REAL NOT NULL DEFAULT 0, spent_usd REAL NOT NULL DEFAULT 0
);
CREATE TABLE manifests (
    name TEXT PRIMARY KEY, ordinal INTEGER NOT NULL, run_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    manifest TEXT NOT NULL, position INTEGER NOT NULL, run_id TEXT NOT NULL, selected INTEGER NOT NULL,
    state TEXT NOT NULL, model TEXT NOT NULL, fingerprint TEXT NOT NULL, job BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    charged INTEGER NOT NULL DEFAULT 0, unknown INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
    pardoned INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0, unknown_usd REAL NOT NULL DEFAULT 0,
    lease_url TEXT, lease_deadline REAL, lease_granted_at REAL,
    request_id TEXT NOT NULL DEFAULT '',
    stored BLOB, stored_by TEXT NOT NULL DEFAULT '',
    failure BLOB, reason TEXT,
    {_WAIT}
);
CREATE INDEX jobs_in_order ON jobs (run_id, state, model, position);
CREATE INDEX jobs_of_manifest ON jobs (manifest, run_id, position);
CREATE INDEX jobs_under_way ON jobs (state, id) WHERE state IN ('submitted', 'generated');
{_FILES};
{_WAITERS};
{_FREED};
{_NEEDS};
{_NEEDED};
{_FORMER};
"""

# in version 1 a run's money was in its summary alone
_SPENT_1: Final = """
CASE WHEN json_valid(CAST(summary AS TEXT)) THEN
    COALESCE(json_extract(CAST(summary AS TEXT), '$.cost_usd'), 0)
    + COALESCE(json_extract(CAST(summary AS TEXT), '$.unknown_usd'), 0)
ELSE 0 END
"""

MIGRATE: Final[Mapping[int, tuple[str, ...]]] = {
    1: (
        "ALTER TABLE runs ADD COLUMN carried_usd REAL NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN spent_usd REAL NOT NULL DEFAULT 0",
        f"UPDATE runs SET spent_usd = {_SPENT_1}",
        _FORMER,
    ),
    2: (f"ALTER TABLE jobs ADD COLUMN {_WAIT}", _FILES, _WAITERS, _FREED, _NEEDS, _NEEDED),
}
"""what turns a ledger of a version into one of the next"""

_AS_NOW_2: Final = (
    "CREATE TEMP VIEW jobs AS SELECT rowid, *, 0 AS wait FROM main.jobs",
    _NEEDS.replace("CREATE TABLE", "CREATE TEMP TABLE"),
)

AS_NOW: Final[Mapping[int, tuple[str, ...]]] = {
    1: (
        f"""
        CREATE TEMP VIEW runs AS
        SELECT rowid, id, started_at, ended_at, summary, 0.0 AS carried_usd, {_SPENT_1} AS spent_usd FROM main.runs
        """,
        _FORMER.replace("CREATE TABLE", "CREATE TEMP TABLE"),
        *_AS_NOW_2,
    ),
    2: _AS_NOW_2,
    VERSION: (),
}
"""what makes a ledger of a version look like one of today to a connection that may not write"""

COLUMNS: Final = (
    "job, state, attempts, charged, unknown, lost, pardoned, cost_usd, unknown_usd,"
    " lease_url, lease_deadline, lease_granted_at, request_id, stored, stored_by, failure, run_id, selected,"
    " manifest, position"
)

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
INSERT INTO jobs (id, manifest, position, run_id, selected, state, model, fingerprint, job, stored, failure, reason)
VALUES (:id, :manifest, :position, :run_id, :selected, :state, :model, :fingerprint, :job, :stored, :failure, :reason)
ON CONFLICT (id) DO UPDATE SET
    state = CASE WHEN :keep THEN state ELSE excluded.state END,
    failure = CASE WHEN :keep THEN failure ELSE excluded.failure END,
    reason = CASE WHEN :keep THEN reason ELSE excluded.reason END,
    model = excluded.model, job = excluded.job,
    attempts = CASE WHEN :keep THEN attempts ELSE 0 END,
    pardoned = CASE WHEN :pardon THEN MAX(pardoned, charged + unknown - 1) ELSE pardoned END,
    lease_url = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_url END,
    lease_deadline = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_deadline END,
    lease_granted_at = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_granted_at END,
    stored = COALESCE(:stored, stored), stored_by = CASE WHEN :stored IS NULL THEN stored_by ELSE '' END
WHERE state NOT IN ('submitted', 'generated')
"""

_STAMP: Final = """
UPDATE jobs SET manifest = :manifest, position = :position, run_id = :run_id, selected = :selected,
    wait = CASE WHEN state IN ('submitted', 'generated') THEN -(fingerprint <> :fingerprint) ELSE :waits END
WHERE id = :id
"""

HAS_FORMER: Final = "SELECT EXISTS (SELECT 1 FROM former)"
ENLIST: Final = (_PUT_ASIDE, _TAKE_UP, _REPLAN, _STAMP)
"""what writes jobs of a plan: each statement for all of them, in this order"""
ENLIST_AGAIN: Final = (_REVIVE, _PUT_ASIDE, _TAKE_UP, _TAKEN_UP, _REPLAN, _STAMP)
"""the same if ``HAS_FORMER``"""

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

ADVANCE: Final = """
UPDATE jobs SET
    state = :to, attempts = attempts + :attempts,
    charged = charged + :charged, unknown = unknown + :unknown, lost = lost + :lost,
    cost_usd = cost_usd + :cost_usd, unknown_usd = unknown_usd + :unknown_usd,
    lease_url = :lease_url, lease_deadline = :lease_deadline, lease_granted_at = :lease_granted_at,
    request_id = CASE WHEN :request_id = '' THEN request_id ELSE :request_id END,
    stored = COALESCE(:stored, stored), stored_by = CASE WHEN :stored IS NULL THEN stored_by ELSE :run_id END,
    failure = :failure, reason = :reason
WHERE id = :id AND state = :frm
"""

_IS_STILL_NEEDED: Final = """
SELECT 1 FROM needs LEFT JOIN jobs AS upstream ON upstream.id = needs.upstream
WHERE needs.id = jobs.id AND (upstream.id IS NULL OR upstream.state <> 'stored' OR upstream.wait < 0)
"""
FREE: Final = f"""
UPDATE jobs SET wait = 2
WHERE id IN (SELECT id FROM needs WHERE upstream = :id) AND wait = 1 AND NOT EXISTS ({_IS_STILL_NEEDED})
"""
"""what lets those go on that waited for a job, if it was the last one they waited for"""

SPEND: Final = "UPDATE runs SET spent_usd = spent_usd + :cost_usd + :unknown_usd WHERE id = :run_id"

BEGIN_RUN: Final = "INSERT INTO runs (id, started_at, carried_usd) VALUES (?, ?, ?)"
END_RUN: Final = "UPDATE runs SET ended_at = ?, summary = ? WHERE id = ?"
LAST_RUN: Final = """
SELECT id, started_at, ended_at, summary, carried_usd, spent_usd FROM runs ORDER BY rowid DESC LIMIT 1
"""
RUNS_SINCE: Final = """
SELECT id, started_at, ended_at, summary, carried_usd, spent_usd FROM (
    SELECT *, rowid AS number, COALESCE(ended_at, LEAD(started_at) OVER (ORDER BY rowid)) AS over_at FROM runs
) WHERE over_at IS NULL OR over_at >= ? ORDER BY number
"""
CLAIM: Final = """
INSERT INTO manifests (name, ordinal, run_id) VALUES (?, (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM manifests), ?)
ON CONFLICT (name) DO UPDATE SET run_id = excluded.run_id
"""

OWNERS: Final = f"SELECT {_FILE}, id FROM jobs WHERE stored IS NOT NULL AND {_FILE} IN ({{}}) ORDER BY id"

PENDING: Final = f"""
SELECT {COLUMNS} FROM jobs
WHERE run_id = ? AND state = 'pending' AND model = ? AND position > ? AND selected AND wait <= 0
ORDER BY position LIMIT ?
"""
FREED: Final = f"""
SELECT {COLUMNS}, id FROM jobs WHERE run_id = ? AND wait = 2 AND state = 'pending' AND model = ? AND selected
ORDER BY position LIMIT ?
"""
HAND_OUT: Final = "UPDATE jobs SET wait = 3 WHERE id = ?"
STRANDED: Final = f"""
SELECT {COLUMNS} FROM jobs
WHERE run_id = ? AND wait = 1 AND state = 'pending' AND selected AND position > ? AND EXISTS (
    SELECT 1 FROM needs JOIN jobs AS upstream ON upstream.id = needs.upstream
    WHERE needs.id = jobs.id AND upstream.state = 'failed'
) ORDER BY position LIMIT ?
"""
WAITING: Final = "SELECT COUNT(*) FROM jobs WHERE run_id = ? AND wait = 1 AND state = 'pending' AND selected"
PENDING_MODELS: Final = """
SELECT model, COUNT(*) FROM jobs WHERE run_id = ? AND state = 'pending' AND selected
GROUP BY model ORDER BY MIN(position)
"""
IDS: Final = "SELECT id FROM jobs WHERE id > ? ORDER BY id LIMIT ?"
IN_STATE: Final = f"SELECT {COLUMNS} FROM jobs WHERE state = ? AND id > ? ORDER BY id LIMIT ?"

_PRESENT: Final = "JOIN manifests ON jobs.manifest = manifests.name AND jobs.run_id = manifests.run_id"

ROWS: Final = f"""
SELECT {COLUMNS}, position FROM jobs WHERE manifest = ? AND run_id = ? AND position > ? ORDER BY position LIMIT ?
"""

_SHA256: Final = "json_extract(CAST(stored AS TEXT), '$.sha256')"
TWINS: Final = f"""
SELECT sha256, first.id, last.id FROM (
    SELECT {_SHA256} AS sha256, MIN(jobs.rowid) AS first, MAX(jobs.rowid) AS last
    FROM jobs {_PRESENT} WHERE state = 'stored' GROUP BY 1 HAVING COUNT(*) > 1 LIMIT ?
) AS twins JOIN jobs AS first ON first.rowid = twins.first JOIN jobs AS last ON last.rowid = twins.last
"""


def tally(*, of_run: bool) -> str:
    """The statement that counts present jobs, or those that run ``:run_id`` planned and selected.

    A last row without jobs holds what was counted for their earlier fingerprints.
    """
    those = "WHERE jobs.run_id = :run_id AND selected" if of_run else _PRESENT
    # the second part goes by the former ones, which are few
    return f"""
        SELECT state, reason, COUNT(*), SUM(charged), SUM(unknown), SUM(lost), SUM(cost_usd), SUM(unknown_usd)
        FROM jobs {those} GROUP BY state, reason
        UNION ALL
        SELECT NULL, NULL, 0, SUM(former.charged), SUM(former.unknown), SUM(former.lost),
            SUM(former.cost_usd), SUM(former.unknown_usd)
        FROM former CROSS JOIN jobs ON jobs.id = former.id {those}
    """
