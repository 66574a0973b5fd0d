#include "verify.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "limits.h"

struct verifiers {
    pthread_mutex_t mutex;
    pthread_cond_t begin, end;
    /* What is to be done; changed under the mutex while nobody works. */
    verification *list;
    size_t n;
    atomic_size_t next; /* of the list, to be taken by whoever comes first */
    uint64_t round;
    size_t working;
    bool stop;
    size_t count;
    pthread_t threads[VERIFIERS_MAX];
};

static void verify(verification *v) { v->good = signature_head_verify(v->rq, v->head, v->key, &v->fault) == OK; }

static void work(verifiers *v) {
    for (size_t i; (i = atomic_fetch_add(&v->next, 1)) < v->n;)
        verify(&v->list[i]);
}

static void *worker(void *context) {
    verifiers *v = context;
    uint64_t seen = 0;
    (void)pthread_mutex_lock(&v->mutex);
    while (!v->stop) {
        if (v->round == seen) {
            (void)pthread_cond_wait(&v->begin, &v->mutex);
            continue;
        }
        seen = v->round;
        v->working++;
        (void)pthread_mutex_unlock(&v->mutex);
        work(v);
        (void)pthread_mutex_lock(&v->mutex);
        if (--v->working == 0)
            (void)pthread_cond_signal(&v->end);
    }
    (void)pthread_mutex_unlock(&v->mutex);
    return NULL;
}

static void wait_for_workers(verifiers *v) {
    while (v->working > 0)
        (void)pthread_cond_wait(&v->end, &v->mutex);
}

err verifiers_open(size_t threads, verifiers **out) {
    verifiers *v = calloc(1, sizeof *v);
    sigset_t all, before;
    *out = v;
    if (v == NULL)
        return ERR_NO_MEMORY;
    (void)pthread_mutex_init(&v->mutex, NULL);
    (void)pthread_cond_init(&v->begin, NULL);
    (void)pthread_cond_init(&v->end, NULL);
    /* Signals are for the thread that waits for requests. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (v->count < threads && v->count < VERIFIERS_MAX &&
           pthread_create(&v->threads[v->count], NULL, worker, v) == 0)
        v->count++;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return OK;
}

void verifiers_close(verifiers *v) {
    if (v == NULL)
        return;
    (void)pthread_mutex_lock(&v->mutex);
    v->stop = true;
    (void)pthread_cond_broadcast(&v->begin);
    (void)pthread_mutex_unlock(&v->mutex);
    for (size_t i = 0; i < v->count; i++)
        (void)pthread_join(v->threads[i], NULL);
    (void)pthread_cond_destroy(&v->end);
    (void)pthread_cond_destroy(&v->begin);
    (void)pthread_mutex_destroy(&v->mutex);
    free(v);
}

void verify_all(verifiers *v, verification *list, size_t n) {
    if (v->count == 0 || n < VERIFIED_TOGETHER_MIN) {
        for (size_t i = 0; i < n; i++)
            verify(&list[i]);
        return;
    }
    (void)pthread_mutex_lock(&v->mutex);
    wait_for_workers(v); /* one may have woken up after the last round was over */
    v->list = list;
    v->n = n;
    atomic_store(&v->next, 0);
    v->round++;
    (void)pthread_cond_broadcast(&v->begin);
    (void)pthread_mutex_unlock(&v->mutex);
    work(v);
    (void)pthread_mutex_lock(&v->mutex);
    wait_for_workers(v);
    (void)pthread_mutex_unlock(&v->mutex);
}
