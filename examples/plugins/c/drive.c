/*
 * A host of one receiver, in C: runs ndjson.c by itself, as sanitizers want it.
 *
 *     cc -std=c99 -g -fsanitize=thread -pthread -I ../../../poa-plugin/include -o drive drive.c ndjson.c && ./drive DIRECTORY
 *
 * It makes calls from several threads, in turn as a host does, gives batches twice, and builds each instance while the one before it
 * still writes.
 */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <poa_plugin.h>

enum { INSTANCES = 20, BATCHES = 20, MESSAGES = 10 };

/* A call that is waited for. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int done;
    uint32_t code;
    void *instance;
} answer;

static const poa_kind *kind;

static void complete(const poa_host *host, uint64_t call, const poa_result *result) {
    answer *to = (answer *)(uintptr_t)call;
    (void)host;
    pthread_mutex_lock(&to->lock);
    to->code = result->code;
    to->instance = result->instance;
    to->done++;
    pthread_cond_signal(&to->changed);
    pthread_mutex_unlock(&to->lock);
}

static void log_text(const poa_host *host, uint32_t level, poa_bytes target, poa_bytes text) {
    (void)host; (void)level; (void)target; (void)text;
}

static const poa_host HOST = { .size = sizeof HOST, .complete = complete, .log = log_text };

static void expect(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static poa_call begin(answer *to) {
    poa_call call = { &HOST, 0 };
    memset(to, 0, sizeof *to);
    pthread_mutex_init(&to->lock, NULL);
    pthread_cond_init(&to->changed, NULL);
    call.id = (uint64_t)(uintptr_t)to;
    return call;
}

static void end(answer *to) {
    pthread_mutex_lock(&to->lock);
    while (!to->done) pthread_cond_wait(&to->changed, &to->lock);
    pthread_mutex_unlock(&to->lock);
    expect(to->code == POA_OK && to->done == 1, "a call did not end well, or not once");
    pthread_cond_destroy(&to->changed);
    pthread_mutex_destroy(&to->lock);
}

static void start(void *instance) {
    poa_start start = { .size = sizeof start };
    answer to;
    start.name = poa_text("drive");
    kind->start(instance, &start, begin(&to));
    end(&to);
}

static void *build(const char *dir) {
    poa_build build = { .size = sizeof build };
    answer to;
    build.name = poa_text("drive");
    build.config = poa_text("{\"path\":\"drive.ndjson\"}");
    build.data_dir = poa_text(dir);
    kind->build(&build, begin(&to));
    end(&to);
    start(to.instance);
    return to.instance;
}

typedef struct {
    void *instance;
    unsigned number;
} task;

static void *deliver(void *argument) {
    task *todo = argument;
    poa_message messages[MESSAGES];
    poa_batch batch = { sizeof batch, messages, MESSAGES, sizeof *messages };
    answer to;
    memset(messages, 0, sizeof messages);
    for (unsigned i = 0; i < MESSAGES; i++) {
        messages[i].id[14] = (uint8_t)(todo->number >> 4);
        messages[i].id[15] = (uint8_t)(todo->number << 4 | i);
        messages[i].agent_id = poa_text("agent \"1\"");
        messages[i].data_type = poa_text("m");
        messages[i].format = i % 2 ? POA_JSON : POA_MESSAGE_PACK;
        messages[i].payload = poa_text("{\"n\":\n1}");
    }
    kind->metrics_received(todo->instance, &batch, begin(&to));
    end(&to);
    return NULL;
}

/* Twice, each time from a thread of its own. */
static void deliver_again(void *instance, unsigned number) {
    task todo = { instance, number };
    pthread_t thread;
    for (int n = 0; n < 2; n++) {
        expect(pthread_create(&thread, NULL, deliver, &todo) == 0, "no thread");
        pthread_join(thread, NULL);
    }
}

static void *drop(void *instance) {
    kind->drop(instance);
    return NULL;
}

static void *one(void *dir) {
    answer to;
    void *instance = build(dir);
    for (unsigned number = 0; number < BATCHES; number++) deliver_again(instance, number);
    kind->terminate(instance, begin(&to));
    end(&to);
    pthread_t last;
    expect(pthread_create(&last, NULL, drop, instance) == 0, "no thread");
    pthread_join(last, NULL);
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t instances[INSTANCES];
    char name[4096];
    int lines = 0;
    expect(count == 2, "usage: drive DIRECTORY");
    kind = poa_plugin_descriptor_v1.kinds[0];
    for (int n = 0; n < INSTANCES; n++)
        expect(pthread_create(&instances[n], NULL, one, arguments[1]) == 0, "no thread");
    for (int n = 0; n < INSTANCES; n++) pthread_join(instances[n], NULL);
    snprintf(name, sizeof name, "%s/drive.ndjson", arguments[1]);
    FILE *file = fopen(name, "r");
    expect(file != NULL, "no file");
    for (int byte; (byte = fgetc(file)) != EOF;) lines += byte == '\n';
    fclose(file);
    expect(lines == BATCHES * MESSAGES, "not every message is in the file once");
    return 0;
}
