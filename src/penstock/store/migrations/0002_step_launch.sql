-- What the launch of a step needs while it runs, so that a controller that was killed before the launch left is followed by one that
-- launches it. A step that has ended names none, and its blobs go with the next pruning.

ALTER TABLE step ADD COLUMN launch BLOB;
ALTER TABLE step ADD COLUMN environment BLOB;

CREATE TRIGGER step_insert AFTER INSERT ON step WHEN NEW.launch IS NOT NULL OR NEW.environment IS NOT NULL BEGIN
    SELECT RAISE(ABORT, 'a step row names a blob that is not stored')
        WHERE (NEW.launch IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = NEW.launch))
            OR (NEW.environment IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = NEW.environment));
    UPDATE blob SET refs = refs + 1 WHERE digest = NEW.launch;
    UPDATE blob SET refs = refs + 1 WHERE digest = NEW.environment;
END;

CREATE TRIGGER step_update AFTER UPDATE ON step WHEN OLD.launch IS NOT NEW.launch OR OLD.environment IS NOT NEW.environment BEGIN
    SELECT RAISE(ABORT, 'a step row names a blob that is not stored')
        WHERE (NEW.launch IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = NEW.launch))
            OR (NEW.environment IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = NEW.environment));
    UPDATE blob SET refs = refs + 1 WHERE digest = NEW.launch;
    UPDATE blob SET refs = refs + 1 WHERE digest = NEW.environment;
    UPDATE blob SET refs = refs - 1 WHERE digest = OLD.launch;
    UPDATE blob SET refs = refs - 1 WHERE digest = OLD.environment;
END;

CREATE TRIGGER step_delete AFTER DELETE ON step WHEN OLD.launch IS NOT NULL OR OLD.environment IS NOT NULL BEGIN
    UPDATE blob SET refs = refs - 1 WHERE digest = OLD.launch;
    UPDATE blob SET refs = refs - 1 WHERE digest = OLD.environment;
END;
