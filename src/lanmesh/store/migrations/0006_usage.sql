-- How much each origin has stored, kept by the tables themselves, whoever writes to them or tidies up.

CREATE TABLE usage (
    origin TEXT PRIMARY KEY,             -- who sent it, as proven
    bytes  INTEGER NOT NULL              -- of its tasks and messages, and 200 for each envelope that was seen
) STRICT;

INSERT INTO usage
SELECT origin, sum(bytes) FROM (
    SELECT origin, 200 + coalesce(octet_length(text), 0) AS bytes FROM inbox
    UNION ALL
    SELECT origin, octet_length(description) FROM tasks WHERE origin <> 'self'
) GROUP BY origin;

CREATE TRIGGER usage_of_inbox AFTER INSERT ON inbox BEGIN
    INSERT INTO usage VALUES (NEW.origin, 200 + coalesce(octet_length(NEW.text), 0))
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER usage_of_inbox_given_back AFTER DELETE ON inbox BEGIN
    UPDATE usage SET bytes = bytes - 200 - coalesce(octet_length(OLD.text), 0) WHERE origin = OLD.origin;
END;

CREATE TRIGGER usage_of_inbox_cut AFTER UPDATE OF text ON inbox BEGIN
    UPDATE usage
    SET bytes = bytes - coalesce(octet_length(OLD.text), 0) + coalesce(octet_length(NEW.text), 0)
    WHERE origin = NEW.origin;
END;

CREATE TRIGGER usage_of_tasks AFTER INSERT ON tasks WHEN NEW.origin <> 'self' BEGIN
    INSERT INTO usage VALUES (NEW.origin, octet_length(NEW.description))
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER usage_of_tasks_given_back AFTER DELETE ON tasks WHEN OLD.origin <> 'self' BEGIN
    UPDATE usage SET bytes = bytes - octet_length(OLD.description) WHERE origin = OLD.origin;
END;

CREATE TRIGGER usage_of_tasks_cut AFTER UPDATE OF description ON tasks WHEN NEW.origin <> 'self' BEGIN
    UPDATE usage SET bytes = bytes - octet_length(OLD.description) + octet_length(NEW.description)
    WHERE origin = NEW.origin;
END;

CREATE INDEX tasks_open ON tasks (origin) WHERE finished_at IS NULL;
