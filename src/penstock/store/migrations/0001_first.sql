-- The first schema. Keys are integers or texts (a BLOB where a text holds bytes that are not UTF-8), so their columns have no type.

CREATE TABLE feed (
    seq INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    event BLOB NOT NULL
);

-- Every kind that is only ever loaded whole: nodes, counters, reservations, effects, usage, configuration, ...
CREATE TABLE entity (
    kind TEXT NOT NULL,
    key NOT NULL,
    row BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

-- Jobs, live and history: `row` is the job, the rest is what accounting searches by.
CREATE TABLE job (
    key NOT NULL UNIQUE,
    row BLOB NOT NULL,
    id INTEGER NOT NULL,
    array_job_id INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    submit_ms INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    live INTEGER NOT NULL,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    partition TEXT NOT NULL,
    state TEXT NOT NULL,
    run INTEGER NOT NULL,
    array_task_id INTEGER NOT NULL,
    script BLOB,
    environment BLOB
);
CREATE INDEX job_live ON job (key) WHERE live = 1;
CREATE INDEX job_id ON job (id, run);
CREATE INDEX job_array ON job (array_job_id) WHERE array_job_id <> 0;
CREATE INDEX job_end ON job (end_ms);

CREATE TABLE step (
    key NOT NULL UNIQUE,
    row BLOB NOT NULL,
    job_id INTEGER NOT NULL,
    run INTEGER NOT NULL,
    live INTEGER NOT NULL
);
CREATE INDEX step_live ON step (key) WHERE live = 1;
CREATE INDEX step_job ON step (job_id, run);

-- Scripts and environments by content. The count of job rows that name a blob lives apart from the content, so that counting does not
-- rewrite it; contents are appended in the order of their numbers.
CREATE TABLE blob (
    digest BLOB PRIMARY KEY,
    number INTEGER NOT NULL,
    refs INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX blob_unused ON blob (number) WHERE refs = 0;

CREATE TABLE blob_content (
    number INTEGER PRIMARY KEY,
    content BLOB NOT NULL
);

CREATE TRIGGER job_insert AFTER INSERT ON job WHEN NEW.script IS NOT NULL OR NEW.environment IS NOT NULL BEGIN
    SELECT RAISE(ABORT, 'a job row names a blob that is not stored')
        WHERE (NEW.script IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = NEW.script))
            OR (NEW.environment IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = NEW.environment));
    UPDATE blob SET refs = refs + 1 WHERE digest = NEW.script;
    UPDATE blob SET refs = refs + 1 WHERE digest = NEW.environment;
END;

CREATE TRIGGER job_update AFTER UPDATE ON job WHEN OLD.script IS NOT NEW.script OR OLD.environment IS NOT NEW.environment BEGIN
    SELECT RAISE(ABORT, 'a job row names a blob that is not stored')
        WHERE (NEW.script IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = NEW.script))
            OR (NEW.environment IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = NEW.environment));
    UPDATE blob SET refs = refs + 1 WHERE digest = NEW.script;
    UPDATE blob SET refs = refs + 1 WHERE digest = NEW.environment;
    UPDATE blob SET refs = refs - 1 WHERE digest = OLD.script;
    UPDATE blob SET refs = refs - 1 WHERE digest = OLD.environment;
END;

CREATE TRIGGER job_delete AFTER DELETE ON job WHEN OLD.script IS NOT NULL OR OLD.environment IS NOT NULL BEGIN
    UPDATE blob SET refs = refs - 1 WHERE digest = OLD.script;
    UPDATE blob SET refs = refs - 1 WHERE digest = OLD.environment;
END;

-- First replies, for a client that lost one and tries again. Numbers grow with time, so that the oldest go first.
CREATE TABLE request (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    uid INTEGER NOT NULL,
    reply BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    UNIQUE (id, uid)
);
