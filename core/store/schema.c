/* schema.c: the account's tables, as the list of steps that lead from each version to the next. A step that was
 * released is never edited: append. Ids of clinics, subjects, devices and messages are 16-byte blobs; times are
 * milliseconds since 1970. */
#include "store/store.h"

static const char version_1[] =
    /* Single values: who we are, keys, the inbox's cursor (client/account.h lists the names). */
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;"
    /* A conversation is one MLS group. state: conversation_state. roster_number: its members were last compared with that
     * roster. counter and previous are our own chain of contents (client/content.h). */
    "CREATE TABLE conversation (id INTEGER PRIMARY KEY, group_id BLOB NOT NULL UNIQUE, subject_id BLOB, state INTEGER "
    "NOT NULL,"
    " level INTEGER NOT NULL DEFAULT 0, roster_number INTEGER NOT NULL DEFAULT 0, created_ms INTEGER NOT NULL, counter "
    "INTEGER NOT NULL DEFAULT 0, previous BLOB NOT NULL) STRICT;"
    /* The group's state at the grain at which it changes (mls/records.h). */
    "CREATE TABLE record (conversation INTEGER NOT NULL, kind INTEGER NOT NULL, epoch INTEGER NOT NULL, idx INTEGER "
    "NOT NULL,"
    " value BLOB NOT NULL, PRIMARY KEY (conversation, kind, epoch, idx)) WITHOUT ROWID, STRICT;"
    /* Our commit whose echo is awaited. */
    "CREATE TABLE pending_commit (conversation INTEGER PRIMARY KEY, hash BLOB NOT NULL, staged BLOB NOT NULL) STRICT;"
    /* What we know of each sending device's chain, and the contents of it that are missing. */
    "CREATE TABLE sender (conversation INTEGER NOT NULL, device_id BLOB NOT NULL, counter INTEGER NOT NULL, hash BLOB "
    "NOT NULL,"
    " PRIMARY KEY (conversation, device_id)) WITHOUT ROWID, STRICT;"
    "CREATE TABLE missing (conversation INTEGER NOT NULL, device_id BLOB NOT NULL, counter INTEGER NOT NULL,"
    " PRIMARY KEY (conversation, device_id, counter)) WITHOUT ROWID, STRICT;"
    /* Texts and notices; ids rise in the order in which they are shown, from 2^40: there is room below for history that is
     * shared later. kind: 0 text, 1 notice. state: message_state. */
    "CREATE TABLE message (id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, message_id BLOB NOT NULL UNIQUE, "
    "kind INTEGER NOT NULL,"
    " device_id BLOB, subject_id BLOB, own INTEGER NOT NULL, text TEXT NOT NULL, code TEXT, state INTEGER NOT NULL, "
    "reason TEXT,"
    " sent_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, shared INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX message_order ON message (conversation, id);"
    "CREATE INDEX message_unread ON message (conversation) WHERE state = 5;"
    "CREATE INDEX message_sending ON message (conversation, id) WHERE state = 0;"
    /* Receipts that are due to be sent. state: message_state delivered or read. */
    "CREATE TABLE receipt_due (conversation INTEGER NOT NULL, message_id BLOB NOT NULL, state INTEGER NOT NULL,"
    " PRIMARY KEY (conversation, message_id, state)) WITHOUT ROWID, STRICT;"
    /* Names of people, as members of the clinic told them. */
    "CREATE TABLE person (subject_id BLOB PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL) WITHOUT ROWID, "
    "STRICT;"
    /* Devices whose chain was checked: from the roster, or met in a group. listed: in the newest roster. */
    "CREATE TABLE device (device_id BLOB PRIMARY KEY, subject_id BLOB NOT NULL, kind INTEGER NOT NULL, chain BLOB NOT "
    "NULL,"
    " listed INTEGER NOT NULL DEFAULT 0, revoked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID, STRICT;"
    /* Our own key packages whose Welcome has not come, with their secrets. */
    "CREATE TABLE key_package (reference BLOB PRIMARY KEY, encoded BLOB NOT NULL, secrets BLOB NOT NULL, last_resort "
    "INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL) WITHOUT ROWID, STRICT;"
    /* Invitations that we issued. */
    "CREATE TABLE invitation (invitation_id BLOB PRIMARY KEY, subject_id BLOB NOT NULL, enrols INTEGER NOT NULL, level "
    "INTEGER NOT NULL,"
    " name TEXT NOT NULL, state TEXT NOT NULL, attempts_left INTEGER NOT NULL, created_ms INTEGER NOT NULL, expires_ms "
    "INTEGER NOT NULL)"
    " WITHOUT ROWID, STRICT;"
    /* Requests that must reach the relay, however often we are killed. lane 0: the account's, in order, before all
     * else; otherwise the conversation's, in order. kind: job_kind. reference: what the answer is about;
     * of a message its id, if it is a text, and its place in our chain of contents (8 bytes). */
    /* AUTOINCREMENT: an answer names its request's job, so a number must never come to mean another one. */
    "CREATE TABLE job (id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, kind INTEGER NOT NULL, reference "
    "BLOB, method TEXT NOT NULL,"
    " path TEXT NOT NULL, type TEXT, body BLOB, attempts INTEGER NOT NULL DEFAULT 0, not_before_ms INTEGER NOT NULL "
    "DEFAULT 0) STRICT;"
    "CREATE INDEX job_lane ON job (lane, id);"
    /* What the user was told (client/notice.h). */
    "CREATE TABLE notice (id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, code TEXT NOT NULL, at_ms INTEGER NOT "
    "NULL) STRICT;";

static const char version_2[] =
    /* How often our text was sent again for somebody who could not read it. */
    "CREATE TABLE resent (message_id BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID, STRICT;"
    /* Places in our chain of contents that the relay refused for good and that we have yet to tell the others of. */
    "CREATE TABLE withdrawn (conversation INTEGER NOT NULL, counter INTEGER NOT NULL,"
    " PRIMARY KEY (conversation, counter)) WITHOUT ROWID, STRICT;"
    /* Listed devices whose key packages were asked for in vain: since when, and when to ask again. */
    "CREATE TABLE claim (device_id BLOB PRIMARY KEY, since_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL)"
    " WITHOUT ROWID, STRICT;"
    /* The epoch without us: a Welcome to no later one is an old one, brought again. */
    "CREATE TABLE departure (conversation INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;";

static const char version_3[] =
    /* Checkpoints of the relay's audit log that it gave us, the newest ones (client/audit_log.h). */
    "CREATE TABLE audit_checkpoint (number INTEGER PRIMARY KEY, checkpoint BLOB NOT NULL) STRICT;"
    /* What was found to be wrong with the log, and the proof. fault: audit_fault. */
    "CREATE TABLE audit_alarm (id INTEGER PRIMARY KEY, fault INTEGER NOT NULL, number INTEGER NOT NULL, at_ms INTEGER "
    "NOT NULL,"
    " device_id BLOB, kept BLOB, other BLOB, UNIQUE (fault, number)) STRICT;";

static const char *const migrations[] = {version_1, version_2, version_3};

const store_schema account_schema = {migrations, sizeof migrations / sizeof migrations[0]};
