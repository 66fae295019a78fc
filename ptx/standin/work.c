/* Streams and events: the dependencies of work, and when it runs. */

#include "standin.h"
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* Work. */

Work *work_of(Doing doing) {
    Work *work = calloc(1, sizeof *work);
    work->doing = doing;
    return work;
}

Work *work_copy(const Work *work) {
    Work *copy = malloc(sizeof *copy);
    *copy = *work;
    if (work->value) copy->value = memcpy(malloc(work->size), work->value, work->size);
    return copy;
}

void work_free(Work *work) {
    if (work) free(work->value);
    free(work);
}

/* Performs the work. Checks its memory again, because it may have been freed since the call. */
CUresult perform(Work *work, Context *context) {
    int peer = work->doing == COPY_PEER;
    int to = work->doing == COPY_IN || work->doing == COPY || work->doing == FILL || peer;
    int from = work->doing == COPY_OUT || work->doing == COPY || peer;
    if ((to && !on_device(work->to, work->size, peer ? work->to_gpu : context->device)) ||
        (from && !on_device(work->from, work->size, peer ? work->from_gpu : context->device)))
        return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "A copy's memory was freed before the copy ran.");
    switch (work->doing) {
    case LAUNCH: return launch_now(work, context);
    case REPLAY: return replay(work->exec, context);
    case FILL: memset((void *)work->to, work->fill, work->size); break;
    case NOTHING: break;
    default: memmove((void *)work->to, work->value ? work->value : (void *)work->from, work->size);
    }
    return CUDA_SUCCESS;
}

/* Queues. */

static CUresult run_op(Op *op) {
    Context *context = op->stream->context;
    for (Op **before = op->after; before && *before; before++)
        if (!(*before)->done) run_stream((*before)->stream, *before);
    if (!context->broken && op->work) fail(context, perform(op->work, context));
    op->time = now();
    op->done = 1;
    work_free(op->work);
    free(op->after);
    op->work = NULL;
    op->after = NULL;
    return context->broken;
}

/* Runs the work in a stream's queue, up to `until` unless it is NULL, and all work on which this depends. */
CUresult run_stream(Stream *stream, Op *until) {
    while (stream->head && !(until && until->done)) {
        Op *op = stream->head;
        stream->head = op->next;
        if (stream->tail == op && !stream->head) stream->tail = NULL;
        run_op(op);
    }
    return stream->context->broken;
}

static Stream **streams;
static int stream_count;

Stream *stream_made(Context *context, int blocking) {
    Stream *stream = made(STREAM, sizeof *stream);
    stream->context = context;
    stream->blocking = blocking;
    streams = realloc(streams, (stream_count + 1) * sizeof *streams);
    return streams[stream_count++] = stream;
}

void each_stream(void (*call)(Stream *, Capture *), Capture *capture) {
    for (int i = 0; i < stream_count; i++) call(streams[i], capture);
}

/* Runs all work of one context, or of all contexts if it is NULL. */
CUresult run_all(Context *context) {
    for (int i = 0; i < stream_count; i++)
        if (!context || streams[i]->context == context) run_stream(streams[i], NULL);
    return context ? context->broken : CUDA_SUCCESS;
}

static void after(Op *op, Op *before) {
    int count = 0;
    if (!before || before->done) return;
    while (op->after && op->after[count]) count++;
    op->after = realloc(op->after, (count + 2) * sizeof *op->after);
    op->after[count] = before;
    op->after[count + 1] = NULL;
}

/* Makes the legacy stream wait for all blocking streams, and blocking streams for the legacy stream. */
static void legacy_order(Op *op) {
    Context *context = op->stream->context;
    if (op->stream == context->legacy) {
        for (int i = 0; i < stream_count; i++)
            if (streams[i]->context == context && streams[i]->blocking) after(op, streams[i]->tail);
    } else if (op->stream->blocking) {
        after(op, context->legacy->tail);
    }
}

static Op *queued(Stream *stream, Work *work) {
    Op *op = calloc(1, sizeof *op);
    op->stream = stream;
    op->work = work;
    legacy_order(op);
    if (stream->tail) stream->tail->next = op;
    else stream->head = op;
    return stream->tail = op;
}

/* Adds work to a stream's queue, or to the graph of the stream's capture. */
CUresult submit(Stream *stream, Work *work, Op **op) {
    CUresult error = capturing(stream);
    if (!error && stream == stream->context->legacy) error = legacy_use(stream);
    if (!error && stream->knows.capture) {
        error = add_node(stream, work);
        if (!error) return CUDA_SUCCESS;
    }
    if (error) {
        work_free(work);
        return error;
    }
    *op = queued(stream, work);
    return CUDA_SUCCESS;
}

/* Streams. */

CUresult stream_of(CUstream handle, Stream **result) {
    Context *context = current();
    if (!handle || handle == CU_STREAM_LEGACY) {
        *result = context->legacy;
        return CUDA_SUCCESS;
    }
    if (handle == CU_STREAM_PER_THREAD)
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "The stand-in does not support per-thread default streams.");
    CHECK(get(handle, STREAM, result));
    if ((*result)->context != context)
        return refuse(CUDA_ERROR_INVALID_HANDLE, "The stream belongs to another context.");
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *result, unsigned flags) {
    ENTER(cuStreamCreate);
    if (flags > CU_STREAM_NON_BLOCKING) return refuse(CUDA_ERROR_INVALID_VALUE, "Flags %u are not supported.", flags);
    *result = (CUstream)stream_made(current(), !(flags & CU_STREAM_NON_BLOCKING));
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream handle) {
    ENTER(cuStreamDestroy);
    Stream *stream;
    CHECK(get(handle, STREAM, &stream));
    if (stream->knows.capture) {
        invalidate(stream->knows.capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "A stream was destroyed while it was being captured.");
    }
    destroyed(stream); /* the work in its queue still runs */
    return CUDA_SUCCESS;
}

static CUresult waited_for(CUstream handle, const char *name, Stream **stream) {
    CHECK(stream_of(handle, stream));
    CHECK(capturing(*stream));
    if ((*stream)->knows.capture) {
        invalidate((*stream)->knows.capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                      "%s was called for a stream that is being captured.", name);
    }
    if (*stream == current()->legacy) CHECK(legacy_use(*stream));
    return unsafe(name);
}

CUresult cuStreamSynchronize(CUstream handle) {
    ENTER(cuStreamSynchronize);
    Stream *stream;
    CHECK(waited_for(handle, "cuStreamSynchronize", &stream));
    if (stream == current()->legacy) return run_all(current());
    return run_stream(stream, NULL);
}

/* Returns "not ready" if work is pending, and runs that work. */
CUresult cuStreamQuery(CUstream handle) {
    ENTER(cuStreamQuery);
    Stream *stream;
    CHECK(waited_for(handle, "cuStreamQuery", &stream));
    if (!stream->head) return CUDA_SUCCESS;
    CHECK(run_stream(stream, NULL));
    return CUDA_ERROR_NOT_READY;
}

/* Events. */

CUresult cuEventCreate(CUevent *result, unsigned flags) {
    ENTER(cuEventCreate);
    if (flags > 7) return refuse(CUDA_ERROR_INVALID_VALUE, "Flags %u are not supported.", flags);
    Event *event = made(EVENT, sizeof *event);
    event->context = current();
    event->timed = !(flags & CU_EVENT_DISABLE_TIMING);
    *result = (CUevent)event;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent handle) {
    ENTER(cuEventDestroy);
    Event *event;
    CHECK(get(handle, EVENT, &event));
    forget(&event->knows);
    destroyed(event);
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event_handle, CUstream handle) {
    ENTER(cuEventRecord);
    Event *event;
    Stream *stream;
    CHECK(get(event_handle, EVENT, &event));
    CHECK(stream_of(handle, &stream));
    CHECK(capturing(stream));
    if (stream->context != event->context)
        return refuse(CUDA_ERROR_INVALID_HANDLE, "The event belongs to another context.");
    if (stream == current()->legacy) CHECK(legacy_use(stream));
    forget(&event->knows);
    event->record = NULL;
    if (stream->knows.capture) {
        event->knows = stream->knows;
        event->knows.after.items = memcpy(malloc(sizeof(int) * (stream->knows.after.count + 1)),
                                          stream->knows.after.items, sizeof(int) * stream->knows.after.count);
    } else {
        event->record = queued(stream, NULL);
    }
    return CUDA_SUCCESS;
}

static void learn(Knowledge *knows, const Knowledge *other) {
    for (int i = 0; i < other->after.count; i++) {
        int known = 0;
        for (int j = 0; j < knows->after.count; j++) known |= knows->after.items[j] == other->after.items[i];
        if (known) continue;
        knows->after.items = realloc(knows->after.items, (knows->after.count + 2) * sizeof(int));
        knows->after.items[knows->after.count++] = other->after.items[i];
    }
    for (int i = 0; i < MOST_STREAMS; i++)
        if (other->seen[i] > knows->seen[i]) knows->seen[i] = other->seen[i];
}

/* A stream joins an event's capture by waiting for the event. */
static CUresult wait_captured(Stream *stream, Event *event) {
    Capture *capture = event->knows.capture;
    if (!capture) {
        invalidate(stream->knows.capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                      "A stream that is being captured waits for an event from outside the capture.");
    }
    if (capture->invalid) return refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "The event's capture is invalid.");
    if (stream->knows.capture && stream->knows.capture != capture) {
        invalidate(capture);
        invalidate(stream->knows.capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_MERGE, "A stream waits for an event of another capture.");
    }
    if (!stream->knows.capture) {
        if (stream == stream->context->legacy) {
            invalidate(capture);
            return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "The legacy stream cannot join a capture.");
        }
        if (capture->streams == MOST_STREAMS)
            return refuse(CUDA_ERROR_NOT_SUPPORTED, "The stand-in supports at most 64 streams per capture.");
        stream->knows.capture = capture;
        stream->index = capture->streams++;
        capture->blocking |= stream->blocking;
        tick(stream);
    }
    learn(&stream->knows, &event->knows);
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags) {
    ENTER(cuStreamWaitEvent);
    Event *event;
    Stream *stream;
    CHECK(get(event_handle, EVENT, &event));
    CHECK(stream_of(handle, &stream));
    CHECK(capturing(stream));
    if (flags) return refuse(CUDA_ERROR_INVALID_VALUE, "Flags %u are not supported.", flags);
    if (stream->knows.capture || event->knows.capture) return wait_captured(stream, event);
    if (event->record && !event->record->done) after(queued(stream, NULL), event->record);
    return CUDA_SUCCESS;
}

static CUresult event_of(CUevent handle, const char *name, Event **event) {
    CHECK(get(handle, EVENT, event));
    if ((*event)->knows.capture) {
        invalidate((*event)->knows.capture);
        return refuse(CUDA_ERROR_CAPTURED_EVENT, "%s was called for an event that was recorded in a capture.", name);
    }
    return unsafe(name);
}

/* Returns "not ready" if work is pending, and runs that work. */
CUresult cuEventQuery(CUevent handle) {
    ENTER(cuEventQuery);
    Event *event;
    CHECK(event_of(handle, "cuEventQuery", &event));
    if (!event->record || event->record->done) return CUDA_SUCCESS;
    CHECK(run_stream(event->record->stream, event->record));
    return CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent handle) {
    ENTER(cuEventSynchronize);
    Event *event;
    CHECK(event_of(handle, "cuEventSynchronize", &event));
    if (!event->record || event->record->done) return CUDA_SUCCESS;
    return run_stream(event->record->stream, event->record);
}

CUresult cuEventElapsedTime(float *result, CUevent start, CUevent end) {
    ENTER(cuEventElapsedTime);
    Event *events[2];
    CHECK(event_of(start, "cuEventElapsedTime", &events[0]));
    CHECK(event_of(end, "cuEventElapsedTime", &events[1]));
    for (int i = 0; i < 2; i++) {
        if (!events[i]->timed || !events[i]->record)
            return refuse(CUDA_ERROR_INVALID_HANDLE, "The event was not recorded, or records no time.");
        if (!events[i]->record->done) return CUDA_ERROR_NOT_READY;
    }
    *result = (float)(events[1]->record->time - events[0]->record->time);
    return CUDA_SUCCESS;
}
