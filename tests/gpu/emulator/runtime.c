/* Devices, errors, faults, streams and events of the emulated card. Work is done when it is asked for, so that streams
 * have nothing to wait for. */
#include "emulator.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_FAULTS 32
#define MAX_CALLS  96 /* names of calls */

struct fault {
    char call[64];
    uint64_t nth;
    int error;
};

struct call {
    const char *name;
    uint64_t count;
};

struct CUstream_st {
    int device;
};

struct CUevent_st {
    int device;
    struct timespec at;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
    int devices; /* -1: the driver is too old, -2: there is none */
    int major, minor;
    uint64_t memory, seed;
    const char *taken; /* a file: bytes that other processes have */
    struct fault faults[MAX_FAULTS];
    unsigned n_faults;
    struct call calls[MAX_CALLS];
    unsigned n_calls;
    cudaError_t lost; /* the error that every call gives from now on */
    int64_t alive;
} emulated;
static _Thread_local cudaError_t last_error;
static _Thread_local int current_device;

/* ---- settings --------------------------------------------------------------------------------------------------- */

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value != NULL ? value : otherwise;
}

static void bad_setting(const char *name, const char *value)
{
    fprintf(stderr, "emulated card: %s=%s: see tests/gpu/emulator/README.md\n", name, value);
    abort();
}

static void read_faults(void)
{
    const char *text = setting("LENSD_EMULATOR_FAULTS", "");
    emulated.n_faults = 0;
    while (text[strspn(text, "; ")] != '\0') {
        int used = 0;
        struct fault fault;
        unsigned long long nth;
        text += strspn(text, "; ");
        if (sscanf(text, "%63[A-Za-z] %llu %d%n", fault.call, &nth, &fault.error, &used) != 3 ||
            emulated.n_faults == MAX_FAULTS)
            bad_setting("LENSD_EMULATOR_FAULTS", text);
        fault.nth = nth;
        emulated.faults[emulated.n_faults++] = fault;
        text += used;
    }
}

static void read_settings(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const char *seed = setting("LENSD_EMULATOR_SEED", "");
    emulated.seed = seed[0] != '\0' ? strtoull(seed, NULL, 0) : (uint64_t)now.tv_sec * 1000003 + (uint64_t)now.tv_nsec;
    emulator_random_seed(emulated.seed);
    emulated.devices = (int)strtol(setting("LENSD_EMULATOR_DEVICES", "1"), NULL, 0);
    emulated.memory = strtoull(setting("LENSD_EMULATOR_MEMORY", "1073741824"), NULL, 0);
    emulated.taken = setting("LENSD_EMULATOR_TAKEN", "");
    const char *capability = setting("LENSD_EMULATOR_CAPABILITY", "9.0");
    if (sscanf(capability, "%d.%d", &emulated.major, &emulated.minor) != 2)
        bad_setting("LENSD_EMULATOR_CAPABILITY", capability);
    read_faults();
}

void emulator_reset(void)
{
    pthread_once(&once, read_settings);
    pthread_mutex_lock(&lock);
    read_settings();
    emulated.lost = cudaSuccess;
    emulated.n_calls = 0;
    pthread_mutex_unlock(&lock);
    last_error = cudaSuccess;
}

uint64_t emulator_seed(void)
{
    pthread_once(&once, read_settings);
    return emulated.seed;
}

/* ---- every call ------------------------------------------------------------------------------------------------- */

static struct call *call_named(const char *name)
{
    for (unsigned i = 0; i < emulated.n_calls; i++)
        if (strcmp(emulated.calls[i].name, name) == 0)
            return &emulated.calls[i];
    if (emulated.n_calls == MAX_CALLS)
        emulator_abort("more than %d names of calls", MAX_CALLS);
    emulated.calls[emulated.n_calls] = (struct call){.name = name};
    return &emulated.calls[emulated.n_calls++];
}

uint64_t emulator_calls(const char *name)
{
    uint64_t count = 0;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < emulated.n_calls; i++)
        if (strcmp(emulated.calls[i].name, name) == 0)
            count = emulated.calls[i].count;
    pthread_mutex_unlock(&lock);
    return count;
}

uint64_t emulator_things_alive(void)
{
    pthread_mutex_lock(&lock);
    uint64_t alive = (uint64_t)emulated.alive;
    pthread_mutex_unlock(&lock);
    return alive;
}

/* After these a card does no more work for the process. */
static bool loses_the_card(cudaError_t error)
{
    switch ((int)error) {
    case cudaErrorDevicesUnavailable:
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
        return true;
    default:
        return false;
    }
}

cudaError_t emulator_enter(const char *name)
{
    pthread_once(&once, read_settings);
    pthread_mutex_lock(&lock);
    struct call *call = call_named(name);
    call->count++;
    if (emulated.lost != cudaSuccess)
        return emulated.lost;
    if (emulated.devices <= 0)
        return emulated.devices == 0 ? cudaErrorNoDevice : cudaErrorInsufficientDriver;
    for (unsigned i = 0; i < emulated.n_faults; i++)
        if (strcmp(emulated.faults[i].call, name) == 0 && emulated.faults[i].nth == call->count) {
            cudaError_t error = (cudaError_t)emulated.faults[i].error;
            if (loses_the_card(error))
                emulated.lost = error;
            return error;
        }
    return cudaSuccess;
}

cudaError_t emulator_leave(cudaError_t error)
{
    pthread_mutex_unlock(&lock);
    if (error != cudaSuccess && error != cudaErrorNotReady)
        last_error = error;
    return error;
}

int emulator_device(void)
{
    return current_device;
}

uint64_t emulator_memory_taken(void)
{
    unsigned long long bytes = 0;
    FILE *file = emulated.taken[0] != '\0' ? fopen(emulated.taken, "r") : NULL;
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu", &bytes) != 1)
        bytes = 0; /* it is just being written */
    fclose(file);
    return bytes;
}

uint64_t emulator_memory_total(void)
{
    return emulated.memory;
}

bool emulator_has_code(void)
{
    return emulated.major >= 8;
}

void emulator_alive(int change)
{
    emulated.alive += change;
}

bool emulator_stream_is_here(cudaStream_t stream)
{
    return stream == NULL || stream->device == current_device;
}

/* ---- errors ----------------------------------------------------------------------------------------------------- */

cudaError_t cudaPeekAtLastError(void)
{
    return emulated.lost != cudaSuccess ? emulated.lost : last_error;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = cudaPeekAtLastError();
    last_error = cudaSuccess;
    return error;
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorHostMemoryAlreadyRegistered, "cudaErrorHostMemoryAlreadyRegistered",
     "part or all of the requested memory range is already mapped"},
    {cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered",
     "pointer does not correspond to a registered memory region"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
};

const char *cudaGetErrorName(cudaError_t error)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i].error == error)
            return errors[i].name;
    return "an error that the emulator has no name for";
}

const char *cudaGetErrorString(cudaError_t error)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i].error == error)
            return errors[i].text;
    return "an error that the emulator has no words for";
}

/* ---- devices ---------------------------------------------------------------------------------------------------- */

/* Answers without a card too: 0 when there is no driver. */
cudaError_t cudaDriverGetVersion(int *version)
{
    pthread_once(&once, read_settings);
    *version = emulated.devices == -2 ? 0 : emulated.devices == -1 ? 12000 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    cudaError_t error = emulator_enter(__func__);
    *count = error == cudaSuccess ? emulated.devices : 0;
    return emulator_leave(error);
}

static cudaError_t check_device(int device)
{
    return device >= 0 && device < emulated.devices ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaSetDevice(int device)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = check_device(device);
    if (error == cudaSuccess)
        current_device = device;
    return emulator_leave(error);
}

cudaError_t cudaGetDevice(int *device)
{
    cudaError_t error = emulator_enter(__func__);
    *device = current_device;
    return emulator_leave(error);
}

cudaError_t cudaSetDeviceFlags(unsigned int flags)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess && flags > (cudaDeviceMapHost | 7u))
        error = cudaErrorInvalidValue;
    return emulator_leave(error);
}

cudaError_t cudaDeviceSynchronize(void)
{
    return emulator_leave(emulator_enter(__func__));
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = check_device(device);
    if (error == cudaSuccess) {
        *out = (struct cudaDeviceProp){.totalGlobalMem = emulated.memory,
                                       .warpSize = 32,
                                       .maxThreadsPerBlock = 1024,
                                       .major = emulated.major,
                                       .minor = emulated.minor,
                                       .multiProcessorCount = 4,
                                       .canMapHostMemory = 1,
                                       .pciBusID = device,
                                       .concurrentKernels = 1,
                                       .unifiedAddressing = 1,
                                       .l2CacheSize = 1 << 20,
                                       .maxThreadsPerMultiProcessor = 2048,
                                       .streamPrioritiesSupported = 1,
                                       .canUseHostPointerForRegisteredMem = 1,
                                       .hostRegisterSupported = 1,
                                       .hostRegisterReadOnlySupported = 1,
                                       .sharedMemPerBlock = 48 << 10};
        snprintf(out->name, sizeof(out->name), "emulated card %d", device);
    }
    return emulator_leave(error);
}

static cudaError_t attribute_value(int *value, enum cudaDeviceAttr attribute)
{
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
        *value = 4;
        return cudaSuccess;
    case cudaDevAttrL2CacheSize:
        *value = 1 << 20;
        return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = 2048;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = emulated.major;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = emulated.minor;
        return cudaSuccess;
    case cudaDevAttrIntegrated:
    case cudaDevAttrComputeMode:
    case cudaDevAttrEccEnabled:
        *value = 0;
        return cudaSuccess;
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrStreamPrioritiesSupported:
    case cudaDevAttrCanUseHostPointerForRegisteredMem:
    case cudaDevAttrHostRegisterSupported:
    case cudaDevAttrHostRegisterReadOnlySupported:
        *value = 1;
        return cudaSuccess;
    }
    return cudaErrorInvalidValue;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = check_device(device);
    if (error == cudaSuccess)
        error = attribute_value(value, attribute);
    return emulator_leave(error);
}

/* ---- streams and events ----------------------------------------------------------------------------------------- */

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    cudaError_t error = emulator_enter(__func__);
    *least = 0;
    *greatest = -5;
    return emulator_leave(error);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned int flags, int priority)
{
    cudaError_t error = emulator_enter(__func__);
    (void)priority; /* one out of range is clamped */
    if (error == cudaSuccess && flags > cudaStreamNonBlocking)
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess) {
        *out = calloc(1, sizeof(**out));
        (*out)->device = current_device;
        emulator_alive(1);
    }
    return emulator_leave(error);
}

/* A lost card's things are given back all the same, so that no test takes them for a leak. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    cudaError_t error = emulator_enter(__func__);
    if (stream == NULL)
        return emulator_leave(error == cudaSuccess ? cudaErrorInvalidResourceHandle : error);
    emulator_alive(-1);
    free(stream);
    return emulator_leave(error);
}

static cudaError_t stream_call(const char *name)
{
    return emulator_leave(emulator_enter(name));
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    (void)stream;
    return stream_call(__func__);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    (void)stream;
    return stream_call(__func__);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int flags)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess && flags > (cudaEventBlockingSync | cudaEventDisableTiming))
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess) {
        *out = calloc(1, sizeof(**out));
        (*out)->device = current_device;
        emulator_alive(1);
    }
    return emulator_leave(error);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess && (!emulator_stream_is_here(stream) || event->device != current_device))
        error = cudaErrorInvalidResourceHandle;
    if (error == cudaSuccess)
        clock_gettime(CLOCK_MONOTONIC, &event->at);
    return emulator_leave(error);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    (void)event;
    return stream_call(__func__);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    (void)event;
    return stream_call(__func__);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        *milliseconds =
            (float)(to->at.tv_sec - from->at.tv_sec) * 1e3f + (float)(to->at.tv_nsec - from->at.tv_nsec) * 1e-6f;
    return emulator_leave(error);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    cudaError_t error = emulator_enter(__func__);
    emulator_alive(-1);
    free(event);
    return emulator_leave(error);
}
