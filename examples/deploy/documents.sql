-- What a backend brings: the table whose pending rows go to the NAS.
CREATE TABLE documents (
    id BIGSERIAL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    file_path TEXT NOT NULL,
    synced_to_nas BOOLEAN NOT NULL DEFAULT FALSE,
    synced_at TIMESTAMP NULL,
    original_name TEXT NULL,
    created_at TIMESTAMP NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
