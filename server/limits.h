/* limits.h: every bound of the relay, with its reason. What clients must know of them stands in PROTOCOL.md. */
#ifndef SERVER_LIMITS_H
#define SERVER_LIMITS_H

/* ---- requests */
#define BODY_MAX (1024 * 1024)      /* a commit with its Welcome for a few hundred members */
#define MESSAGE_MAX (256 * 1024)    /* an application message; files travel as blobs */
#define KEY_PACKAGE_MAX (16 * 1024) /* a hybrid key package with its certificates is 4 KiB */
#define SEALED_MAX (16 * 1024)      /* what an invitation says before it is accepted */
#define ROSTER_MAX (512 * 1024)     /* some ten thousand revocations */
#define CHAIN_BYTES_MAX 4096        /* CHAIN_MAX certificates of 185 bytes fit twice */
#define JSON_DEPTH_MAX 4            /* no body nests deeper than an array in an object */
#define JSON_VALUES_MAX 4096 /* a commit names 512 devices; a million zeros would cost 57 ms and 40 MiB to read */
#define HEADERS_MAX 8192     /* all headers of a request; ours are below 1 KiB */
#define HEADER_VALUE_MAX 512 /* one that we read */
#define QUERY_MAX 256        /* ?after=&wait=&limit= */
#define PATH_MAX_BYTES 256
#define GROUP_BYTES 32 /* PROTOCOL: 32 random bytes */
#define MESSAGE_ID_BYTES 16
#define DEVICES_A_CALL_MAX 64    /* of a claim: devices of one subject, and the care team */
#define MEMBERS_A_COMMIT_MAX 256 /* added or removed at once */
#define MEMBERS_MAX 1024         /* of a group: fan-out of one message is bounded by it */
#define KEY_PACKAGES_MAX 100     /* in stock for a device */
#define BLOB_ID_BYTES 32
#define BLOB_MAX (64ll * 1024 * 1024) /* a short film; larger things are no part of a conversation */
#define BLOB_PIECE_MAX BODY_MAX       /* of a request and of an answer: what it takes of memory */
#define BLOB_PIECE_MIN (64 * 1024)    /* but the last: a blob is a thousand rows at most */
#define SCHEDULED_MAX 100             /* messages of a device that wait for their time: 25 MiB at most */
#define INVITATIONS_LISTED_MAX 256
#define SEQUENCE_MAX 9007199254740991 /* integers in JSON stay below 2^53 */

/* ---- answers */
#define INBOX_LIMIT_DEFAULT 128
#define INBOX_LIMIT_MAX 256
#define INBOX_BYTES_MAX (1024 * 1024) /* of event data in one answer; one larger event goes alone */

/* ---- time */
#define CLOCK_SKEW_S 300 /* phones' clocks are rarely further off */
#define NONCE_KEEP_S 660 /* both sides of the skew, and a minute for bucket borders */
#define WAIT_MAX_S 25    /* below the 30 s after which proxies and mobile networks cut idle requests */
#define SSE_COMMENT_S 15
#define SSE_LIFE_S 900 /* then the client asks again, with a new signature */
#define MESSAGE_ID_KEEP_MS (30ll * 24 * 3600 * 1000)
#define SCHEDULE_AHEAD_MS (366ll * 24 * 3600 * 1000) /* "the same day next year", leap years too */
#define BLOB_UPLOAD_MS (24ll * 3600 * 1000)          /* an upload that was begun this long ago is forgotten */
#define BLOB_DAYS 366                                /* kept, where the operator says nothing else */
#define BLOB_QUOTA_MIB 10240                         /* of a clinic, likewise */
/* Undelivered events are kept this long, where neither operator nor clinic says otherwise: a device's certificate lasts a year, so
 * one that was away longer can't ask for them any more. */
#define RETENTION_DAYS 366
#define RETENTION_DAYS_MAX 36600 /* a hundred years: no period at all */
#define RETENTION_DAYS_MIN 30    /* PROTOCOL: a month's holiday loses nothing, and message ids are remembered as long */
#define COMMITS_REMEMBERED 64    /* of a group: how far back a repeated commit gets its old answer */
#define HEADERS_TIME_S 10        /* slow-loris: all headers must be there by then */
#define BODY_TIME_S 20           /* and the whole body by then */
#define ANSWER_TIME_S 30         /* and the answer must be taken by then, or make progress */
#define KEEP_ALIVE_S 60
/* What was sent is acknowledged by the peer's machine by then, or it is gone: with the comments a dead stream ends after about a minute. */
#define PEER_TIME_S 30
#define OUTAGE_TELL_MS 60000 /* between lines of the log while batches fail */
#define OUTAGE_QUIET_MS 5000 /* without a failure: it is over */
#define DRAIN_S 5            /* SIGTERM: answers under way are finished until then */

/* ---- several at once */
#define CONNECTIONS_MAX 16384           /* and never more than the process may have descriptors */
#define BODIES_MAX (256u * BODY_MAX)    /* contents that are there or still coming, of all connections together */
#define CONNECTIONS_AN_ADDRESS_MAX 1024 /* a clinic or a mobile carrier behind one address */
#define WAITS_A_DEVICE_MAX 4            /* tabs that don't know of each other */
#define BATCH_MAX 256                   /* requests in one transaction */
#define BATCH_TURNS_MAX 4               /* event-loop turns in which a batch is gathered */
#define QUEUE_MAX 4096                  /* requests that wait for a transaction, where the operator says nothing else */
#define QUEUE_MS 250    /* and no more than are served in this: those that come meanwhile wait as long again */
#define QUEUE_RETRY_S 4 /* who was refused comes again after 1 to so many s, not all at once */

/* ---- remembered from one batch to the next (directory.h): 8 MiB for devices, 9 MiB for groups */
#define CLINICS_REMEMBERED 8192
#define DEVICES_REMEMBERED 65536
#define GROUPS_REMEMBERED 8192
/* Of one minute, 8 bytes twice: more requests than one relay takes. What comes beyond gets 503. Of 12 minutes 200 MiB, when it is so. */
#define NONCES_A_MINUTE_MAX (1024 * 1024)
#define GROUP_REMEMBERED_MAX 64 /* members; a larger group's fan-out costs more than asking for it */

/* ---- signatures */
#define VERIFIERS_MAX 7         /* threads beside the loop's: then the database is what takes the time */
#define VERIFIED_TOGETHER_MIN 4 /* signatures; for fewer, waking a thread takes longer than doing it */

/* ---- rates, a minute */
#define RATE_DEVICE 1200
#define RATE_ADDRESS 2400
#define RATE_ENROL 30     /* enrolments and invitation reads of an address */
#define RATE_INVITE 30    /* reads and enrolments of one invitation: a page that is loaded again and again */
#define RATE_CLINIC 60000 /* of all a clinic's devices: a thousand a second, ten times what a large hospital does */
/* Buckets remembered, of addresses and of others; beyond, those longest unused are forgotten. 5 MiB in all. */
#define RATE_SLOTS 65536

/* ---- quotas of a clinic: what one may do to all others that share the disk; far above what a large hospital has */
#define QUOTA_STORED_MIB 10240 /* of what its devices have not fetched */
/* Beside an event's body, for each device that it waits for: a delivery's row and key, and its part of the event's. Else small messages
 * to large groups would take a thousand times what is counted. */
#define DELIVERY_BYTES 256
#define QUOTA_GROUPS 1000000
#define QUOTA_DEVICES 200000
#define QUOTA_INVITATIONS 200000
#define BLOB_SHARE_PERCENT 25 /* of BLOB_QUOTA_MIB, that the blobs of one device may take */

/* ---- the audit log */
#define AUDIT_CHECKPOINT_MS 60000 /* between two checkpoints of a clinic */

/* ---- pushes */
#define PUSH_ENDPOINT_MAX 2048 /* those of the large push services have some 200 to 1000 characters */
#define PUSH_CONTACT_MAX 200   /* a mail address or a page's */
#define PUSH_AFTER_MS 2000     /* who is there has asked again by then, and needs none */
#define PUSH_ASK_MS 1500    /* in which other relays on the database, busy ones too, say that he waits at one of them */
#define PUSH_APART_MS 30000 /* of a device: what comes in a row rings once */
#define PUSH_UNKNOWN_MS 60000   /* a device without subscription is not looked up again for so long */
#define PUSH_HOLD_MS 3600000    /* nor is a push service that failed again and again asked */
#define PUSH_TRIES_MAX 5        /* then it has failed */
#define PUSH_BACKOFF_MS 5000    /* before the second try, and twice as long before each further one */
#define PUSH_RETRY_AFTER_S 3600 /* the longest wish of a push service that is heard */
#define PUSH_SLOTS 16384        /* devices that are thought of at once: 1 MiB */
#define PUSH_LOOKUPS_A_TURN 256 /* of subscriptions; there are four turns a second */
#define PUSH_TURN_MS 5          /* and no turn looks on after so long: a database may be far away */
#define PUSH_FLIGHT_MAX 64      /* under way at once */
#define PUSH_FLIGHT_A_CLINIC 16 /* so that one clinic's dead endpoints leave room for others */
#define PUSH_CONNECT_MS 5000L
#define PUSH_TIME_MS 10000L
#define PUSH_ANSWER_HEAD_MAX 16384
#define PUSH_ANSWER_BODY_MAX 4096  /* nothing of it is needed */
#define PUSH_TOKEN_S (12 * 3600)   /* RFC 8292 §2: 24 h at most; half of it leaves room for clocks */
#define PUSH_TTL_S (7 * 24 * 3600) /* a phone that was off for a holiday week still rings */
#define PUSH_TOPIC "sotto"         /* RFC 8030 §5.4: a later one takes the place of one that waits */
#define PUSH_URGENCY "normal"      /* RFC 8030 §5.3: what chat messages are */

#define CHECK_ATTEMPTS 5 /* DESIGN §6: then the invitation is locked */

/* ---- sessions: AAL2 of NIST SP 800-63B-4 allows an hour without a person and a day in all */
#define IDLE_MIN_S 60
#define IDLE_MAX_S 3600
#define OVERALL_MIN_S 60
#define OVERALL_MAX_S 86400
#define STAFF_IDLE_S 900 /* where a clinic says nothing else; staff's as AAL3 has them */
#define STAFF_OVERALL_S 43200
#define PATIENT_IDLE_S 1800
#define PATIENT_OVERALL_S 86400
#define ORIGIN_MAX 300                               /* https:// and a Host */
#define CHALLENGE_MS (5 * 60 * 1000)                 /* to find the key and touch it */
#define DEVICE_VERIFIERS_MAX 8                       /* of a device: a built-in one, a few keys, a telephone */
#define REGISTER_AFTER_ENROLMENT_MS (15 * 60 * 1000) /* the link was opened a moment ago: set up now */
#define REGISTER_AFTER_RESET_MS (24ll * 3600 * 1000) /* somebody was told that he may */
#define TOTP_ATTEMPTS 5                              /* wrong codes in a row, then it locks */
#define TOTP_LOCK_MS (15 * 60 * 1000)
#define TOTP_LOCK_DOUBLINGS 6 /* up to 16 h: some 40 guesses of 333,000 in a month */

/* ---- static files */
#define STATIC_FILES_MAX 2000
#define STATIC_FILE_MAX (16 * 1024 * 1024)
#define STATIC_BYTES_MAX (64 * 1024 * 1024) /* they are held in memory */

#endif
