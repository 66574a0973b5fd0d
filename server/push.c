#include "push.h"

#include <stdlib.h>

#include "log.h"

#define WAYS 8 /* slots among which a device's is */
#define REFUSED_LOG_MS 60000

typedef enum slot_state {
    SLOT_IDLE,   /* remembers not_before_ms */
    SLOT_NOTED,  /* something was delivered; look at due_ms */
    SLOT_ASKED,  /* other relays were asked; send at due_ms unless one has answered */
    SLOT_SENDING /* at the push client */
} slot_state;

typedef struct slot {
    uint8_t clinic[ID_SIZE], device[ID_SIZE];
    slot_state state;
    bool used;
    bool silent; /* what comes before not_before_ms is not looked at: no subscription, or one that fails */
    bool again;  /* something came while it was being sent */
    uint8_t tries;
    int64_t seq; /* of the newest event to ring for: who has read it has read all */
    int64_t due_ms, not_before_ms;
} slot;

struct pushes {
    push_client *client;
    push_counts counts;
    size_t busy;    /* slots that are not idle */
    size_t flights; /* of them, those at the push client */
    size_t turn_at; /* where the next turn begins, so that none is always last */
    int64_t refused_ms;
    uint8_t flying[PUSH_FLIGHT_MAX][ID_SIZE]; /* their clinics */
    slot slots[PUSH_SLOTS];
};

err pushes_open(const push_client_options *options, const push_key *key, pushes **out) {
    *out = NULL;
    pushes *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NO_MEMORY;
    err e = push_client_open(options, key, &p->client);
    if (e != OK) {
        free(p);
        return e;
    }
    *out = p;
    return OK;
}

void pushes_close(pushes *p) {
    if (p == NULL)
        return;
    push_client_close(p->client);
    free(p);
}

const push_counts *pushes_counts(const pushes *p) { return p != NULL ? &p->counts : NULL; }

/* ---- slots */

/* Device ids are halves of hashes: nobody fills a set of eight without making as many keys and certificates as are in all. */
static slot *set_of(pushes *p, const uint8_t device[ID_SIZE]) {
    return &p->slots[(size_t)(device[0] | device[1] << 8) % (PUSH_SLOTS / WAYS) * WAYS];
}

static slot *find(pushes *p, const uint8_t device[ID_SIZE]) {
    slot *set = set_of(p, device);
    for (slot *s = set; s < set + WAYS; s++)
        if (s->used && memcmp(s->device, device, ID_SIZE) == 0)
            return s;
    return NULL;
}

/* The device's slot, or for a new one that of the idle device whose memory matters least; NULL: all are busy. */
static slot *take(pushes *p, const wake *w) {
    slot *s = find(p, w->device), *set = set_of(p, w->device);
    if (s != NULL)
        return s;
    for (slot *e = set; e < set + WAYS; e++)
        if (e->state == SLOT_IDLE && (s == NULL || !e->used || (s->used && e->not_before_ms < s->not_before_ms)))
            s = e;
    if (s == NULL)
        return NULL;
    *s = (slot){.used = true};
    memcpy(s->clinic, w->clinic, ID_SIZE);
    memcpy(s->device, w->device, ID_SIZE);
    return s;
}

static void set_state(pushes *p, slot *s, slot_state state, int64_t due_ms) {
    p->busy += (size_t)(state != SLOT_IDLE) - (size_t)(s->state != SLOT_IDLE);
    s->state = state;
    s->due_ms = due_ms;
}

/* Nothing is to be done for it, and what comes until then is not looked at. */
static void silence(pushes *p, slot *s, int64_t until_ms) {
    set_state(p, s, SLOT_IDLE, 0);
    s->silent = true;
    s->not_before_ms = until_ms;
    s->tries = 0;
}

static void note(pushes *p, const wake *w, int64_t now_ms) {
    slot *s = take(p, w);
    if (s == NULL) {
        p->counts.dropped++;
        return;
    }
    s->seq = w->seq;
    if (s->state == SLOT_SENDING) {
        s->again = true;
    } else if (s->state == SLOT_IDLE && !(s->silent && now_ms < s->not_before_ms)) {
        s->silent = false;
        s->tries = 0;
        set_state(p, s, SLOT_NOTED,
                  s->not_before_ms > now_ms + PUSH_AFTER_MS ? s->not_before_ms : now_ms + PUSH_AFTER_MS);
    }
}

void pushes_note(pushes *p, const relay *r, int64_t now_ms) {
    size_t n = 0;
    const wake *w = p != NULL ? relay_wakes(r, &n) : NULL;
    for (size_t i = 0; i < n; i++) {
        slot *s = w[i].push == WAKE_SUBSCRIBED ? find(p, w[i].device) : NULL;
        if (s != NULL) {
            s->silent = false;
            s->not_before_ms = 0;
            s->tries = 0;
            if (s->state == SLOT_NOTED)
                s->due_ms = now_ms + PUSH_AFTER_MS;
        }
        if (w[i].push == WAKE_PUSH)
            note(p, &w[i], now_ms);
    }
}

/* ---- other relays */

void pushes_hear(pushes *p, relay *r, const waits *w) {
    size_t asked = 0, here = 0;
    const wake *a = relay_push_heard(r, PUSH_WHO_WAITS, &asked), *h = relay_push_heard(r, PUSH_WAITS_HERE, &here);
    wake waiting[PUSH_LOOKUPS_A_TURN];
    size_t n = 0;
    for (size_t i = 0; i < asked; i++) {
        if (waits_of(w, a[i].device) != NULL)
            waiting[n++] = a[i];
        if (n == PUSH_LOOKUPS_A_TURN || i + 1 == asked) {
            relay_push_tell(r, PUSH_WAITS_HERE, waiting, n);
            n = 0;
        }
    }
    for (size_t i = 0; p != NULL && i < here; i++) {
        slot *s = find(p, h[i].device);
        if (s != NULL && s->state == SLOT_ASKED)
            set_state(p, s, SLOT_IDLE, 0);
    }
}

/* ---- sending */

static size_t flights_of(const pushes *p, const uint8_t clinic[ID_SIZE]) {
    size_t n = 0;
    for (size_t i = 0; i < p->flights; i++)
        n += memcmp(p->flying[i], clinic, ID_SIZE) == 0;
    return n;
}

static void landed(pushes *p, const uint8_t clinic[ID_SIZE]) {
    size_t i = 0;
    while (i < p->flights && memcmp(p->flying[i], clinic, ID_SIZE) != 0)
        i++;
    if (i < p->flights)
        memmove(p->flying[i], p->flying[--p->flights], ID_SIZE);
}

/* Twice as long each time, and longer by up to a half: those who failed together don't come back together. */
static int64_t backoff_ms(const slot *s, int64_t retry_after_s) {
    int64_t ms = PUSH_BACKOFF_MS << (s->tries - 1), wish = retry_after_s * 1000;
    ms += ms * s->device[2] / 512;
    if (wish > PUSH_RETRY_AFTER_S * 1000ll)
        wish = PUSH_RETRY_AFTER_S * 1000ll;
    return wish > ms ? wish : ms;
}

static void say_refused(pushes *p, const push_job *job, int64_t now_ms) {
    if (job->status == 0 || (p->refused_ms != 0 && now_ms - p->refused_ms < REFUSED_LOG_MS))
        return;
    p->refused_ms = now_ms;
    log_line(LOG_WARNING, "event=push-refused status=%d", job->status);
}

static void on_done(pushes *p, const push_job *job, int64_t now_ms) {
    slot *s = find(p, job->device);
    landed(p, job->clinic);
    if (s == NULL || s->state != SLOT_SENDING)
        return;
    bool again = s->again;
    s->again = false;
    switch (job->outcome) {
    case PUSH_SENT:
        p->counts.sent++;
        s->tries = 0;
        s->not_before_ms = now_ms + PUSH_APART_MS;
        set_state(p, s, again ? SLOT_NOTED : SLOT_IDLE, s->not_before_ms);
        break;
    case PUSH_GONE:
        p->counts.gone++;
        set_state(p, s, SLOT_IDLE, 0);
        break;
    case PUSH_AGAIN:
        if (++s->tries < PUSH_TRIES_MAX) {
            p->counts.retried++;
            set_state(p, s, SLOT_NOTED, now_ms + backoff_ms(s, job->retry_after_s));
            break;
        }
        /* fall through */
    case PUSH_REFUSED:
        p->counts.failed++;
        say_refused(p, job, now_ms);
        silence(p, s, now_ms + PUSH_HOLD_MS);
        break;
    }
}

/* Those that have ended; the subscriptions among them that are gone cost one transaction together. */
static void take_done(pushes *p, relay *r, int64_t now_ms) {
    push_job *ended = NULL;
    push_gone gone[PUSH_FLIGHT_MAX];
    size_t n = 0;
    for (push_job *job; (job = push_client_done(p->client)) != NULL; ended = job) {
        on_done(p, job, now_ms);
        if (job->outcome == PUSH_GONE && n < PUSH_FLIGHT_MAX)
            gone[n++] = (push_gone){.clinic = job->clinic, .device = job->device, .endpoint = job->endpoint};
        job->next = ended;
    }
    relay_push_drop(r, gone, n);
    for (push_job *next; ended != NULL; ended = next) {
        next = ended->next;
        free(ended);
    }
}

typedef enum looked { LOOK_ON, LOOK_ASK, LOOK_NO_MORE } looked;

/* One that is due. LOOK_ASK: other relays are to be asked about it. LOOK_NO_MORE: the database fails. */
static looked look(pushes *p, relay *r, slot *s, int64_t now_ms) {
    push_job *job = calloc(1, sizeof *job);
    if (job == NULL || p->flights == PUSH_FLIGHT_MAX || flights_of(p, s->clinic) >= PUSH_FLIGHT_A_CLINIC) {
        s->due_ms = now_ms + PUSH_AFTER_MS;
        free(job);
        return LOOK_ON;
    }
    bool asks = s->state == SLOT_NOTED && relay_descriptor(r) >= 0;
    push_found found = relay_push_find(r, s->clinic, s->device, s->seq, job->endpoint);
    if (found == PUSH_WANTED && !asks) {
        memcpy(job->clinic, s->clinic, ID_SIZE);
        memcpy(job->device, s->device, ID_SIZE);
        job->expires_s = now_ms / 1000 + PUSH_TOKEN_S;
        memcpy(p->flying[p->flights++], s->clinic, ID_SIZE);
        set_state(p, s, SLOT_SENDING, 0);
        push_client_send(p->client, job);
        return LOOK_ON;
    }
    free(job);
    switch (found) {
    case PUSH_WANTED: set_state(p, s, SLOT_ASKED, now_ms + PUSH_ASK_MS); return LOOK_ASK;
    case PUSH_HAS_READ: set_state(p, s, SLOT_IDLE, 0); return LOOK_ON;
    case PUSH_NO_SUBSCRIPTION: silence(p, s, now_ms + PUSH_UNKNOWN_MS); return LOOK_ON;
    case PUSH_LOOKUP_FAILED: break;
    }
    s->due_ms = now_ms + PUSH_AFTER_MS;
    return LOOK_NO_MORE;
}

void pushes_turn(pushes *p, relay *r, const waits *w, int64_t now_ms) {
    wake asked[PUSH_LOOKUPS_A_TURN];
    size_t lookups = 0, n = 0;
    if (p == NULL)
        return;
    take_done(p, r, now_ms);
    int64_t end_ms = clock_now_ms() + PUSH_TURN_MS;
    for (size_t left = PUSH_SLOTS; p->busy > 0 && left > 0 && lookups < PUSH_LOOKUPS_A_TURN; left--) {
        slot *s = &p->slots[p->turn_at];
        p->turn_at = (p->turn_at + 1) % PUSH_SLOTS;
        if ((s->state != SLOT_NOTED && s->state != SLOT_ASKED) || now_ms < s->due_ms)
            continue;
        if (waits_of(w, s->device) != NULL) { /* somebody is there and was told */
            set_state(p, s, SLOT_IDLE, 0);
            continue;
        }
        looked last = look(p, r, s, now_ms);
        lookups++;
        if (last == LOOK_ASK)
            memcpy(asked[n++].device, s->device, ID_SIZE);
        if (last == LOOK_NO_MORE || clock_now_ms() >= end_ms)
            break;
    }
    relay_push_tell(r, PUSH_WHO_WAITS, asked, n);
}
