-- The events of a fleet. `fleet.py setup` runs this; running it again changes nothing.
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE IF NOT EXISTS events (
    device    text        NOT NULL,   -- as in the topic, which the broker's access list binds to the certificate
    id        bigint      NOT NULL,   -- of the event; grows on a device, and is its alone
    sequence  integer     NOT NULL,   -- of the newest message about it that came
    phase     text        NOT NULL,   -- begin, update, end
    trigger   text        NOT NULL,
    camera    text        NOT NULL,
    began     timestamptz NOT NULL,
    ended     timestamptz,
    peak      real        NOT NULL,   -- the highest score
    caption   text,
    bundle    text        NOT NULL,   -- embeddings of two bundles are never compared
    embedding halfvec,                -- whole numbers from -127 to 127, which halves hold exactly; its direction counts
    PRIMARY KEY (device, id)
-- Room in each page for the message with which an event ends: the row is then replaced in its page, and the indexes,
-- of which that of the embeddings is slow to change, stay as they are.
) WITH (fillfactor = 80);

CREATE INDEX IF NOT EXISTS events_began ON events (began);
