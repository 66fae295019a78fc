/* Queries that need no context: the driver's functions, the names of errors, the GPUs. */

#include "standin.h"
#include <dlfcn.h>
#include <stdio.h>

EXPORTED int standin_version = CUDA_VERSION, standin_major = 8, standin_minor = 0;
EXPORTED int standin_peers = 1; /* whether GPUs can access each other's memory */

/* Functions whose arguments changed: the range of CUDA versions whose signature the stand-in implements. */
static const struct { const char *name; int from, before; } versions[] = {
    {"cuCtxGetDevice", 0, 13000}, {"cuCtxSynchronize", 0, 13000}, {"cuStreamGetCtx", 0, 12050},
};

CUresult cuGetProcAddress(const char *name, void **result, int version, cuuint64_t flags,
                          CUdriverProcAddressQueryResult *status) {
    static void *self;
    static const char *endings[] = {"_v3", "_v2", ""};
    char whole[128];
    Dl_info info;
    if (!self && dladdr(&standin_version, &info)) self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *result = NULL;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (!strcmp(name, versions[i].name) && (version < versions[i].from || version >= versions[i].before)) {
            if (status) *status = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
            return CUDA_ERROR_NOT_FOUND;
        }
    for (int i = 0; i < 3 && !*result; i++) {
        snprintf(whole, sizeof whole, "%s%s", name, endings[i]);
        *result = dlsym(self, whole);
    }
    if (status) *status = *result ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *result ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

static const struct { int code; const char *name; } errors[] = {
#include "errors.inc"
};

CUresult cuGetErrorName(CUresult error, const char **result) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == (int)error) {
            *result = errors[i].name;
            return CUDA_SUCCESS;
        }
    *result = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **result) { return cuGetErrorName(error, result); }

CUresult cuDriverGetVersion(int *result) {
    ENTER_ANYWHERE(cuDriverGetVersion);
    *result = standin_version;
    return CUDA_SUCCESS;
}

static CUresult gpu(CUdevice device) {
    if (device >= 0 && device < standin_gpus) return CUDA_SUCCESS;
    return refuse(CUDA_ERROR_INVALID_DEVICE, "There is no GPU %d.", device);
}

CUresult cuDeviceGetCount(int *result) {
    ENTER_ANYWHERE(cuDeviceGetCount);
    *result = standin_gpus;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *result, int number) {
    ENTER_ANYWHERE(cuDeviceGet);
    CHECK(gpu(number));
    *result = number;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *result, int size, CUdevice device) {
    ENTER_ANYWHERE(cuDeviceGetName);
    CHECK(gpu(device));
    snprintf(result, size, "stand-in GPU %d", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *result, CUdevice device) {
    ENTER_ANYWHERE(cuDeviceGetUuid);
    CHECK(gpu(device));
    memset(result, device, sizeof *result);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *result, CUdevice device) {
    ENTER_ANYWHERE(cuDeviceTotalMem);
    CHECK(gpu(device));
    *result = standin_memory;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *result, CUdevice_attribute attribute, CUdevice device) {
    ENTER_ANYWHERE(cuDeviceGetAttribute);
    CHECK(gpu(device));
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *result = standin_major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *result = standin_minor; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *result = 108; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *result = 1024; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *result = 32; break;
    default: return refuse(CUDA_ERROR_NOT_SUPPORTED, "The stand-in does not support attribute %d of a GPU.", attribute);
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *result, CUdevice device, CUdevice peer) {
    ENTER_ANYWHERE(cuDeviceCanAccessPeer);
    CHECK(gpu(device));
    CHECK(gpu(peer));
    *result = standin_peers && device != peer;
    return CUDA_SUCCESS;
}
