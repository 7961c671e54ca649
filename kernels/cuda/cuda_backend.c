/* The CUDA backend's door: finding and describing the card, what its errors mean, memory of the host that it reads,
 * and the table of operations. */
#include "kernels/cuda/cuda.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIN_MAJOR 8 /* compute capability that the kernels are built for at least */

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* After these nothing works any more until the process ends. */
static bool is_sticky(cudaError_t status)
{
    switch (status) {
    case cudaErrorCudartUnloading:
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorDeviceUninitialized:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsRpcFailure:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

static int say_lost(struct lens_error *err, cudaError_t status)
{
    return lens_error_set(
        err, -ENODEV, "the card is lost: %s (%s); see the kernel's log for its Xid, and start again when it is back",
        cudaGetErrorString(status), cudaGetErrorName(status));
}

int cuda_fail(struct cuda_backend *cuda, cudaError_t status, const char *doing, struct lens_error *err)
{
    cudaGetLastError(); /* or the next call finds it again */
    if (is_sticky(status)) {
        int none = 0;
        atomic_compare_exchange_strong(&cuda->lost, &none, (int)status);
        say_lost(err, status);
        lens_error_prefix(err, "%s", doing);
        return -ENODEV;
    }
    return lens_error_set(err, status == cudaErrorMemoryAllocation ? -ENOMEM : -EIO, "%s failed: %s (%s)", doing,
                          cudaGetErrorString(status), cudaGetErrorName(status));
}

int cuda_enter(struct cuda_backend *cuda, struct lens_error *err)
{
    int lost = atomic_load(&cuda->lost);
    if (lost != 0)
        return say_lost(err, (cudaError_t)lost);
    return cuda_check(cuda, cudaSetDevice(cuda->device), "choosing the card", err);
}

/* ---- opening a card ---------------------------------------------------------------------------------------------- */

static int count_cards(int *count, struct lens_error *err)
{
    int driver = 0, runtime = 0;
    cudaError_t status = cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (status == cudaSuccess && driver == 0)
        return lens_error_set(err, -ENODEV,
                              "no CUDA driver: libcuda.so.1 wasn't found; install NVIDIA's driver for "
                              "CUDA %d.%d or later",
                              runtime / 1000, runtime % 1000 / 10);
    status = cudaGetDeviceCount(count);
    if (status == cudaSuccess && *count > 0)
        return 0;
    cudaGetLastError();
    if (status == cudaSuccess || status == cudaErrorNoDevice)
        return lens_error_set(err, -ENODEV,
                              "the CUDA driver is there, but no card: nvidia-smi should list one "
                              "(CUDA_VISIBLE_DEVICES may hide them)");
    if (status == cudaErrorInsufficientDriver)
        return lens_error_set(err, -ENOTSUP,
                              "the CUDA driver is too old: it knows CUDA %d.%d, and %d.%d is needed; "
                              "install a newer one",
                              driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    return lens_error_set(err, -ENODEV, "no card can be used: %s (%s)", cudaGetErrorString(status),
                          cudaGetErrorName(status));
}

static int read_properties(struct cuda_backend *cuda, struct lens_error *err)
{
    struct cudaDeviceProp properties;
    int rc =
        cuda_check(cuda, cudaGetDeviceProperties(&properties, cuda->device), "asking for the card's properties", err);
    if (rc != 0)
        return rc;
    snprintf(cuda->name, sizeof cuda->name, "%.*s", (int)sizeof cuda->name - 1, properties.name);
    cuda->major = properties.major;
    cuda->minor = properties.minor;
    cuda->card.multiprocessors = (uint32_t)properties.multiProcessorCount;
    if (cuda->major < MIN_MAJOR)
        return lens_error_set(err, -ENOTSUP, "card %d, %s, has compute capability %d.%d; %d.0 or higher is needed",
                              cuda->device, cuda->name, cuda->major, cuda->minor, MIN_MAJOR);
    if (!properties.canMapHostMemory)
        return lens_error_set(err, -ENOTSUP, "card %d, %s, can't read the host's memory", cuda->device, cuda->name);
    return 0;
}

/* Loads all kernels now: the first launch of each would wait for whatever runs then. */
static int load_kernels(struct cuda_backend *cuda, struct lens_error *err)
{
    const void *const kernels[] = {(const void *)cu_begin,  (const void *)cu_score, (const void *)cu_expand,
                                   (const void *)cu_finish, (const void *)cu_lost,  (const void *)cu_write};
    for (unsigned i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        struct cudaFuncAttributes attributes;
        cudaError_t status = cudaFuncGetAttributes(&attributes, kernels[i]);
        if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
            cudaGetLastError();
            return lens_error_set(err, -ENOTSUP,
                                  "lens_cuda.so has no code for card %d, %s (compute capability %d.%d); build it with "
                                  "that architecture",
                                  cuda->device, cuda->name, cuda->major, cuda->minor);
        }
        if (status != cudaSuccess)
            return cuda_fail(cuda, status, "loading the kernels", err);
    }
    int blocks = 0;
    int rc = cuda_check(
        cuda, cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, (const void *)cu_score, (int)LENS_CU_THREADS, 0),
        "asking how many blocks fit", err);
    cuda->card.blocks_per_multiprocessor = blocks > 0 ? (uint32_t)blocks : 1;
    return rc;
}

static int open_card(struct cuda_backend *cuda, struct lens_error *err)
{
    int count = 0;
    int rc = count_cards(&count, err);
    if (rc == 0 && cuda->device >= count)
        rc = lens_error_set(err, -ENODEV, "no card %d: this machine has %d, counted from 0", cuda->device, count);
    if (rc == 0)
        rc = read_properties(cuda, err);
    if (rc == 0)
        rc = cuda_enter(cuda, err);
    if (rc == 0)
        rc = load_kernels(cuda, err);
    size_t unused = 0, total = 0;
    if (rc == 0)
        rc = cuda_check(cuda, cudaMemGetInfo(&unused, &total), "asking for the card's memory", err);
    cuda->memory_bytes = unused;
    return rc;
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

static void describe(struct lens_backend *backend, struct lens_device *out)
{
    const struct cuda_backend *cuda = (struct cuda_backend *)backend;
    memset(out, 0, sizeof *out);
    snprintf(out->backend, sizeof out->backend, "cuda");
    snprintf(out->name, sizeof out->name, "%s", cuda->name);
    snprintf(out->variant, sizeof out->variant, "sm_%d%d", cuda->major, cuda->minor);
    out->threads = cuda->card.multiprocessors;
    out->memory_bytes = cuda->memory_bytes;
    out->slab_dtypes = 1u << LENS_F32 | 1u << LENS_BF16 | 1u << LENS_I8 | 1u << LENS_FP8;
}

static void close_backend(struct lens_backend *backend)
{
    free(backend);
}

static void *host_alloc(struct lens_backend *backend, size_t bytes)
{
    struct cuda_backend *cuda = (struct cuda_backend *)backend;
    void *memory = NULL;
    if (cuda_enter(cuda, NULL) != 0 ||
        cuda_check(cuda, cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped), "", NULL) != 0)
        return NULL;
    return memset(memory, 0, bytes);
}

static void host_free(struct lens_backend *backend, void *memory)
{
    struct cuda_backend *cuda = (struct cuda_backend *)backend;
    cudaSetDevice(cuda->device); /* a lost card's memory is given back all the same */
    if (memory != NULL && cudaFreeHost(memory) != cudaSuccess)
        cudaGetLastError();
}

static int host_register(struct lens_backend *backend, void *memory, size_t bytes, void **device_view,
                         struct lens_error *err)
{
    struct cuda_backend *cuda = (struct cuda_backend *)backend;
    *device_view = NULL;
    int rc = cuda_enter(cuda, err);
    if (rc == 0)
        rc = cuda_check(cuda, cudaHostRegister(memory, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped),
                        "locking a session's memory for the card", err);
    if (rc != 0)
        return rc;
    rc = cuda_check(cuda, cudaHostGetDevicePointer(device_view, memory, 0), "finding a session's memory on the card",
                    err);
    if (rc != 0)
        cudaHostUnregister(memory);
    return rc;
}

static void host_unregister(struct lens_backend *backend, void *memory)
{
    struct cuda_backend *cuda = (struct cuda_backend *)backend;
    cudaSetDevice(cuda->device);
    if (cudaHostUnregister(memory) != cudaSuccess)
        cudaGetLastError();
}

static int memory_free(struct lens_backend *backend, uint64_t *bytes)
{
    struct cuda_backend *cuda = (struct cuda_backend *)backend;
    size_t unused = 0, total = 0;
    int rc = cuda_enter(cuda, NULL);
    if (rc == 0)
        rc = cuda_check(cuda, cudaMemGetInfo(&unused, &total), "asking for the card's memory", NULL);
    *bytes = unused;
    return rc != 0 ? -ENODEV : 0;
}

static const struct lens_backend_ops cuda_ops = {
    .api_version = LENS_BACKEND_API,
    .describe = describe,
    .slab_create = cuda_slab_create,
    .slab_destroy = cuda_slab_destroy,
    .slot_write = cuda_slot_write,
    .run = cuda_run,
    .slot_bytes = cuda_slot_bytes,
    .close = close_backend,
    .host_alloc = host_alloc,
    .host_free = host_free,
    .host_register = host_register,
    .host_unregister = host_unregister,
    .memory_free = memory_free,
    .slab_size = cuda_slab_size,
    .slab_resize = cuda_slab_resize,
};

__attribute__((visibility("default"))) int lens_cuda_open(uint32_t api, const struct lens_cuda_options *options,
                                                          struct lens_backend **out, struct lens_error *err)
{
    *out = NULL;
    if (api != LENS_BACKEND_API)
        return lens_error_set(err, -ENOTSUP,
                              "lens_cuda.so speaks version %u of the backend API, and the program %u; "
                              "build both from the same source",
                              LENS_BACKEND_API, api);
    if (options->device > INT32_MAX)
        return lens_error_set(err, -ENODEV, "no card %u", options->device);
    struct cuda_backend *cuda = calloc(1, sizeof *cuda);
    if (cuda == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the cuda backend");
    cuda->base.ops = &cuda_ops;
    cuda->device = (int)options->device;
    int rc = open_card(cuda, err);
    if (rc != 0) {
        free(cuda);
        return rc;
    }
    *out = &cuda->base;
    return 0;
}
