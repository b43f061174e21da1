/*
 * A receiver in C that keeps to no rule: for tests of hosts.
 *
 * It completes calls from threads of its own: late, twice, and calls that were never made; after it was told to stop, and when it is
 * dropped already, a thread of it still calls the host. It writes the ids of what it confirms, each batch before its first completion.
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
    time_t calm; /* answers in time for so many seconds after each answer that was late */
} unruly;

typedef struct {
    unruly *self;
    const poa_batch *batch;
    poa_call call;
    int late;
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
    fputc('\n', memory); /* a line that a crash has cut ends here */
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
    /* A late one is answered long after the host has given up, and read only then. */
    if (todo->late) wait_for(1500);
    if (write_batch(fileno(todo->self->file), todo->batch))
        poa_complete(call, POA_OK, NULL, NULL);
    else
        poa_complete(call, POA_TRANSIENT, "cannot write", NULL);
    /* From here on the batch and the instance are no longer ours, but the host stays until the process ends. */
    free(todo);
    poa_complete(call, POA_TRANSIENT, "again", NULL);
    call.id = ~call.id;
    poa_complete(call, POA_PANICKED, "never made", NULL);
    poa_log(call.host, POA_DEBUG, "completed three times");
    return NULL;
}

/* Whether the calm is over, of all instances; then it begins again. */
static int is_over(time_t calm) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static time_t last;
    pthread_mutex_lock(&lock);
    time_t now = time(NULL);
    int over = now - last >= calm;
    if (over) last = now;
    pthread_mutex_unlock(&lock);
    return over;
}

/* The number of {"calm":7}; 0 when there is none. */
static time_t calm_of(poa_bytes config) {
    static const char before[] = "{\"calm\":";
    time_t calm = 0;
    if (config.len < sizeof before || memcmp(config.data, before, sizeof before - 1) != 0) return 0;
    for (size_t i = sizeof before - 1; i < config.len && config.data[i] != '}'; i++)
        calm = calm * 10 + (config.data[i] - '0');
    return calm;
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
    todo->late = ++self->batches % 5 == 0 && is_over(self->calm);
    if (pthread_create(&thread, NULL, work, todo) != 0) {
        free(todo);
        poa_complete(call, POA_TRANSIENT, "no thread", NULL);
        return;
    }
    pthread_detach(thread);
}

/* Continues for ten seconds, even after the instance was dropped. */
static void *go_on(void *argument) {
    poa_call call = *(poa_call *)argument;
    free(argument);
    for (int n = 0; n < 100; n++) {
        wait_for(100);
        poa_complete(call, POA_PANICKED, "after the end", NULL);
        poa_log(call.host, POA_INFO, "still here after it was told to stop");
    }
    return NULL;
}

static void handle_message(void *instance, uint32_t message, poa_call call) {
    poa_call *own = malloc(sizeof *own);
    pthread_t thread;
    (void)instance;
    if (own && message == POA_STOPPING) {
        *own = call;
        if (pthread_create(&thread, NULL, go_on, own) == 0) pthread_detach(thread);
        else free(own);
    }
    poa_complete(call, POA_OK, NULL, NULL);
}

static void terminate(void *instance, poa_call call) {
    (void)instance;
    poa_complete(call, POA_OK, NULL, NULL);
    poa_complete(call, POA_OK, NULL, NULL);
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
    self->calm = calm_of(build->config);
    poa_complete(call, POA_OK, NULL, self);
}

static const poa_kind KIND = {
    .size = sizeof(poa_kind),
    .role = POA_RECEIVER,
    .name = POA_TEXT("unruly_c"),
    .build = build,
    .drop = drop,
    .metrics_received = metrics_received,
    .handle_message = handle_message,
    .terminate = terminate,
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
