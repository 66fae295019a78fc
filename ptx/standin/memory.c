/* GPU memory and pinned host memory. Both are host memory, at addresses that are never reused. */

#include "standin.h"
#include <sys/mman.h>

enum { DEVICE, PINNED };

typedef struct Block { uintptr_t start; size_t size; int kind, device, alive; struct Block *next; } Block;

static Block *blocks;
static size_t used[8];
EXPORTED size_t standin_memory = (size_t)1 << 30; /* bytes of each GPU */

static Block *block_at(uintptr_t address, size_t size, int kind) {
    for (Block *block = blocks; block; block = block->next)
        if (block->alive && block->kind == kind && block->start <= address &&
            address + size <= block->start + block->size)
            return block;
    return NULL;
}

int on_device(uintptr_t address, size_t size, int device) {
    Block *block = block_at(address, size, DEVICE);
    return block && block->device == device;
}

int pinned(uintptr_t address, size_t size) { return block_at(address, size, PINNED) != NULL; }

/* Whether a kernel on this GPU may access these bytes; those of another GPU only with peer access. */
EXPORTED int standin_reaches(uintptr_t address, size_t size, int device) {
    Block *block = block_at(address, size, DEVICE);
    if (!block) return pinned(address, size);
    return block->device == device || (context_of(device)->peers >> block->device & 1);
}

/* Whether an address that `standin_reaches` refused was freed. */
EXPORTED int standin_was_freed(uintptr_t address) {
    for (Block *block = blocks; block; block = block->next)
        if (!block->alive && block->start <= address && address < block->start + block->size) return 1;
    return 0;
}

EXPORTED size_t standin_used(int device) { return used[device]; }

static CUresult allocate(uintptr_t *result, size_t size, int kind, int device) {
    size_t whole = (size + 4095) / 4096 * 4096;
    if (!size) return refuse(CUDA_ERROR_INVALID_VALUE, "An allocation must have at least one byte.");
    if (kind == DEVICE && (size > standin_memory || used[device] + size > standin_memory))
        return refuse(CUDA_ERROR_OUT_OF_MEMORY, "%zu bytes of GPU %d are used, %zu more do not fit.", used[device],
                      device, size);
    void *start = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return refuse(CUDA_ERROR_OUT_OF_MEMORY, "The host cannot allocate %zu bytes.", whole);
    Block *block = malloc(sizeof *block);
    *block = (Block){(uintptr_t)start, size, kind, device, 1, blocks};
    blocks = block;
    if (kind == DEVICE) {
        used[device] += size;
        for (size_t i = 0; i < whole / 4; i++) ((uint32_t *)start)[i] = 0x7FFFDEAD; /* a NaN for unwritten memory */
    }
    *result = (uintptr_t)start;
    return CUDA_SUCCESS;
}

static CUresult let_go(uintptr_t address, int kind) {
    for (Block *block = blocks; block; block = block->next)
        if (block->start == address && block->kind == kind && block->alive) {
            block->alive = 0;
            if (kind == DEVICE) used[block->device] -= block->size;
            mmap((void *)address, (block->size + 4095) / 4096 * 4096, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
            return CUDA_SUCCESS;
        }
    return refuse(CUDA_ERROR_INVALID_VALUE,
                  "%#zx is not the start of an allocation of this kind, or the allocation was freed.", address);
}

CUresult cuMemAlloc(CUdeviceptr *result, size_t size) {
    ENTER(cuMemAlloc);
    CHECK(unsafe("cuMemAlloc"));
    uintptr_t start;
    CHECK(allocate(&start, size, DEVICE, current()->device));
    *result = start;
    return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr address) {
    ENTER(cuMemFree);
    CHECK(unsafe("cuMemFree"));
    CHECK(run_all(NULL)); /* the driver waits for work that may still use the memory */
    return let_go(address, DEVICE);
}

CUresult cuMemHostAlloc(void **result, size_t size, unsigned flags) {
    ENTER(cuMemHostAlloc);
    CHECK(unsafe("cuMemHostAlloc"));
    if (flags > 7) return refuse(CUDA_ERROR_INVALID_VALUE, "Flags %u.", flags);
    return allocate((uintptr_t *)result, size, PINNED, 0);
}

CUresult cuMemFreeHost(void *address) {
    ENTER(cuMemFreeHost);
    CHECK(unsafe("cuMemFreeHost"));
    CHECK(run_all(NULL));
    return let_go((uintptr_t)address, PINNED);
}

CUresult cuMemGetInfo(size_t *left, size_t *total) {
    ENTER(cuMemGetInfo);
    *total = standin_memory;
    *left = standin_memory - used[current()->device];
    return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange(CUdeviceptr *base, size_t *size, CUdeviceptr address) {
    ENTER(cuMemGetAddressRange);
    Block *block = block_at(address, 1, DEVICE);
    if (!block) return refuse(CUDA_ERROR_NOT_FOUND, "%#llx is not in GPU memory.", address);
    if (base) *base = block->start;
    if (size) *size = block->size;
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *result, CUpointer_attribute attribute, CUdeviceptr address) {
    ENTER(cuPointerGetAttribute);
    Block *block = block_at(address, 1, DEVICE);
    if (!block) return refuse(CUDA_ERROR_INVALID_VALUE, "%#llx is not in GPU memory.", address);
    if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) *(int *)result = block->device;
    else if (attribute == CU_POINTER_ATTRIBUTE_MEMORY_TYPE) *(unsigned *)result = CU_MEMORYTYPE_DEVICE;
    else if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_POINTER) *(CUdeviceptr *)result = address;
    else
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "The stand-in does not support attribute %d of an address.", attribute);
    return CUDA_SUCCESS;
}

/* Copies. */

static CUresult copy(Doing doing, uintptr_t to, uintptr_t from, size_t size, Work **result) {
    int device = current()->device;
    if (doing != COPY_IN && !on_device(from, size, device))
        return refuse(CUDA_ERROR_INVALID_VALUE, "%zu bytes from %#zx are not memory of GPU %d.", size, from, device);
    if (doing != COPY_OUT && !on_device(to, size, device))
        return refuse(CUDA_ERROR_INVALID_VALUE, "%zu bytes to %#zx are not memory of GPU %d.", size, to, device);
    *result = work_of(doing);
    (*result)->to = to;
    (*result)->from = from;
    (*result)->size = size;
    return CUDA_SUCCESS;
}

/* The driver copies memory that is not pinned before the call returns, and the caller waits for copies into such
   memory. During a capture the driver does neither: the graph reads and writes host memory when it runs. */
static CUresult copy_on(CUstream handle, Doing doing, uintptr_t to, uintptr_t from, size_t size, int wait) {
    Stream *stream;
    Work *work = NULL;
    Op *op = NULL;
    if (!size) return CUDA_SUCCESS;
    CHECK(stream_of(handle, &stream));
    CHECK(copy(doing, to, from, size, &work));
    if (doing == COPY_IN && !pinned(from, size) && !stream->knows.capture) {
        CHECK(injected("pageable copy"));
        work->value = malloc(size);
        memcpy(work->value, (void *)from, size);
    }
    wait |= doing == COPY_OUT && !pinned(to, size) && !stream->knows.capture;
    CHECK(submit(stream, work, &op));
    return wait ? run_stream(stream, op) : CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t size) {
    ENTER(cuMemcpyHtoD);
    CHECK(unsafe("cuMemcpyHtoD"));
    return copy_on(NULL, COPY_IN, to, (uintptr_t)from, size, 1);
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t size) {
    ENTER(cuMemcpyDtoH);
    CHECK(unsafe("cuMemcpyDtoH"));
    return copy_on(NULL, COPY_OUT, (uintptr_t)to, from, size, 1);
}

CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t size) {
    ENTER(cuMemcpyDtoD);
    CHECK(unsafe("cuMemcpyDtoD"));
    return copy_on(NULL, COPY, to, from, size, 0);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream stream) {
    ENTER(cuMemcpyHtoDAsync);
    return copy_on(stream, COPY_IN, to, (uintptr_t)from, size, 0);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream stream) {
    ENTER(cuMemcpyDtoHAsync);
    return copy_on(stream, COPY_OUT, (uintptr_t)to, from, size, 0);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream) {
    ENTER(cuMemcpyDtoDAsync);
    return copy_on(stream, COPY, to, from, size, 0);
}

/* Copies between two GPUs. If the stream's context has no peer access to the other memory, the driver copies through
   host memory, which is counted as a "staged copy". */
CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_handle, CUdeviceptr from, CUcontext from_handle, size_t size,
                           CUstream handle) {
    ENTER(cuMemcpyPeerAsync);
    Context *target = found(to_handle, CONTEXT), *source = found(from_handle, CONTEXT);
    Stream *stream;
    Op *op;
    if (!target || !source)
        return refuse(CUDA_ERROR_INVALID_CONTEXT, "The source or target of the copy is not a context.");
    if (!size) return CUDA_SUCCESS;
    CHECK(stream_of(handle, &stream));
    if (!on_device(from, size, source->device) || !on_device(to, size, target->device))
        return refuse(CUDA_ERROR_INVALID_VALUE, "%zu bytes from %#llx to %#llx are not memory of GPU %d and GPU %d.",
                      size, from, to, source->device, target->device);
    unsigned others = (1u << source->device | 1u << target->device) & ~(1u << stream->context->device);
    if (others & ~stream->context->peers) CHECK(injected("staged copy"));
    Work *work = work_of(COPY_PEER);
    work->to = to;
    work->from = from;
    work->size = size;
    work->to_gpu = target->device;
    work->from_gpu = source->device;
    return submit(stream, work, &op);
}

static CUresult fill_on(CUstream handle, CUdeviceptr to, unsigned char value, size_t size) {
    Stream *stream;
    Op *op;
    CHECK(stream_of(handle, &stream));
    if (!on_device(to, size, current()->device))
        return refuse(CUDA_ERROR_INVALID_VALUE, "%zu bytes at %#llx are not memory of this GPU.", size, to);
    Work *work = work_of(FILL);
    work->to = to;
    work->size = size;
    work->fill = value;
    return submit(stream, work, &op);
}

CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t size) {
    ENTER(cuMemsetD8);
    CHECK(unsafe("cuMemsetD8"));
    return fill_on(NULL, to, value, size);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t size, CUstream stream) {
    ENTER(cuMemsetD8Async);
    return fill_on(stream, to, value, size);
}
