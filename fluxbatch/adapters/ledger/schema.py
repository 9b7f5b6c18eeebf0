"""Tables and statements of the ledger. WAL and ``synchronous=FULL``: what was committed survives a power cut."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ADVANCE",
    "BEGIN_RUN",
    "CLAIM",
    "COLUMNS",
    "CREATE",
    "END_RUN",
    "IN_STATE",
    "PENDING",
    "PENDING_MODELS",
    "PRAGMAS",
    "REPLAN",
    "ROWS",
    "STAMP",
    "VERSION",
    "tally",
]

VERSION: Final = 1

PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    # URLs are forgotten once their image is stored, also by the pages they were on; the WAL holds them until it is
    # checkpointed, which happens as it grows, at the start of a run and at its end
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8000",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA wal_checkpoint(TRUNCATE)",
)

CREATE: Final = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, summary BLOB
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
    failure BLOB, reason TEXT
);
CREATE INDEX jobs_in_order ON jobs (run_id, state, model, position);
CREATE INDEX jobs_of_manifest ON jobs (manifest, run_id, position);
CREATE INDEX jobs_under_way ON jobs (state, id) WHERE state IN ('submitted', 'generated');
"""

COLUMNS: Final = (
    "job, state, attempts, charged, unknown, lost, pardoned, cost_usd, unknown_usd,"
    " lease_url, lease_deadline, lease_granted_at, request_id, stored, stored_by, failure, run_id, selected,"
    " manifest, position"
)

STAMP: Final = """
UPDATE jobs SET manifest = :manifest, position = :position, run_id = :run_id, selected = :selected WHERE id = :id
"""

REPLAN: Final = """
INSERT INTO jobs (id, manifest, position, run_id, selected, state, model, fingerprint, job, failure, reason)
VALUES (:id, :manifest, :position, :run_id, :selected, :state, :model, :fingerprint, :job, :failure, :reason)
ON CONFLICT (id) DO UPDATE SET
    state = CASE WHEN :keep THEN state ELSE excluded.state END,
    failure = CASE WHEN :keep THEN failure ELSE excluded.failure END,
    reason = CASE WHEN :keep THEN reason ELSE excluded.reason END,
    model = excluded.model, job = excluded.job,
    attempts = CASE WHEN :keep THEN attempts ELSE 0 END,
    pardoned = CASE WHEN :keep OR fingerprint = excluded.fingerprint
               THEN CASE WHEN :pardon THEN charged + unknown ELSE pardoned END ELSE 0 END,
    charged = CASE WHEN :keep OR fingerprint = excluded.fingerprint THEN charged ELSE 0 END,
    unknown = CASE WHEN :keep OR fingerprint = excluded.fingerprint THEN unknown ELSE 0 END,
    lost = CASE WHEN :keep OR fingerprint = excluded.fingerprint THEN lost ELSE 0 END,
    cost_usd = CASE WHEN :keep OR fingerprint = excluded.fingerprint THEN cost_usd ELSE 0 END,
    unknown_usd = CASE WHEN :keep OR fingerprint = excluded.fingerprint THEN unknown_usd ELSE 0 END,
    lease_url = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_url END,
    lease_deadline = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_deadline END,
    lease_granted_at = CASE WHEN :keep OR excluded.state = 'generated' THEN lease_granted_at END,
    fingerprint = excluded.fingerprint
WHERE state NOT IN ('submitted', 'generated')
"""

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

BEGIN_RUN: Final = "INSERT INTO runs (id, started_at) VALUES (?, ?)"
END_RUN: Final = "UPDATE runs SET ended_at = ?, summary = ? WHERE id = ?"
CLAIM: Final = """
INSERT INTO manifests (name, ordinal, run_id) VALUES (?, (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM manifests), ?)
ON CONFLICT (name) DO UPDATE SET run_id = excluded.run_id
"""

PENDING: Final = f"""
SELECT {COLUMNS} FROM jobs
WHERE run_id = ? AND state = 'pending' AND model = ? AND position > ? AND selected ORDER BY position LIMIT ?
"""
PENDING_MODELS: Final = """
SELECT model, COUNT(*) FROM jobs WHERE run_id = ? AND state = 'pending' AND selected
GROUP BY model ORDER BY MIN(position)
"""
IN_STATE: Final = f"SELECT {COLUMNS} FROM jobs WHERE state = ? AND id > ? ORDER BY id LIMIT ?"

_PRESENT: Final = "jobs JOIN manifests ON jobs.manifest = manifests.name AND jobs.run_id = manifests.run_id"

ROWS: Final = f"""
SELECT {COLUMNS}, position FROM jobs WHERE manifest = ? AND run_id = ? AND position > ? ORDER BY position LIMIT ?
"""


def tally(run_id: str) -> tuple[str, tuple[str, ...]]:
    """The statement that counts present jobs, or those that a run planned and selected, with its values."""
    source = "jobs WHERE run_id = ? AND selected" if run_id else _PRESENT
    statement = f"""
        SELECT state, reason, COUNT(*), SUM(charged), SUM(unknown), SUM(lost), SUM(cost_usd), SUM(unknown_usd)
        FROM {source} GROUP BY state, reason
    """
    return statement, (run_id,) if run_id else ()
