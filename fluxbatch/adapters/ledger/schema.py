"""Tables of the ledger, and what is asked of them. WAL and ``synchronous=FULL``: a commit survives a power cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AS_NOW",
    "BEGIN_RUN",
    "CLAIM",
    "COLUMNS",
    "CREATE",
    "END_RUN",
    "FREED",
    "HAND_OUT",
    "IDS",
    "IN_STATE",
    "LAST_RUN",
    "MIGRATE",
    "OWNERS",
    "PENDING",
    "PENDING_MODELS",
    "PRAGMAS",
    "ROWS",
    "RUNS_SINCE",
    "SORT_ON_DISK",
    "STRANDED",
    "TWINS",
    "UNDER_WAY",
    "VERSION",
    "WAITING",
    "tally",
]

VERSION: Final = 4

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

# of what is to be sent alone: a job that goes through its states is taken out of it once, and not moved with each
_IN_ORDER: Final = "CREATE INDEX jobs_in_order ON jobs (run_id, model, position) WHERE state = 'pending' AND selected"

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
{_IN_ORDER};
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
    3: ("DROP INDEX jobs_in_order", _IN_ORDER),
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
    3: (),
    VERSION: (),
}
"""what makes a ledger of a version look like one of today to a connection that may not write"""

COLUMNS: Final = (
    "job, state, attempts, charged, unknown, lost, pardoned, cost_usd, unknown_usd,"
    " lease_url, lease_deadline, lease_granted_at, request_id, stored, stored_by, failure, run_id, selected,"
    " manifest, position"
)

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
# the plus keeps it from going by all that is pending instead
FREED: Final = f"""
SELECT {COLUMNS}, id FROM jobs WHERE run_id = ? AND wait = 2 AND +state = 'pending' AND model = ? AND selected
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
WAITING: Final = "SELECT COUNT(*) FROM jobs WHERE run_id = ? AND wait = 1 AND +state = 'pending' AND selected"
PENDING_MODELS: Final = """
SELECT model, COUNT(*) FROM jobs WHERE run_id = ? AND state = 'pending' AND selected
GROUP BY model ORDER BY MIN(position)
"""
IDS: Final = "SELECT id FROM jobs WHERE id > ? ORDER BY id LIMIT ?"
IN_STATE: Final = f"SELECT {COLUMNS} FROM jobs WHERE state = ? AND id > ? ORDER BY id LIMIT ?"
UNDER_WAY: Final = IN_STATE.replace("WHERE", "WHERE state IN ('submitted', 'generated') AND")
"""the same for one of these two, by the index of those few rows"""

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
