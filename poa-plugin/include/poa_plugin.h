/*
 * The interface between a poa server and a plugin in a shared library. Generated; do not edit.
 *
 * - Structures start with their size, so that a later minor version can add fields at their end. A reader looks no further than
 *   the size; sequences carry the distance between their items.
 * - A call that takes time ends by its completion, from any thread, possibly before the call itself returns.
 * - Data lent to a function is valid until it returns; data lent to a call, until that call is completed.
 * - Nothing may unwind across the boundary. An exception that leaves a function of a plugin ends the process. In C++ declare these
 *   functions noexcept, and wrap code that can throw in poa_guard.
 *
 * A plugin is one constant:
 *
 *     POA_EXPORT const poa_descriptor poa_plugin_descriptor_v1 = { sizeof(poa_descriptor), POA_ABI_MAJOR, 0, ... };
 *
 * Build it with `cc -shared -fPIC -o libmine.so mine.c`.
 */


#ifndef POA_PLUGIN_H
#define POA_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// The major version of this interface. The name of the exported symbol contains it, too.
#define POA_ABI_MAJOR 1

// The minor version of this interface.
#define POA_ABI_MINOR 2

// `poa_kind.role`: a handler.
#define POA_HANDLER 1

// `poa_kind.role`: a receiver.
#define POA_RECEIVER 2

// `poa_kind.flags`: functions that take a call can block, so the host calls them on threads reserved for the library.
// If many calls of a library never return, the host builds no further instances of it.
#define POA_MAY_BLOCK 1

// `poa_result.code`: success.
#define POA_OK 0

// `poa_result.code`: a transient error; the host retries.
#define POA_TRANSIENT 1

// `poa_result.code`: a permanent error: for the `items` of the batch, or for unknown ones if there are none; for a
// build, until an operator fixes the cause.
#define POA_PERMANENT 2

// `poa_result.code`: the plugin panicked; the host builds a new instance.
#define POA_PANICKED 3

// `poa_result.code` of `send`: refused, the backlog of the receiver named by `text` is full.
#define POA_REFUSED_BACKLOG 16

// `poa_result.code` of `send`: refused, the disk is too slow at present.
#define POA_REFUSED_BUSY 17

// `poa_result.code` of `send`: refused, the host or the sender is stopping.
#define POA_REFUSED_STOPPING 18

// `poa_result.code` of `send`: refused, a message is not valid; `text` names the fault.
#define POA_REFUSED_INVALID 19

// `poa_result.code` of `send`: refused, another message was accepted with the same idempotency key.
#define POA_REFUSED_KEY 20

// `poa_result.code` of `send`: accepted, but the log could not be written; no receiver gets the messages.
#define POA_NOT_STORED 32

// `poa_result.code` of `send`: accepted, but a receiver could not deliver.
#define POA_NOT_DELIVERED 33

// `poa_result.code` of `send`: accepted and kept, but not delivered in time.
#define POA_TIMED_OUT 34

// `poa_result.code` of `send`: the host stopped before the result was known.
#define POA_STOPPED 35

// `poa_result.code` of `verify` and `login`: the token has expired.
#define POA_EXPIRED 48

// `poa_result.code` of `verify` and `login`: not authorised.
#define POA_UNAUTHORIZED 49

// `poa_result.code` of `login`: too many concurrent logins, try again later.
#define POA_BUSY 50

// `poa_message.message_type`: a metric.
#define POA_DATA 0

// `poa_message.message_type`: the agent says bye.
#define POA_BYE 1

// `poa_message.format`: the payload is a JSON object.
#define POA_JSON 0

// `poa_message.format`: the payload is a MessagePack object.
#define POA_MESSAGE_PACK 1

// `handle_message`: the host is stopping; queued messages still follow, then `terminate`.
#define POA_STOPPING 1

// `activity`: the agent is alive.
#define POA_PING 0

// `activity`: the agent sent data.
#define POA_SENT_DATA 1

// `activity`: the agent leaves, and is inactive immediately.
#define POA_LEAVES 2

// `log`: a failure.
#define POA_ERROR 1

// `log`: an irregularity.
#define POA_WARN 2

// `log`: information for operators.
#define POA_INFO 3

// `log`: information for developers.
#define POA_DEBUG 4

// `log`: everything.
#define POA_TRACE 5

// Bytes with their length, without a terminating zero. Text is UTF-8. `data` can be null if `len` is 0.
typedef struct poa_bytes {
  // The first byte.
  const uint8_t *data;
  // The number of bytes.
  size_t len;
} poa_bytes;

// Receives the text that a function returns; valid until that function returns. Repeated writes append.
typedef struct poa_sink {
  // Passed to `write`.
  void *context;
  // Appends a text.
  void (*write)(void *context, struct poa_bytes text);
} poa_sink;

// The context of a build. Lent until the call is completed.
typedef struct poa_build {
  // The size of this structure in this host.
  size_t size;
  // The name in the configuration, the `x` of `[receivers.x]`.
  struct poa_bytes name;
  // The section of the configuration, as JSON, without `kind` and the keys common to all receivers.
  struct poa_bytes config;
  // The directory for everything the host writes. It exists. The bytes of a path, possibly not UTF-8.
  struct poa_bytes data_dir;
  // The data types the host accepts.
  const struct poa_bytes *data_types;
  // The number of data types.
  size_t data_types_len;
  // 1 if the host has an authenticator.
  uint32_t has_authenticator;
} poa_build;

// The result of a call.
typedef struct poa_result {
  // `sizeof(poa_result)`.
  size_t size;
  // One of the codes above.
  uint32_t code;
  // A reason for people, or the requested text.
  struct poa_bytes text;
  // With `POA_PERMANENT`: the indexes in the batch of the messages that can never be delivered.
  const uint32_t *items;
  // The number of `items`.
  size_t items_len;
  // With `POA_OK` of `build`: the instance. It can be null.
  void *instance;
} poa_result;

// A message from a handler, or from a receiver that derives messages from others.
typedef struct poa_draft {
  // The agent.
  struct poa_bytes agent_id;
  // The data type: one of the host's.
  struct poa_bytes data_type;
  // `POA_DATA` or `POA_BYE`.
  uint32_t message_type;
  // `POA_JSON` or `POA_MESSAGE_PACK`.
  uint32_t format;
  // The payload: one well-formed object.
  struct poa_bytes payload;
  // The idempotency key: the host accepts one message for each key and agent. Empty for none.
  struct poa_bytes key;
  // Since 1.1. Values that are stored with the message and reach every receiver, as a JSON object of at most 4 KiB. Empty for none.
  struct poa_bytes assigns;
} poa_draft;

// Messages to send.
typedef struct poa_drafts {
  // `sizeof(poa_drafts)`.
  size_t size;
  // The first message.
  const struct poa_draft *messages;
  // The number of messages.
  size_t count;
  // `sizeof(poa_draft)`.
  size_t stride;
} poa_drafts;

// A call of the host by the plugin: `function` is called exactly once, from any thread, possibly before the call
// itself returns, and possibly after `drop`, which can wait for it.
typedef struct poa_done {
  // Passed to `function`.
  void *context;
  // Gets the result of the call; `result` is lent.
  void (*function)(void *context, const struct poa_result *result);
} poa_done;

// The functions of the host. They can be called from any thread, until the process ends.
typedef struct poa_host {
  // The size of this structure in this host.
  size_t size;
  // The minor version of this host.
  uint32_t abi_minor;
  // Private to the host.
  const void *context;
  // Completes the call with this number. A call that was completed before, or never made, is logged and ignored.
  void (*complete)(const struct poa_host *host, uint64_t call, const struct poa_result *result);
  // Writes to the host's log output; `target` names the part of the plugin, and can be empty.
  void (*log)(const struct poa_host *host,
              uint32_t level,
              struct poa_bytes target,
              struct poa_bytes text);
  // The most detailed level that is logged; 0 if none is.
  uint32_t (*log_level)(const struct poa_host *host);
  // Sends messages to the receivers: all of them, or none. A refusal completes before this returns. `sender` is a
  // handler or, since 1.2, a receiver, which sends one message at a time. One that has ended is refused.
  void (*send)(const struct poa_host *host,
               uint64_t sender,
               const struct poa_drafts *messages,
               struct poa_done done);
  // Reports a sign of life of an agent: `POA_PING`, `POA_SENT_DATA`, `POA_LEAVES`. A receiver reports only the last.
  void (*activity)(const struct poa_host *host,
                   uint64_t sender,
                   struct poa_bytes agent,
                   uint32_t sign);
  // The number of agents whose silence is watched for.
  uint64_t (*active_agents)(const struct poa_host *host, uint64_t handler);
  // Verifies a token: returns a code, and with `POA_OK` writes `{"user": "…", "agent": "…" or null}`.
  uint32_t (*verify)(const struct poa_host *host,
                     uint64_t handler,
                     struct poa_bytes token,
                     struct poa_sink principal);
  // Issues a token for a user; with `POA_OK` it is the `text` of the result.
  void (*login)(const struct poa_host *host,
                uint64_t handler,
                struct poa_bytes user,
                struct poa_bytes password,
                struct poa_done done);
} poa_host;

// A call of the plugin by the host: completed exactly once, by `poa_complete`, from any thread.
typedef struct poa_call {
  // The caller; valid until the process ends.
  const struct poa_host *host;
  // The number of the call. It is never reused.
  uint64_t id;
} poa_call;

// A message for a receiver.
typedef struct poa_message {
  // Unique, ascending in time, and the same when the message is delivered again: store by it.
  uint8_t id[16];
  // The time the host accepted the message: microseconds since 1970-01-01 UTC.
  uint64_t received_at;
  // The agent.
  struct poa_bytes agent_id;
  // The data type.
  struct poa_bytes data_type;
  // `POA_DATA` or `POA_BYE`; later versions can add others.
  uint32_t message_type;
  // `POA_JSON` or `POA_MESSAGE_PACK`; later versions can add others.
  uint32_t format;
  // The payload, as the agent sent it.
  struct poa_bytes payload;
  // Since 1.1. The idempotency key: 16 bytes that stand for the user, the agent and the key that it gave. Empty for none.
  struct poa_bytes key;
  // Since 1.1. The values that plugins added to the message, as a JSON object. Empty for none.
  struct poa_bytes assigns;
} poa_message;

// Messages for a receiver, oldest first, at least one. Lent until the call is completed. See `poa_message_at`.
typedef struct poa_batch {
  // `sizeof(poa_batch)`.
  size_t size;
  // The first message.
  const struct poa_message *messages;
  // The number of messages.
  size_t count;
  // Bytes from one message to the next.
  size_t stride;
} poa_batch;

// An agent whose state changed.
typedef struct poa_activity {
  // The agent.
  struct poa_bytes agent_id;
  // The time: microseconds since 1970-01-01 UTC.
  uint64_t since;
} poa_activity;

// Agents whose state changed, at least one. Lent until the call is completed. See `poa_activity_at`.
typedef struct poa_activities {
  // `sizeof(poa_activities)`.
  size_t size;
  // The first one.
  const struct poa_activity *agents;
  // The number of agents.
  size_t count;
  // Bytes from one to the next.
  size_t stride;
} poa_activities;

// The context of a receiver that starts. Lent until the call is completed.
typedef struct poa_start {
  // The size of this structure in this host.
  size_t size;
  // The name in the configuration, the `x` of `[receivers.x]`.
  struct poa_bytes name;
  // Identifies the receiver in `send` and `activity` of the host. It is a number that is never reused: any thread can
  // use it at any time, and after the end of the receiver `send` answers `POA_REFUSED_STOPPING`. There is nothing to
  // release.
  uint64_t sender;
} poa_start;

// A kind of handler or receiver, selected by `kind = "…"`. Functions of the other role, and optional ones, can be
// null.
//
// The calls of one instance arrive one at a time. `drop` comes last, after every call of the instance was completed,
// on a thread that may block. The other functions that take no call must return immediately.
typedef struct poa_kind {
  // `sizeof(poa_kind)`.
  size_t size;
  // `POA_HANDLER` or `POA_RECEIVER`.
  uint32_t role;
  // 0, or `POA_MAY_BLOCK`.
  uint32_t flags;
  // The value of `kind` in the configuration.
  struct poa_bytes name;
  // Writes the JSON Schema of the section. Null: the section can hold anything.
  void (*schema)(struct poa_sink out);
  // Writes the problems of a section (JSON): a JSON array of `{"path": "a.b", "message": "…"}`; empty if there are
  // none. Pure: no file, no network.
  void (*validate)(struct poa_bytes config, struct poa_sink out);
  // Builds an instance. It may connect, but must not start background work: `start` and `run` are for that. Required.
  void (*build)(const struct poa_build *build, struct poa_call call);
  // Frees an instance.
  void (*drop)(void *instance);
  // A hint: the host no longer waits for this call. The call must still be completed, soon if possible. It can come
  // at any time and from any thread, during the call and after its completion. Ignore calls that are not known.
  void (*cancel)(void *instance, struct poa_call call);
  // Writes the endpoints of the instance: a JSON array of URLs.
  void (*endpoints)(void *instance, struct poa_sink out);
  // Receiver: a batch of messages. `POA_OK` confirms all of them. Required.
  void (*metrics_received)(void *instance, const struct poa_batch *batch, struct poa_call call);
  // Receiver: agents became active.
  void (*handle_active)(void *instance, const struct poa_activities *agents, struct poa_call call);
  // Receiver: agents became inactive.
  void (*handle_inactive)(void *instance, const struct poa_activities *agents, struct poa_call call);
  // Receiver: a message from the host about itself, such as `POA_STOPPING`.
  void (*handle_message)(void *instance, uint32_t message, struct poa_call call);
  // Receiver: flush and close; only `drop` follows.
  void (*terminate)(void *instance, struct poa_call call);
  // Handler: serves until `shutdown`. `handler` identifies it in the host's functions until this call is completed.
  // Required.
  void (*run)(void *instance, uint64_t handler, struct poa_call call);
  // Handler: accept no new work, answer accepted requests, then complete `run`. It can come at any time, as
  // `cancel` can. Receiver with a `start`, since 1.2: end the background work. It comes once, and also if `start`
  // failed: as soon as the receiver is replaced or removed, or has delivered everything when the host stops, and in
  // any case before `drop`.
  void (*shutdown)(void *instance);
  // Handler: tokens may have been revoked; verify those of long connections again.
  void (*revoked)(void *instance);
  // Receiver, since 1.2: called once, before anything else: the place to start threads and to open connections that
  // live as long as the instance. After an error the host drops the instance, and builds another later.
  void (*start)(void *instance, const struct poa_start *start, struct poa_call call);
} poa_kind;

// The plugin, exported as the constant `poa_plugin_descriptor_v1`.
typedef struct poa_descriptor {
  // `sizeof(poa_descriptor)`.
  size_t size;
  // `POA_ABI_MAJOR`.
  uint32_t abi_major;
  // The lowest minor version of a host that the plugin works with.
  uint32_t abi_minor;
  // The name of the library.
  struct poa_bytes name;
  // Its version.
  struct poa_bytes version;
  // Its kinds. Constant data: they are read before any function of the plugin is called.
  const struct poa_kind *const *kinds;
  // The number of kinds.
  size_t kinds_len;
  // Writes metrics in the OpenMetrics text format, for a scrape.
  void (*metrics)(struct poa_sink out);
} poa_descriptor;

#endif  /* POA_PLUGIN_H */

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define POA_EXPORT __attribute__((visibility("default")))
#else
#define POA_EXPORT
#endif

/* The symbol that the plugin defines. */
POA_EXPORT extern const poa_descriptor poa_plugin_descriptor_v1;

/* A constant text as bytes, in a constant. */
#define POA_TEXT(text) { (const uint8_t *)(text), sizeof(text) - 1 }

/* Text up to its zero as bytes, lent. */
static inline poa_bytes poa_text(const char *text) {
    poa_bytes bytes;
    bytes.data = (const uint8_t *)text;
    bytes.len = strlen(text);
    return bytes;
}

/* Appends a text to what a function has to give. */
static inline void poa_write(poa_sink out, const char *text) {
    out.write(out.context, poa_text(text));
}

/* Completes a call with a code, a text (or NULL), and what was built (or NULL). */
static inline void poa_complete(poa_call call, uint32_t code, const char *text, void *instance) {
    poa_result result;
    memset(&result, 0, sizeof result);
    result.size = sizeof result;
    result.code = code;
    result.text = poa_text(text ? text : "");
    result.instance = instance;
    call.host->complete(call.host, call.id, &result);
}

/* Logs a text. */
static inline void poa_log(const poa_host *host, uint32_t level, const char *text) {
    host->log(host, level, poa_text(""), poa_text(text));
}

/* The messages of a batch; index < batch->count. */
static inline const poa_message *poa_message_at(const poa_batch *batch, size_t index) {
    return (const poa_message *)(const void *)((const char *)batch->messages + index * batch->stride);
}

/* The agents that changed; index < agents->count. */
static inline const poa_activity *poa_activity_at(const poa_activities *agents, size_t index) {
    return (const poa_activity *)(const void *)((const char *)agents->agents + index * agents->stride);
}

#ifdef __cplusplus
}

#include <exception>

/* Runs code that can throw. An exception completes the call with POA_PANICKED: the host rebuilds the instance. */
template <class Work> void poa_guard(poa_call call, Work work) noexcept {
    try {
        work();
    } catch (const std::exception &error) {
        poa_complete(call, POA_PANICKED, error.what(), nullptr);
    } catch (...) {
        poa_complete(call, POA_PANICKED, "an exception of an unknown type", nullptr);
    }
}
#endif
