/* A stand-in for NVIDIA's driver, libcuda.so.1, that keeps the driver's rules and has Python run the kernels.

   Work goes into the queue of its stream, and runs as late as the driver may run it: when somebody waits for it. So a
   host's buffer that changes too early, or a stream that waits for too little, gives wrong results. Every refusal says
   in words which rule was broken: `standin_reason`. */

#ifndef STANDIN_H
#define STANDIN_H

#define _GNU_SOURCE
#define EXPORTED __attribute__((visibility("default")))
#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MOST_STREAMS 64 /* of one capture */

typedef enum { ANY, CONTEXT, STREAM, EVENT, GRAPH, GRAPH_EXEC, LIBRARY, KERNEL, KINDS } Kind;

/* What a handle points to. It stays in memory once it is destroyed, so that a later use is seen. */
typedef struct Object {
    Kind kind;
    int alive;
    struct Object *next;
} Object;

typedef struct Context {
    Object object;
    int device, retained;
    unsigned peers; /* the GPUs whose memory it was allowed to reach, as bits */
    CUresult broken; /* the error of a kernel that failed: every later call gives it */
    struct Stream *legacy;
} Context;

/* Places in a growing list. */
typedef struct { int *items, count; } Places;

/* A capture under way. Each of its streams has a clock: how often something happened there. The capture is joined once
   its first stream knows the last tick of all others. */
typedef struct Capture {
    struct Stream *origin;
    struct Graph *graph;
    CUstreamCaptureMode mode;
    uint64_t thread;
    int invalid, streams, blocking; /* blocking: whether a stream of it is */
    int ticks[MOST_STREAMS];
    struct Capture *next;
} Capture;

/* What a stream, or an event of a capture, knows: the nodes that come before, and each stream's clock. */
typedef struct {
    Capture *capture;
    Places after;
    int seen[MOST_STREAMS];
} Knowledge;

typedef enum { NOTHING, LAUNCH, COPY_IN, COPY_OUT, COPY, COPY_PEER, FILL, REPLAY } Doing;

/* One thing to do: for a stream's queue, or for a node of a graph. `value` is what the driver took along. */
typedef struct Work {
    Doing doing;
    struct Kernel *kernel;
    unsigned grid[3], block[3], shared;
    void *value;
    size_t size;
    uintptr_t to, from;
    int to_gpu, from_gpu; /* of a copy between two */
    unsigned char fill;
    struct GraphExec *exec;
} Work;

typedef struct Op {
    struct Stream *stream;
    Work *work;
    int done;
    double time;
    struct Op *next, **after; /* after: ends with NULL */
} Op;

typedef struct Stream {
    Object object;
    Context *context;
    int blocking, index; /* index: within its capture */
    Op *head, *tail;     /* what has not run; tail: the last of all */
    Knowledge knows;
} Stream;

typedef struct Event {
    Object object;
    Context *context;
    int timed;
    Op *record;
    Knowledge knows;
} Event;

typedef struct { Work *work; Places after; } Node;

typedef struct Graph {
    Object object;
    Node *nodes;
    int count;
} Graph;

typedef struct GraphExec {
    Object object;
    Context *context;
    Node *nodes;
    int count;
} GraphExec;

typedef struct Kernel {
    Object object;
    struct Library *library;
    char *name;
    int registers, shared, local, most_threads, parameters;
    int *offsets, *sizes;
    size_t size;
} Kernel;

typedef struct Library {
    Object object;
    Kernel **kernels;
    int count;
} Library;

/* A call under way: `leave` ends it. `wanted` is the error that a test asked for, where the call must still be made. */
typedef struct { CUresult error, wanted; } Entry;

enum { ANYWHERE, IN_CONTEXT, DONE_ANYHOW };
Entry enter(const char *name, int needs);
void leave(Entry *entry);
#define BEGIN(name, needs) \
    Entry entry __attribute__((cleanup(leave))) = enter(name, needs); \
    if (entry.error) return entry.error
#define ENTER(name) BEGIN(#name, IN_CONTEXT) /* the name as callers know it: cuda.h makes others of some */
#define ENTER_ANYWHERE(name) BEGIN(#name, ANYWHERE)
#define CHECK(call) do { CUresult error_ = (call); if (error_) return error_; } while (0)

CUresult refuse(CUresult code, const char *format, ...) __attribute__((format(printf, 2, 3)));
CUresult injected(const char *name);
CUresult fail(Context *context, CUresult code);
Context *current(void);
Context *context_of(int device);
uint64_t this_thread(void);

void *made(Kind kind, size_t size);
void *found(void *handle, Kind kind);
void destroyed(void *object);
CUresult get(void *handle, Kind kind, void *result);

Stream *stream_made(Context *context, int blocking);
CUresult stream_of(CUstream handle, Stream **result);
CUresult submit(Stream *stream, Work *work, Op **op);
CUresult run_stream(Stream *stream, Op *until);
CUresult run_all(Context *context);
void each_stream(void (*call)(Stream *, Capture *), Capture *capture);
CUresult perform(Work *work, Context *context);

CUresult unsafe(const char *name);
CUresult capturing(Stream *stream);
CUresult legacy_use(Stream *stream);
CUresult broad_use(Context *context);
CUresult add_node(Stream *stream, Work *work);
void invalidate(Capture *capture);
void tick(Stream *stream);
void forget(Knowledge *knows);
CUresult replay(GraphExec *exec, Context *context);
extern Capture *captures;
extern int standin_gpus, standin_peers;
extern size_t standin_memory;

Work *work_of(Doing doing);
Work *work_copy(const Work *work);
void work_free(Work *work);

int on_device(uintptr_t address, size_t size, int device);
int pinned(uintptr_t address, size_t size);
CUresult launch_now(Work *work, Context *context);

#endif
