/* Libraries and their kernels, which Python reads from a cubin, and launches, which Python runs. */

#include "standin.h"

typedef CUresult (*Load)(Library *library, const void *image);
typedef CUresult (*Run)(Kernel *kernel, const unsigned *grid, const unsigned *block, unsigned shared,
                        const void *parameters, int device);

static Load load;
static Run run;

/* Sets the Python callbacks that read cubins and run kernels. */
EXPORTED void standin_host(Load loads, Run runs) {
    load = loads;
    run = runs;
}

/* Adds a kernel to a library and returns its handle. `load` calls this for each kernel of a cubin. */
EXPORTED Kernel *standin_kernel(Library *library, const char *name, int registers, int shared, int local,
                                int most_threads, int parameters, const int *offsets, const int *sizes) {
    Kernel *kernel = made(KERNEL, sizeof *kernel);
    size_t bytes = sizeof(int) * (parameters + 1);
    kernel->library = library;
    kernel->name = strdup(name);
    kernel->registers = registers;
    kernel->shared = shared;
    kernel->local = local;
    kernel->most_threads = most_threads;
    kernel->parameters = parameters;
    kernel->offsets = memcpy(malloc(bytes), offsets, sizeof(int) * parameters);
    kernel->sizes = memcpy(malloc(bytes), sizes, sizeof(int) * parameters);
    for (int i = 0; i < parameters; i++)
        if (kernel->size < (size_t)(offsets[i] + sizes[i])) kernel->size = offsets[i] + sizes[i];
    library->kernels = realloc(library->kernels, (library->count + 1) * sizeof(Kernel *));
    return library->kernels[library->count++] = kernel;
}

CUresult cuLibraryLoadData(CUlibrary *result, const void *image, CUjit_option *options, void **values, unsigned count,
                           CUlibraryOption *library_options, void **library_values, unsigned library_count) {
    ENTER(cuLibraryLoadData);
    CHECK(unsafe("cuLibraryLoadData"));
    Library *library = made(LIBRARY, sizeof *library);
    CUresult error = load ? load(library, image) : CUDA_ERROR_NOT_SUPPORTED;
    if (error) {
        destroyed(library);
        return refuse(error, "The image cannot be loaded.");
    }
    *result = (CUlibrary)library;
    return CUDA_SUCCESS;
}

CUresult cuLibraryUnload(CUlibrary handle) {
    ENTER(cuLibraryUnload);
    Library *library;
    CHECK(get(handle, LIBRARY, &library));
    CHECK(unsafe("cuLibraryUnload"));
    run_all(NULL);
    for (int i = 0; i < library->count; i++) destroyed(library->kernels[i]);
    destroyed(library);
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel *result, CUlibrary handle, const char *name) {
    ENTER(cuLibraryGetKernel);
    Library *library;
    CHECK(get(handle, LIBRARY, &library));
    for (int i = 0; i < library->count; i++)
        if (!strcmp(library->kernels[i]->name, name)) {
            *result = (CUkernel)library->kernels[i];
            return CUDA_SUCCESS;
        }
    return refuse(CUDA_ERROR_NOT_FOUND, "The library has no kernel %s.", name);
}

CUresult cuKernelGetAttribute(int *result, CUfunction_attribute attribute, CUkernel handle, CUdevice device) {
    ENTER(cuKernelGetAttribute);
    Kernel *kernel;
    CHECK(get(handle, KERNEL, &kernel));
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *result = kernel->registers; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *result = kernel->shared; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *result = kernel->local; break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *result = 0; break;
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *result = kernel->most_threads; break;
    default:
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "The stand-in does not support attribute %d of a kernel.", attribute);
    }
    return CUDA_SUCCESS;
}

CUresult cuKernelGetFunction(CUfunction *result, CUkernel handle) {
    ENTER(cuKernelGetFunction);
    Kernel *kernel;
    CHECK(get(handle, KERNEL, &kernel));
    *result = (CUfunction)kernel;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char **result, CUkernel handle) {
    ENTER(cuKernelGetName);
    Kernel *kernel;
    CHECK(get(handle, KERNEL, &kernel));
    *result = kernel->name;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel handle, size_t index, size_t *offset, size_t *size) {
    ENTER(cuKernelGetParamInfo);
    Kernel *kernel;
    CHECK(get(handle, KERNEL, &kernel));
    if (index >= (size_t)kernel->parameters)
        return refuse(CUDA_ERROR_INVALID_VALUE, "The kernel has %d parameters.", kernel->parameters);
    *offset = kernel->offsets[index];
    if (size) *size = kernel->sizes[index];
    return CUDA_SUCCESS;
}

/* Launches. */

static CUresult fits(const Kernel *kernel, const CUlaunchConfig *config) {
    unsigned long threads = (unsigned long)config->blockDimX * config->blockDimY * config->blockDimZ;
    if (!config->gridDimX || !config->gridDimY || !config->gridDimZ || !threads)
        return refuse(CUDA_ERROR_INVALID_VALUE, "%s: a launch needs at least one block and one thread.", kernel->name);
    if (config->gridDimX > 0x7FFFFFFF || config->gridDimY > 65535 || config->gridDimZ > 65535)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "%s: a grid cannot have %u x %u x %u blocks.", kernel->name, config->gridDimX,
                      config->gridDimY, config->gridDimZ);
    if (config->blockDimX > 1024 || config->blockDimY > 1024 || config->blockDimZ > 64 || threads > 1024 ||
        threads > (unsigned long)kernel->most_threads)
        return refuse(CUDA_ERROR_INVALID_VALUE, "%s: a block cannot have %lu threads.", kernel->name, threads);
    if (kernel->shared + (size_t)config->sharedMemBytes > 48 << 10)
        return refuse(CUDA_ERROR_INVALID_VALUE, "%s: a block cannot have %zu bytes of shared memory.", kernel->name,
                      kernel->shared + (size_t)config->sharedMemBytes);
    if ((kernel->registers * 32 + 255) / 256 * 256 * ((threads + 31) / 32) > 65536)
        return refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "%s: a block cannot have %lu threads of %d registers each.", kernel->name, threads,
                      kernel->registers);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters, void **extra) {
    ENTER(cuLaunchKernelEx);
    Kernel *kernel;
    Stream *stream;
    Op *op;
    CHECK(get(function, KERNEL, &kernel));
    CHECK(stream_of(config->hStream, &stream));
    if (extra || config->numAttrs)
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "The stand-in supports neither `extra` nor attributes of a launch.");
    CHECK(fits(kernel, config));
    Work *work = work_of(LAUNCH);
    *work = (Work){.doing = LAUNCH, .kernel = kernel, .shared = config->sharedMemBytes, .size = kernel->size + 1,
                   .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
                   .block = {config->blockDimX, config->blockDimY, config->blockDimZ}};
    work->value = calloc(1, work->size);
    for (int i = 0; i < kernel->parameters; i++)
        memcpy((char *)work->value + kernel->offsets[i], parameters[i], kernel->sizes[i]);
    return submit(stream, work, &op);
}

CUresult launch_now(Work *work, Context *context) {
    if (!work->kernel->object.alive)
        return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "%s was unloaded before it ran.", work->kernel->name);
    CHECK(injected("kernel"));
    return run(work->kernel, work->grid, work->block, work->shared, work->value, context->device);
}
