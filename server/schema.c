#include "schema.h"

const schema_step SCHEMA[] = {
    /* seq: the newest sequence number given out; it only rises, whatever is deleted. */
    {1, false,
     "CREATE TABLE clinics (clinic BYTEA NOT NULL, root_key BYTEA NOT NULL, seq BIGINT NOT NULL, created BIGINT NOT "
     "NULL, "
     "roster_number BIGINT, roster BYTEA, PRIMARY KEY (clinic))"},
    {1, true, "CREATE TABLE directory (name BYTEA NOT NULL, clinic BYTEA NOT NULL, PRIMARY KEY (name))"},
    /* revoked: when, or 0. enrolled: the clinic's sequence number then. */
    {1, false,
     "CREATE TABLE devices (clinic BYTEA NOT NULL, device BYTEA NOT NULL, public_key BYTEA NOT NULL, chain BYTEA NOT "
     "NULL, "
     "kind BIGINT NOT NULL, rights BIGINT NOT NULL, not_after BIGINT NOT NULL, enrolled BIGINT NOT NULL, "
     "revoked BIGINT NOT NULL, PRIMARY KEY (clinic, device))"},
    {1, false, "CREATE INDEX devices_by_kind ON devices (clinic, kind)"},
    /* claimed: when, or 0; then data is empty and the row only keeps the same package from being published again. */
    {1, false,
     "CREATE TABLE key_packages (clinic BYTEA NOT NULL, device BYTEA NOT NULL, digest BYTEA NOT NULL, number BIGINT "
     "NOT NULL, "
     "claimed BIGINT NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (clinic, device, digest))"},
    {1, false, "CREATE INDEX key_packages_in_stock ON key_packages (clinic, device, claimed, number)"},
    {1, false,
     "CREATE TABLE last_resorts (clinic BYTEA NOT NULL, device BYTEA NOT NULL, data BYTEA NOT NULL, "
     "PRIMARY KEY (clinic, device))"},
    {1, true,
     "CREATE TABLE mls_groups (clinic BYTEA NOT NULL, group_id BYTEA NOT NULL, epoch BIGINT NOT NULL, "
     "PRIMARY KEY (clinic, group_id))"},
    /* active 0: revoked, waiting to be removed by a commit. */
    {1, true,
     "CREATE TABLE members (clinic BYTEA NOT NULL, group_id BYTEA NOT NULL, device BYTEA NOT NULL, active BIGINT NOT "
     "NULL, "
     "PRIMARY KEY (clinic, group_id, device))"},
    {1, false, "CREATE INDEX members_by_device ON members (clinic, device)"},
    {1, true,
     "CREATE TABLE commits (clinic BYTEA NOT NULL, group_id BYTEA NOT NULL, epoch BIGINT NOT NULL, sender BYTEA NOT "
     "NULL, "
     "digest BYTEA NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (clinic, group_id, epoch))"},
    /* Client message ids that were used. */
    {1, true,
     "CREATE TABLE sent (clinic BYTEA NOT NULL, device BYTEA NOT NULL, message_id BYTEA NOT NULL, digest BYTEA NOT "
     "NULL, "
     "seq BIGINT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (clinic, device, message_id))"},
    /* waiting: how many devices have not acknowledged it. `waiting` stands before `data`, so that counting it down
     * does not rewrite a large body. */
    {1, false,
     "CREATE TABLE events (clinic BYTEA NOT NULL, seq BIGINT NOT NULL, waiting BIGINT NOT NULL, kind BIGINT NOT NULL, "
     "at BIGINT NOT NULL, group_id BYTEA, sender BYTEA, ref BYTEA, number BIGINT, data BYTEA, PRIMARY KEY (clinic, "
     "seq))"},
    {1, true,
     "CREATE TABLE deliveries (clinic BYTEA NOT NULL, device BYTEA NOT NULL, seq BIGINT NOT NULL, "
     "PRIMARY KEY (clinic, device, seq))"},
    {1, false,
     "CREATE TABLE invitations (clinic BYTEA NOT NULL, invitation BYTEA NOT NULL, public_key BYTEA NOT NULL, "
     "issuer BYTEA NOT NULL, state BIGINT NOT NULL, attempts_left BIGINT NOT NULL, enrols BIGINT NOT NULL, "
     "expires BIGINT NOT NULL, created BIGINT NOT NULL, number BIGINT NOT NULL, chain BYTEA NOT NULL, "
     "sealed BYTEA NOT NULL, check_value BYTEA, PRIMARY KEY (clinic, invitation))"},
    {1, false, "CREATE INDEX invitations_by_issuer ON invitations (clinic, issuer, number)"},
    /* minute: of `created`, so that what is too old is one range. */
    {1, true,
     "CREATE TABLE nonces (clinic BYTEA NOT NULL, minute BIGINT NOT NULL, keyid BYTEA NOT NULL, nonce BYTEA NOT NULL, "
     "PRIMARY KEY (clinic, minute, keyid, nonce))"},

    /* Messages that wait for their time; the row goes when they are delivered or withdrawn, `sent` keeps what became of them.
     * The index is one of each shard: the relay asks all of them what is due. */
    {2, false,
     "CREATE TABLE scheduled (clinic BYTEA NOT NULL, device BYTEA NOT NULL, message_id BYTEA NOT NULL, deliver_at "
     "BIGINT "
     "NOT NULL, group_id BYTEA NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (clinic, device, message_id))"},
    {2, false, "CREATE INDEX scheduled_by_time ON scheduled (deliver_at, clinic)"},
    /* stored: how many of `size` bytes are there; the upload goes on at that offset. */
    {2, true,
     "CREATE TABLE blobs (clinic BYTEA NOT NULL, blob BYTEA NOT NULL, device BYTEA NOT NULL, size BIGINT NOT NULL, "
     "stored BIGINT NOT NULL, created BIGINT NOT NULL, PRIMARY KEY (clinic, blob))"},
    {2, false, "CREATE INDEX blobs_by_age ON blobs (created)"},
    {2, false, "CREATE INDEX blobs_unfinished ON blobs (created) WHERE stored < size"},
    {2, false,
     "CREATE TABLE blob_pieces (clinic BYTEA NOT NULL, blob BYTEA NOT NULL, at BIGINT NOT NULL, data BYTEA NOT NULL, "
     "PRIMARY KEY (clinic, blob, at))"},
    /* The sizes of a clinic's blobs together, so that the quota needs no count. */
    {2, true, "CREATE TABLE blob_use (clinic BYTEA NOT NULL, bytes BIGINT NOT NULL, PRIMARY KEY (clinic))"},
    /* The audit log. An entry is the struct of PROTOCOL.md. */
    {3, true,
     "CREATE TABLE audit_entries (clinic BYTEA NOT NULL, number BIGINT NOT NULL, entry BYTEA NOT NULL, "
     "PRIMARY KEY (clinic, number))"},
    /* The end of the chain and the newest checkpoint: apart from the clinic's row, which holds the roster too. */
    {3, true,
     "CREATE TABLE audit_heads (clinic BYTEA NOT NULL, number BIGINT NOT NULL, hash BYTEA NOT NULL, "
     "signed_number BIGINT NOT NULL, signed_at BIGINT NOT NULL, PRIMARY KEY (clinic))"},
    {3, true,
     "CREATE TABLE audit_checkpoints (clinic BYTEA NOT NULL, number BIGINT NOT NULL, hash BYTEA NOT NULL, "
     "at BIGINT NOT NULL, signature BYTEA NOT NULL, PRIMARY KEY (clinic, number))"},
    /* Ids of clients' own events that were used. */
    {3, true,
     "CREATE TABLE audit_events (clinic BYTEA NOT NULL, device BYTEA NOT NULL, id BYTEA NOT NULL, digest BYTEA NOT "
     "NULL, number BIGINT NOT NULL, PRIMARY KEY (clinic, device, id))"},
    /* A random number that is another one whenever a device's rights or a group's members have changed: relays remember those. */
    {3, true, "CREATE TABLE clinic_marks (clinic BYTEA NOT NULL, mark BIGINT NOT NULL, PRIMARY KEY (clinic))"},
    /* One row, of all relays on this database. */
    {3, false, "CREATE TABLE audit_key (number BIGINT NOT NULL, seed BYTEA NOT NULL, PRIMARY KEY (number))"},
    /* How many days events wait for a device, of clinics that have a period of their own. */
    {3, true, "CREATE TABLE retention (clinic BYTEA NOT NULL, days BIGINT NOT NULL, PRIMARY KEY (clinic))"},
    /* Where a device's push service takes pushes for it: a secret of the device's. */
    {3, false,
     "CREATE TABLE push_subscriptions (clinic BYTEA NOT NULL, device BYTEA NOT NULL, endpoint BYTEA NOT NULL, "
     "PRIMARY KEY (clinic, device))"},
    /* One row, like audit_key: the scalar and the point of the key for push services. */
    {3, false, "CREATE TABLE push_key (number BIGINT NOT NULL, secret BYTEA NOT NULL, PRIMARY KEY (number))"},
    /* A clinic's rules for sessions (session.h). */
    {3, true,
     "CREATE TABLE policies (clinic BYTEA NOT NULL, staff BIGINT NOT NULL, patients BIGINT NOT NULL, "
     "staff_idle_s BIGINT NOT NULL, staff_overall_s BIGINT NOT NULL, patient_idle_s BIGINT NOT NULL, "
     "patient_overall_s BIGINT NOT NULL, PRIMARY KEY (clinic))"},
    /* credential: its id, or empty for codes. secret: a public key, or the secret of codes, which has to be read to check one.
     * counter: of the authenticator, or the time step of the last code. */
    {3, false,
     "CREATE TABLE verifiers (clinic BYTEA NOT NULL, device BYTEA NOT NULL, verifier BYTEA NOT NULL, method BIGINT NOT "
     "NULL, proven BIGINT NOT NULL, created BIGINT NOT NULL, algorithm BIGINT NOT NULL, credential BYTEA NOT NULL, "
     "secret BYTEA NOT NULL, counter BIGINT NOT NULL, attempts BIGINT NOT NULL, locked_until BIGINT NOT NULL, "
     "PRIMARY KEY (clinic, device, verifier))"},
    {3, true,
     "CREATE TABLE verifier_openings (clinic BYTEA NOT NULL, device BYTEA NOT NULL, until BIGINT NOT NULL, "
     "PRIMARY KEY (clinic, device))"},
    {3, true,
     "CREATE TABLE challenges (clinic BYTEA NOT NULL, device BYTEA NOT NULL, challenge BYTEA NOT NULL, "
     "expires BIGINT NOT NULL, PRIMARY KEY (clinic, device))"},
    /* seen: when a person was last there. */
    {3, true,
     "CREATE TABLE sessions (clinic BYTEA NOT NULL, device BYTEA NOT NULL, method BIGINT NOT NULL, verifier BYTEA NOT "
     "NULL, began BIGINT NOT NULL, seen BIGINT NOT NULL, PRIMARY KEY (clinic, device))"},
    /* What a clinic takes, so that quotas need no count (use.h); and a device's part of blob_use. */
    {3, true,
     "CREATE TABLE clinic_use (clinic BYTEA NOT NULL, stored BIGINT NOT NULL, group_count BIGINT NOT NULL, "
     "device_count BIGINT NOT NULL, invitation_count BIGINT NOT NULL, PRIMARY KEY (clinic))"},
    {3, false,
     "INSERT INTO clinic_use SELECT c.clinic, "
     "(SELECT COALESCE(SUM(LENGTH(data)), 0) FROM events e WHERE e.clinic = c.clinic) + "
     "(SELECT COALESCE(SUM(LENGTH(data)), 0) FROM scheduled s WHERE s.clinic = c.clinic), "
     "(SELECT COUNT(*) FROM mls_groups g WHERE g.clinic = c.clinic), "
     "(SELECT COUNT(*) FROM devices d WHERE d.clinic = c.clinic), "
     "(SELECT COUNT(*) FROM invitations i WHERE i.clinic = c.clinic) FROM clinics c"},
    {3, true,
     "CREATE TABLE blob_shares (clinic BYTEA NOT NULL, device BYTEA NOT NULL, bytes BIGINT NOT NULL, "
     "PRIMARY KEY (clinic, device))"},
    {3, false, "INSERT INTO blob_shares SELECT clinic, device, SUM(size) FROM blobs GROUP BY clinic, device"},
    /* Nonces that were used, several a row (nonce.h); minute: of their requests' `created`. */
    {4, false, "DROP TABLE nonces"},
    {4, true,
     "CREATE TABLE nonces (clinic BYTEA NOT NULL, number BIGINT NOT NULL, mark BIGINT NOT NULL, minute BIGINT NOT "
     "NULL, digests BYTEA NOT NULL, PRIMARY KEY (clinic, number))"},
    /* A delivery counts as well (DELIVERY_BYTES). */
    {4, false,
     "UPDATE clinic_use SET stored = stored + 256 * "
     "(SELECT COUNT(*) FROM deliveries WHERE deliveries.clinic = clinic_use.clinic)"},
};
const size_t SCHEMA_STEPS = sizeof SCHEMA / sizeof *SCHEMA;

const char *const SCHEMA_TABLES[][2] = {
    {"clinics", "SELECT * FROM clinics ORDER BY clinic"},
    {"directory", "SELECT * FROM directory ORDER BY name"},
    {"devices", "SELECT * FROM devices ORDER BY clinic, device"},
    {"key_packages", "SELECT * FROM key_packages ORDER BY clinic, device, digest"},
    {"last_resorts", "SELECT * FROM last_resorts ORDER BY clinic, device"},
    {"mls_groups", "SELECT * FROM mls_groups ORDER BY clinic, group_id"},
    {"members", "SELECT * FROM members ORDER BY clinic, group_id, device"},
    {"commits", "SELECT * FROM commits ORDER BY clinic, group_id, epoch"},
    {"sent", "SELECT * FROM sent ORDER BY clinic, device, message_id"},
    {"events", "SELECT * FROM events ORDER BY clinic, seq"},
    {"deliveries", "SELECT * FROM deliveries ORDER BY clinic, device, seq"},
    {"invitations", "SELECT * FROM invitations ORDER BY clinic, invitation"},
    {"scheduled", "SELECT * FROM scheduled ORDER BY clinic, device, message_id"},
    {"blobs", "SELECT * FROM blobs ORDER BY clinic, blob"},
    {"blob_pieces", "SELECT clinic, blob, at, LENGTH(data) FROM blob_pieces ORDER BY clinic, blob, at"},
    {"blob_use", "SELECT * FROM blob_use ORDER BY clinic"},
    {"nonces", "SELECT * FROM nonces ORDER BY clinic, number"},
    {"audit_entries", "SELECT * FROM audit_entries ORDER BY clinic, number"},
    {"audit_heads", "SELECT * FROM audit_heads ORDER BY clinic"},
    {"audit_checkpoints", "SELECT * FROM audit_checkpoints ORDER BY clinic, number"},
    {"audit_events", "SELECT * FROM audit_events ORDER BY clinic, device, id"},
    {"retention", "SELECT * FROM retention ORDER BY clinic"},
    {"push_subscriptions", "SELECT * FROM push_subscriptions ORDER BY clinic, device"},
    {"clinic_marks", "SELECT * FROM clinic_marks ORDER BY clinic"},
    {"policies", "SELECT * FROM policies ORDER BY clinic"},
    {"verifiers", "SELECT * FROM verifiers ORDER BY clinic, device, verifier"},
    {"verifier_openings", "SELECT * FROM verifier_openings ORDER BY clinic, device"},
    {"challenges", "SELECT * FROM challenges ORDER BY clinic, device"},
    {"sessions", "SELECT * FROM sessions ORDER BY clinic, device"},
    {"clinic_use", "SELECT * FROM clinic_use ORDER BY clinic"},
    {"blob_shares", "SELECT * FROM blob_shares ORDER BY clinic, device"},
    {NULL, NULL},
};
