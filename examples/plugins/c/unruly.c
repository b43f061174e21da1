/*
 * A receiver in C that keeps to no rule: for tests of hosts.
 *
 * It completes calls from threads of its own: late, twice, and calls that were never made; it goes on after it was told to
 * stop. It writes the ids of what it confirms, each batch before its first completion.
 */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <poa_plugin.h>

typedef struct {
    FILE *file;
    unsigned batches;
} unruly;

typedef struct {
    unruly *self;
    const poa_batch *batch;
    poa_call call;
    unsigned number;
} job;

static void wait_for(long milliseconds) {
    struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
    nanosleep(&time, NULL);
}

/* In one piece: the instance after this one may be writing already. */
static int write_batch(int file, const poa_batch *batch) {
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    if (!memory) return 0;
    for (size_t i = 0; i < batch->count; i++) {
        const poa_message *message = poa_message_at(batch, i);
        for (size_t n = 0; n < sizeof message->id; n++) fprintf(memory, "%02x", message->id[n]);
        fputc(' ', memory);
        fwrite(message->agent_id.data, 1, message->agent_id.len, memory);
        fputc(' ', memory);
        fwrite(message->payload.data, 1, message->payload.len, memory);
        fputc('\n', memory);
    }
    fclose(memory);
    ssize_t written = write(file, text, length);
    free(text);
    return written >= 0 && (size_t)written == length;
}

static void *work(void *argument) {
    job *todo = argument;
    poa_call call = todo->call;
    /* Every fifth batch is answered long after the host has given up, and read only then. */
    if (todo->number % 5 == 0) wait_for(1500);
    if (write_batch(fileno(todo->self->file), todo->batch))
        poa_complete(call, POA_OK, NULL, NULL);
    else
        poa_complete(call, POA_TRANSIENT, "cannot write", NULL);
    /* From here on the batch and the instance are no longer ours, but the host is there for ever. */
    free(todo);
    poa_complete(call, POA_TRANSIENT, "again", NULL);
    call.id = ~call.id;
    poa_complete(call, POA_PANICKED, "never made", NULL);
    poa_log(call.host, POA_DEBUG, "completed three times");
    return NULL;
}

static void metrics_received(void *instance, const poa_batch *batch, poa_call call) {
    unruly *self = instance;
    job *todo = malloc(sizeof *todo);
    pthread_t thread;
    if (!todo) {
        poa_complete(call, POA_TRANSIENT, "no memory", NULL);
        return;
    }
    todo->self = self;
    todo->batch = batch;
    todo->call = call;
    todo->number = ++self->batches;
    if (pthread_create(&thread, NULL, work, todo) != 0) {
        free(todo);
        poa_complete(call, POA_TRANSIENT, "no thread", NULL);
        return;
    }
    pthread_detach(thread);
}

static void drop(void *instance) {
    unruly *self = instance;
    fclose(self->file);
    free(self);
}

static void build(const poa_build *build, poa_call call) {
    unruly *self = calloc(1, sizeof *self);
    char name[4096];
    snprintf(name, sizeof name, "%.*s/unruly-c.txt", (int)build->data_dir.len, (const char *)build->data_dir.data);
    if (self) self->file = fopen(name, "a");
    if (!self || !self->file) {
        free(self);
        poa_complete(call, POA_PERMANENT, "cannot append to the file", NULL);
        return;
    }
    poa_complete(call, POA_OK, NULL, self);
}

static const poa_kind KIND = {
    .size = sizeof(poa_kind),
    .role = POA_RECEIVER,
    .name = POA_TEXT("unruly_c"),
    .build = build,
    .drop = drop,
    .metrics_received = metrics_received,
};

static const poa_kind *const KINDS[] = { &KIND };

const poa_descriptor poa_plugin_descriptor_v1 = {
    .size = sizeof(poa_descriptor),
    .abi_major = POA_ABI_MAJOR,
    .abi_minor = 0,
    .name = POA_TEXT("unruly-c"),
    .version = POA_TEXT("1.0.0"),
    .kinds = KINDS,
    .kinds_len = sizeof KINDS / sizeof *KINDS,
};
