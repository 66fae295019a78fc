/* A stand-in for NVIDIA's driver, libcuda.so.1, that follows the driver's rules and runs kernels in Python.

   Work is added to the queue of its stream, and runs as late as the driver could run it: when a call waits for it. So a
   host buffer that changes too early, or a stream that does not wait for its data, leads to wrong results. For each
   refused call, `standin_reason` describes the broken rule. */

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

#define MOST_STREAMS 64 /* maximum number of streams in one capture */

typedef enum { ANY, CONTEXT, STREAM, EVENT, GRAPH, GRAPH_EXEC, LIBRARY, KERNEL, KINDS } Kind;

/* The object of a handle. It stays in memory after it is destroyed, so that later uses are detected. */
typedef struct Object {
    Kind kind;
    int alive;
    struct Object *next;
} Object;

typedef struct Context {
    Object object;
    int device, retained;
    unsigned peers; /* bit mask of the GPUs to whose memory it has access */
    CUresult broken; /* the error of a failed kernel, which every later call returns */
    struct Stream *legacy;
} Context;

/* A growing list of node numbers. */
typedef struct { int *items, count; } Places;

/* A capture in progress. Each of its streams has a clock that counts operations. All streams have joined once the
   first stream has seen the last tick of each other stream. */
typedef struct Capture {
    struct Stream *origin;
    struct Graph *graph;
    CUstreamCaptureMode mode;
    uint64_t thread;
    int invalid, streams, blocking; /* blocking: whether one of its streams is blocking */
    int ticks[MOST_STREAMS];
    struct Capture *next;
} Capture;

/* The state of a captured stream or event: the nodes before it, and the clock of each stream. */
typedef struct {
    Capture *capture;
    Places after;
    int seen[MOST_STREAMS];
} Knowledge;

typedef enum { NOTHING, LAUNCH, COPY_IN, COPY_OUT, COPY, COPY_PEER, FILL, REPLAY } Doing;

/* One operation, in a stream's queue or in a node of a graph. `value` is data that was copied during the call. */
typedef struct Work {
    Doing doing;
    struct Kernel *kernel;
    unsigned grid[3], block[3], shared;
    void *value;
    size_t size;
    uintptr_t to, from;
    int to_gpu, from_gpu; /* for a copy between two GPUs */
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
    Op *head, *tail;     /* pending operations; tail: the last one */
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

/* A call in progress; `leave` ends it. `wanted` is an error, requested by a test, that the call returns at its end. */
typedef struct { CUresult error, wanted; } Entry;

enum { ANYWHERE, IN_CONTEXT, DONE_ANYHOW };
Entry enter(const char *name, int needs);
void leave(Entry *entry);
#define BEGIN(name, needs) \
    Entry entry __attribute__((cleanup(leave))) = enter(name, needs); \
    if (entry.error) return entry.error
#define ENTER(name) BEGIN(#name, IN_CONTEXT) /* the name that callers use: cuda.h renames some functions */
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
