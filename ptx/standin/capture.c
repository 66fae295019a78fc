/* Captures and graphs, by the rules of CUDA's programming guide ("Stream Capture") and of the driver reference. */

#include "standin.h"
#include <stdio.h>

Capture *captures;
static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

void invalidate(Capture *capture) {
    if (capture) capture->invalid = 1;
}

void forget(Knowledge *knows) {
    free(knows->after.items);
    memset(knows, 0, sizeof *knows);
}

/* Records an operation in this stream, which the capture's first stream must wait for. */
void tick(Stream *stream) {
    stream->knows.seen[stream->index] = ++stream->knows.capture->ticks[stream->index];
}

/* Returns an error if the stream's capture is invalid. */
CUresult capturing(Stream *stream) {
    if (!stream->knows.capture || !stream->knows.capture->invalid) return CUDA_SUCCESS;
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED; /* keeps the first reason */
}

/* Refuses a call that a capture forbids to its own thread, or to all threads, unless its mode is relaxed. */
CUresult unsafe(const char *name) {
    for (Capture *capture = captures; capture; capture = capture->next) {
        int own = capture->thread == this_thread();
        int forbidden = own ? capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED
                            : capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && thread_mode == capture->mode;
        if (forbidden && thread_mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
            invalidate(capture);
            return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "%s was called during a capture.", name);
        }
    }
    return CUDA_SUCCESS;
}

/* Refuses use of the legacy stream, which would wait for a captured blocking stream. */
CUresult legacy_use(Stream *legacy) {
    for (Capture *capture = captures; capture; capture = capture->next)
        if (capture->origin->context == legacy->context && capture->blocking) {
            invalidate(capture);
            return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                          "The legacy stream was used while a blocking stream is captured.");
        }
    return CUDA_SUCCESS;
}

/* Refuses to wait for a whole context, which would wait for the streams of a capture. */
CUresult broad_use(Context *context) {
    for (Capture *capture = captures; capture; capture = capture->next)
        if (capture->origin->context == context) {
            invalidate(capture);
            return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "A call waited for a context during a capture.");
        }
    return CUDA_SUCCESS;
}

CUresult add_node(Stream *stream, Work *work) {
    Graph *graph = stream->knows.capture->graph;
    if (work->doing == REPLAY) {
        invalidate(stream->knows.capture);
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "The stand-in does not support graphs within graphs.");
    }
    graph->nodes = realloc(graph->nodes, (graph->count + 1) * sizeof *graph->nodes);
    graph->nodes[graph->count] = (Node){work, stream->knows.after};
    stream->knows.after = (Places){malloc(sizeof(int)), 1};
    stream->knows.after.items[0] = graph->count++;
    tick(stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
    ENTER(cuStreamBeginCapture);
    Stream *stream;
    CHECK(stream_of(handle, &stream));
    if (stream == current()->legacy)
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "The legacy stream cannot be captured.");
    if (stream->knows.capture) return refuse(CUDA_ERROR_ILLEGAL_STATE, "The stream is already being captured.");
    Capture *capture = calloc(1, sizeof *capture);
    capture->origin = stream;
    capture->graph = made(GRAPH, sizeof(Graph));
    capture->mode = mode;
    capture->thread = this_thread();
    capture->streams = 1;
    capture->blocking = stream->blocking;
    capture->next = captures;
    captures = capture;
    stream->knows.capture = capture;
    stream->index = 0;
    tick(stream);
    return CUDA_SUCCESS;
}

static void free_graph(Graph *graph) {
    for (int i = 0; i < graph->count; i++) {
        work_free(graph->nodes[i].work);
        free(graph->nodes[i].after.items);
    }
    graph->count = 0;
    destroyed(graph);
}

static void leave_capture(Stream *stream, Capture *capture) {
    if (stream->knows.capture == capture) forget(&stream->knows);
}

/* Removes all streams from the capture. It stays in memory, because events recorded in it keep pointing to it. */
static CUresult end(Capture *capture, CUresult error, Graph **result) {
    for (int i = 0; !error && i < capture->streams; i++)
        if (capture->origin->knows.seen[i] < capture->ticks[i])
            error = refuse(CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
                           "The capture's first stream did not wait for its stream %d.", i);
    each_stream(leave_capture, capture);
    Capture **place = &captures;
    while (*place != capture) place = &(*place)->next;
    *place = capture->next;
    *result = capture->graph;
    if (error) {
        free_graph(capture->graph);
        *result = NULL;
    }
    capture->invalid = 1; /* for later waits for its events */
    return error;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *result) {
    BEGIN("cuStreamEndCapture", DONE_ANYHOW); /* ends the capture even if it fails */
    Stream *stream;
    *result = NULL;
    CHECK(stream_of(handle, &stream));
    Capture *capture = stream->knows.capture;
    if (!capture) return refuse(CUDA_ERROR_ILLEGAL_STATE, "The stream is not being captured.");
    if (capture->origin != stream) {
        invalidate(capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "A capture must end on the stream on which it began.");
    }
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != this_thread())
        return refuse(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "Another thread began the capture.");
    CUresult error = capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : entry.wanted;
    return end(capture, error, (Graph **)result);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    ENTER_ANYWHERE(cuThreadExchangeStreamCaptureMode);
    CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *result) {
    ENTER(cuStreamIsCapturing);
    Stream *stream;
    CHECK(stream_of(handle, &stream));
    if (stream == current()->legacy) CHECK(legacy_use(stream));
    *result = !stream->knows.capture          ? CU_STREAM_CAPTURE_STATUS_NONE
              : stream->knows.capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                               : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

/* Graphs. */

CUresult cuGraphDestroy(CUgraph handle) {
    ENTER(cuGraphDestroy);
    Graph *graph;
    CHECK(get(handle, GRAPH, &graph));
    free_graph(graph);
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiate(CUgraphExec *result, CUgraph handle, unsigned long long flags) {
    ENTER(cuGraphInstantiate);
    Graph *graph;
    CHECK(get(handle, GRAPH, &graph));
    if (flags) return refuse(CUDA_ERROR_INVALID_VALUE, "Flags %llu.", flags);
    GraphExec *exec = made(GRAPH_EXEC, sizeof *exec);
    exec->context = current();
    exec->count = graph->count;
    exec->nodes = calloc(graph->count + 1, sizeof(Node));
    for (int i = 0; i < graph->count; i++) {
        Places after = graph->nodes[i].after;
        exec->nodes[i].work = work_copy(graph->nodes[i].work);
        exec->nodes[i].after.count = after.count;
        exec->nodes[i].after.items =
            memcpy(malloc(sizeof(int) * (after.count + 1)), after.items, sizeof(int) * after.count);
    }
    *result = (CUgraphExec)exec;
    return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count) {
    ENTER(cuGraphGetNodes);
    Graph *graph;
    CHECK(get(handle, GRAPH, &graph));
    for (size_t i = 0; nodes && i < *count; i++)
        nodes[i] = (int)i < graph->count ? (CUgraphNode)graph->nodes[i].work : NULL;
    if (!nodes || *count > (size_t)graph->count) *count = graph->count;
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
    ENTER(cuGraphLaunch);
    GraphExec *exec;
    Stream *stream;
    Op *op;
    CHECK(get(handle, GRAPH_EXEC, &exec));
    CHECK(stream_of(stream_handle, &stream));
    Work *work = work_of(REPLAY);
    work->exec = exec;
    return submit(stream, work, &op);
}

CUresult cuGraphExecDestroy(CUgraphExec handle) {
    ENTER(cuGraphExecDestroy);
    GraphExec *exec;
    CHECK(get(handle, GRAPH_EXEC, &exec));
    destroyed(exec); /* keeps its nodes: a launch of it may be in a queue */
    return CUDA_SUCCESS;
}

/* Runs a graph's nodes in an order that the graph allows: the last of the nodes that can run, each time. */
CUresult replay(GraphExec *exec, Context *context) {
    char *done = calloc(exec->count + 1, 1);
    CUresult error = CUDA_SUCCESS;
    for (int left = exec->count; left && !error; left--) {
        int next = -1;
        for (int i = exec->count - 1; i >= 0 && next < 0; i--) {
            int ready = !done[i];
            for (int j = 0; j < exec->nodes[i].after.count; j++) ready = ready && done[exec->nodes[i].after.items[j]];
            if (ready) next = i;
        }
        done[next] = 1;
        error = perform(exec->nodes[next].work, context);
    }
    free(done);
    return error;
}
