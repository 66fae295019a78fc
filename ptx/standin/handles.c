/* Handles, the contexts of threads, errors that a test requests, and the beginning and end of each call. */

#include "standin.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#define BUCKETS 4096
#define MOST_NESTED 32

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static Object *table[BUCKETS];
static int alive[KINDS], started;
static char reason[4096];
static __thread Context *stack[MOST_NESTED];
static __thread int depth;

EXPORTED int standin_gpus = 1;
static Context contexts[8];

/* Objects. */

static Object **bucket(void *handle) { return &table[((uintptr_t)handle >> 4) % BUCKETS]; }

static void keep(Object *object, Kind kind) {
    Object **first = bucket(object);
    object->kind = kind;
    object->alive = 1;
    object->next = *first;
    *first = object;
    alive[kind]++;
}

void *made(Kind kind, size_t size) {
    Object *object = calloc(1, size);
    keep(object, kind);
    return object;
}

void *found(void *handle, Kind kind) {
    for (Object *object = *bucket(handle); object; object = object->next)
        if (object == handle && object->alive && (kind == ANY || object->kind == kind)) return object;
    return NULL;
}

void destroyed(void *handle) {
    Object *object = handle;
    object->alive = 0;
    alive[object->kind]--;
}

CUresult get(void *handle, Kind kind, void *result) {
    static const char *names[] = {"handle", "context", "stream", "event", "graph", "executable graph", "library",
                                  "kernel"};
    void *object = found(handle, kind);
    *(void **)result = object;
    if (object) return CUDA_SUCCESS;
    for (Object *other = *bucket(handle); other; other = other->next)
        if (other == handle)
            return refuse(kind == CONTEXT ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_ERROR_INVALID_HANDLE,
                          other->kind == kind ? "This %s was destroyed." : "This is not a %s.", names[kind]);
    return refuse(CUDA_ERROR_INVALID_HANDLE, "No %s was ever at %p.", names[kind], handle);
}

EXPORTED int standin_alive(const char *kind) {
    static const char *names[] = {"", "contexts", "streams", "events", "graphs", "graph execs", "libraries", "kernels"};
    for (int i = 1; i < KINDS; i++)
        if (!strcmp(names[i], kind)) return alive[i];
    return -1;
}

/* Errors. */

CUresult refuse(CUresult code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return code;
}

EXPORTED const char *standin_reason(void) { return reason; }

static struct Count { const char *name; int calls, nth; CUresult code; struct Count *next; } *counts;

static struct Count *count_of(const char *name) {
    struct Count *count = counts;
    while (count && strcmp(count->name, name)) count = count->next;
    if (count) return count;
    count = calloc(1, sizeof *count);
    count->name = strdup(name);
    count->next = counts;
    return counts = count;
}

/* Makes the nth call from now on return this error. With "kernel", the nth kernel that runs fails. */
EXPORTED void standin_fail(const char *name, int nth, int code) {
    struct Count *count = count_of(name);
    count->nth = count->calls + nth;
    count->code = code;
}

EXPORTED int standin_calls(const char *name) { return count_of(name)->calls; }

/* Returns the name of counter `number`, or NULL after the last one. */
EXPORTED const char *standin_name(int number) {
    struct Count *count = counts;
    while (count && number--) count = count->next;
    return count ? count->name : NULL;
}

CUresult injected(const char *name) {
    struct Count *count = count_of(name);
    if (++count->calls != count->nth) return CUDA_SUCCESS;
    return refuse(count->code, "The test made %s fail.", name);
}

/* Marks a context as broken if a kernel's error makes it unusable. */
CUresult fail(Context *context, CUresult code) {
    switch (code) {
    case CUDA_ERROR_ECC_UNCORRECTABLE: case CUDA_ERROR_ILLEGAL_ADDRESS: case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT: case CUDA_ERROR_HARDWARE_STACK_ERROR: case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS: case CUDA_ERROR_INVALID_ADDRESS_SPACE: case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED: case CUDA_ERROR_UNKNOWN:
        if (context && !context->broken) context->broken = code;
        break;
    default: break;
    }
    return code;
}

uint64_t this_thread(void) { return (uint64_t)pthread_self(); }

/* Calls. */

Entry enter(const char *name, int needs) {
    pthread_mutex_lock(&lock);
    Context *context = current();
    Entry entry = {CUDA_SUCCESS, fail(context, injected(name))};
    if (entry.wanted && needs != DONE_ANYHOW) entry.error = entry.wanted;
    else if (!started && strcmp(name, "cuInit") && strcmp(name, "cuDriverGetVersion"))
        entry.error = refuse(CUDA_ERROR_NOT_INITIALIZED, "%s was called before cuInit.", name);
    else if (needs != ANYWHERE && !context)
        entry.error = refuse(CUDA_ERROR_INVALID_CONTEXT, "%s was called in a thread without a context.", name);
    else if (needs != ANYWHERE && context->broken)
        entry.error = context->broken;
    if (entry.error) pthread_mutex_unlock(&lock);
    return entry;
}

void leave(Entry *entry) {
    if (!entry->error) pthread_mutex_unlock(&lock);
}

CUresult cuInit(unsigned flags) {
    ENTER_ANYWHERE(cuInit);
    if (flags) return refuse(CUDA_ERROR_INVALID_VALUE, "The argument of cuInit must be 0.");
    if (!standin_gpus) return refuse(CUDA_ERROR_NO_DEVICE, "There is no GPU.");
    started = 1;
    return CUDA_SUCCESS;
}

/* Contexts: the primary context of each GPU. */

Context *current(void) { return depth ? stack[depth - 1] : NULL; }

Context *context_of(int device) { return &contexts[device]; }

CUresult cuDevicePrimaryCtxRetain(CUcontext *result, CUdevice device) {
    ENTER_ANYWHERE(cuDevicePrimaryCtxRetain);
    if (device < 0 || device >= standin_gpus) return refuse(CUDA_ERROR_INVALID_DEVICE, "There is no GPU %d.", device);
    Context *context = &contexts[device];
    if (!context->retained++) {
        keep(&context->object, CONTEXT);
        context->device = device;
        context->broken = CUDA_SUCCESS;
        context->peers = 0;
        context->legacy = stream_made(context, 1);
        alive[STREAM]--; /* its legacy stream needs no destroy call */
    }
    *result = (CUcontext)context;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    ENTER_ANYWHERE(cuDevicePrimaryCtxRelease);
    if (device < 0 || device >= standin_gpus || !contexts[device].retained)
        return refuse(CUDA_ERROR_INVALID_CONTEXT, "GPU %d has no context.", device);
    if (!--contexts[device].retained) {
        run_all(&contexts[device]);
        destroyed(&contexts[device]);
    }
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext handle) {
    ENTER_ANYWHERE(cuCtxPushCurrent);
    Context *context;
    CHECK(get(handle, CONTEXT, &context));
    if (depth == MOST_NESTED) /* the driver allows more, but a program with this many does not pop them */
        return refuse(CUDA_ERROR_INVALID_CONTEXT, "%d contexts were pushed and not popped.", depth);
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *result) {
    ENTER_ANYWHERE(cuCtxPopCurrent);
    if (!depth) return refuse(CUDA_ERROR_INVALID_CONTEXT, "This thread has no context to pop.");
    Context *popped = stack[--depth];
    if (result) *result = (CUcontext)popped;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext handle) {
    ENTER_ANYWHERE(cuCtxSetCurrent);
    Context *context;
    if (!handle) {
        depth -= depth > 0;
        return CUDA_SUCCESS;
    }
    CHECK(get(handle, CONTEXT, &context));
    if (!depth) depth = 1;
    stack[depth - 1] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *result) {
    ENTER_ANYWHERE(cuCtxGetCurrent);
    *result = (CUcontext)current();
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *result) {
    ENTER(cuCtxGetDevice);
    *result = current()->device;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void) {
    ENTER(cuCtxSynchronize);
    CHECK(unsafe("cuCtxSynchronize"));
    CHECK(broad_use(current()));
    return run_all(current());
}

/* Lets the current context access the memory of the other context, but not vice versa. */
CUresult cuCtxEnablePeerAccess(CUcontext handle, unsigned flags) {
    ENTER(cuCtxEnablePeerAccess);
    Context *context = current(), *peer = found(handle, CONTEXT);
    if (!peer || peer == context)
        return refuse(CUDA_ERROR_INVALID_CONTEXT, "%p is not another context.", (void *)handle);
    if (flags) return refuse(CUDA_ERROR_INVALID_VALUE, "Flags %u are not supported.", flags);
    if (!standin_peers)
        return refuse(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "GPU %d cannot access the memory of GPU %d.", context->device,
                      peer->device);
    if (context->peers >> peer->device & 1)
        return refuse(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "GPU %d already has access to the memory of GPU %d.",
                      context->device, peer->device);
    context->peers |= 1u << peer->device;
    return CUDA_SUCCESS;
}
