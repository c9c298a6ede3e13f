-- Files are not waited for without end.

ALTER TABLE files ADD COLUMN named_at REAL; -- when an envelope named it, or was sent again
UPDATE files SET named_at = (SELECT seen_at FROM blobs b WHERE b.origin = files.origin AND b.sha256 = files.sha256);
