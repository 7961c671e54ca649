/* Launches and graphs of the emulated card. Nodes of a graph run in any order that their dependencies allow, drawn at
 * random, so that a missing dependency shows. */
#include "emulator.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NODES 16 /* of a graph */
#define MAX_BLOCK 1024u

struct CUgraphNode_st {
    uint32_t after; /* bits of nodes that come first */
    const struct emulator_kernel *kernel;
    dim3 grid, block;
    void *argument;
    struct emulator_condition *condition; /* of a while node */
    struct CUgraph_st *body;
};

struct CUgraph_st {
    int device, users; /* users: the graph itself, until it is destroyed, and what was instantiated of it */
    unsigned n;
    bool is_body, frozen;
    struct CUgraphNode_st nodes[MAX_NODES];
    struct emulator_condition *conditions[MAX_NODES];
    unsigned n_conditions;
};

struct CUgraphExec_st {
    struct CUgraph_st *graph;
};

static struct emulator_kernel *kernels;

void emulator_register(struct emulator_kernel *kernel)
{
    kernel->next = kernels;
    kernels = kernel;
}

const struct emulator_kernel *emulator_find(const void *function)
{
    const struct emulator_kernel *kernel = kernels;
    while (kernel != NULL && kernel->function != function)
        kernel = kernel->next;
    return kernel;
}

static cudaError_t check_kernel(const void *function)
{
    if (emulator_find(function) == NULL)
        return cudaErrorInvalidDeviceFunction;
    return emulator_has_code() ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}

/* One dimension, whole warps and static shared memory are all that our kernels want. */
static cudaError_t check_launch(const void *function, dim3 grid, dim3 block, size_t shared)
{
    bool flat = grid.y == 1 && grid.z == 1 && block.y == 1 && block.z == 1 && shared == 0;
    if (!flat || grid.x == 0 || block.x == 0 || block.x > MAX_BLOCK || block.x % 32 != 0)
        return cudaErrorInvalidConfiguration;
    return check_kernel(function);
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared,
                             cudaStream_t stream)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = check_launch(function, grid, block, shared);
    if (error == cudaSuccess && !emulator_stream_is_here(stream))
        error = cudaErrorInvalidResourceHandle;
    if (error == cudaSuccess)
        emulator_launch(emulator_find(function), grid, block, arguments[0]);
    return emulator_leave(error);
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *out, const void *function)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = check_kernel(function);
    if (error == cudaSuccess)
        *out = (struct cudaFuncAttributes){
            .maxThreadsPerBlock = MAX_BLOCK, .numRegs = 64, .ptxVersion = 90, .binaryVersion = 90};
    return emulator_leave(error);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int block_size,
                                                          size_t shared)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = block_size > 0 && shared == 0 ? check_kernel(function) : cudaErrorInvalidValue;
    if (error == cudaSuccess)
        *blocks = 2;
    return emulator_leave(error);
}

/* ---- building --------------------------------------------------------------------------------------------------- */

static struct CUgraph_st *make_graph(bool is_body)
{
    struct CUgraph_st *graph = calloc(1, sizeof(*graph));
    graph->device = emulator_device();
    graph->users = 1;
    graph->is_body = is_body;
    return graph;
}

static void let_go(struct CUgraph_st *graph)
{
    if (--graph->users > 0)
        return;
    for (unsigned i = 0; i < graph->n; i++) {
        free(graph->nodes[i].argument);
        if (graph->nodes[i].body != NULL)
            let_go(graph->nodes[i].body);
    }
    for (unsigned i = 0; i < graph->n_conditions; i++)
        free(graph->conditions[i]);
    free(graph);
}

cudaError_t cudaGraphCreate(cudaGraph_t *out, unsigned int flags)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess && flags != 0)
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess) {
        *out = make_graph(false);
        emulator_alive(1);
    }
    return emulator_leave(error);
}

/* A new node behind others, or NULL: the graph is full or was instantiated already (a card would allow that, and
 * change nothing), or one of those others isn't in this graph. */
static struct CUgraphNode_st *add_node(cudaGraph_t graph, const cudaGraphNode_t *after, size_t n_after)
{
    uint32_t bits = 0;
    if (graph->n == MAX_NODES || graph->frozen)
        return NULL;
    for (size_t i = 0; i < n_after; i++) {
        if (after[i] < graph->nodes || after[i] >= graph->nodes + graph->n)
            return NULL;
        bits |= 1u << (after[i] - graph->nodes);
    }
    struct CUgraphNode_st *node = &graph->nodes[graph->n++];
    *node = (struct CUgraphNode_st){.after = bits};
    return node;
}

static cudaError_t add_kernel(cudaGraphNode_t *out, cudaGraph_t graph, const cudaGraphNode_t *after, size_t n_after,
                              const struct cudaKernelNodeParams *params)
{
    cudaError_t error = check_launch(params->func, params->gridDim, params->blockDim, params->sharedMemBytes);
    if (error != cudaSuccess)
        return error;
    struct CUgraphNode_st *node = params->extra == NULL ? add_node(graph, after, n_after) : NULL;
    if (node == NULL)
        return cudaErrorInvalidValue;
    node->kernel = emulator_find(params->func);
    node->grid = params->gridDim;
    node->block = params->blockDim;
    node->argument = malloc(node->kernel->argument_size);
    memcpy(node->argument, params->kernelParams[0], node->kernel->argument_size);
    *out = node;
    return cudaSuccess;
}

cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t *out, cudaGraph_t graph, const cudaGraphNode_t *after,
                                   size_t n_after, const struct cudaKernelNodeParams *params)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = add_kernel(out, graph, after, n_after, params);
    return emulator_leave(error);
}

cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle *out, cudaGraph_t graph, unsigned int at_launch,
                                             unsigned int flags)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess && (flags > cudaGraphCondAssignDefault || graph->n_conditions == MAX_NODES))
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess) {
        struct emulator_condition *condition = calloc(1, sizeof(*condition));
        *condition =
            (struct emulator_condition){.at_launch = at_launch, .assigned = flags == cudaGraphCondAssignDefault};
        graph->conditions[graph->n_conditions++] = condition;
        *out = (cudaGraphConditionalHandle)(uintptr_t)condition;
    }
    return emulator_leave(error);
}

/* A handle of this graph that no node has yet. */
static struct emulator_condition *free_condition(cudaGraph_t graph, cudaGraphConditionalHandle handle)
{
    struct emulator_condition *found = NULL;
    for (unsigned i = 0; i < graph->n_conditions; i++)
        if ((uintptr_t)graph->conditions[i] == (uintptr_t)handle)
            found = graph->conditions[i];
    for (unsigned i = 0; i < graph->n; i++)
        if (graph->nodes[i].condition == found)
            return NULL;
    return found;
}

static cudaError_t add_while(cudaGraphNode_t *out, cudaGraph_t graph, const cudaGraphNode_t *after, size_t n_after,
                             struct cudaConditionalNodeParams *params)
{
    struct emulator_condition *condition = free_condition(graph, params->handle);
    if (params->type != cudaGraphCondTypeWhile || params->size != 1 || condition == NULL)
        return cudaErrorInvalidValue;
    struct CUgraphNode_st *node = add_node(graph, after, n_after);
    if (node == NULL)
        return cudaErrorInvalidValue;
    node->condition = condition;
    node->body = make_graph(true);
    params->phGraph_out = &node->body;
    *out = node;
    return cudaSuccess;
}

cudaError_t cudaGraphAddNode(cudaGraphNode_t *out, cudaGraph_t graph, const cudaGraphNode_t *after,
                             const cudaGraphEdgeData *edges, size_t n_after, struct cudaGraphNodeParams *params)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess && edges != NULL)
        error = cudaErrorNotSupported;
    if (error == cudaSuccess && params->type == cudaGraphNodeTypeConditional)
        error = add_while(out, graph, after, n_after, &params->conditional);
    else if (error == cudaSuccess && params->type == cudaGraphNodeTypeKernel) {
        const struct cudaKernelNodeParamsV2 *of = &params->kernel;
        struct cudaKernelNodeParams kernel = {.func = of->func,
                                              .gridDim = of->gridDim,
                                              .blockDim = of->blockDim,
                                              .sharedMemBytes = of->sharedMemBytes,
                                              .kernelParams = of->kernelParams,
                                              .extra = of->extra};
        error = add_kernel(out, graph, after, n_after, &kernel);
    } else if (error == cudaSuccess)
        error = cudaErrorNotSupported;
    return emulator_leave(error);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    cudaError_t error = emulator_enter(__func__);
    if (graph->is_body) /* belongs to its node */
        return emulator_leave(error == cudaSuccess ? cudaErrorInvalidValue : error);
    let_go(graph);
    emulator_alive(-1);
    return emulator_leave(error);
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static void freeze(struct CUgraph_st *graph)
{
    graph->frozen = true;
    for (unsigned i = 0; i < graph->n; i++)
        if (graph->nodes[i].body != NULL)
            freeze(graph->nodes[i].body);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess && (flags != 0 || graph->is_body))
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess) {
        freeze(graph);
        graph->users++;
        *out = calloc(1, sizeof(**out));
        (*out)->graph = graph;
        emulator_alive(1);
    }
    return emulator_leave(error);
}

static cudaError_t check_exec(cudaGraphExec_t exec, cudaStream_t stream)
{
    bool here = emulator_stream_is_here(stream) && exec->graph->device == emulator_device();
    return here ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = check_exec(exec, stream);
    return emulator_leave(error);
}

static void run_graph(struct CUgraph_st *graph);

static void run_node(struct CUgraphNode_st *node)
{
    if (node->kernel != NULL)
        emulator_launch(node->kernel, node->grid, node->block, node->argument);
    else
        while (node->condition->value != 0)
            run_graph(node->body);
}

static void run_graph(struct CUgraph_st *graph)
{
    uint32_t done = 0, all = graph->n == 0 ? 0 : UINT32_MAX >> (32 - graph->n);
    while (done != all) {
        unsigned i = (unsigned)(emulator_random() % graph->n);
        if ((done >> i & 1) != 0 || (graph->nodes[i].after & ~done) != 0)
            continue;
        run_node(&graph->nodes[i]);
        done |= 1u << i;
    }
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = check_exec(exec, stream);
    if (error == cudaSuccess) {
        for (unsigned i = 0; i < exec->graph->n_conditions; i++)
            if (exec->graph->conditions[i]->assigned)
                exec->graph->conditions[i]->value = exec->graph->conditions[i]->at_launch;
        run_graph(exec->graph);
    }
    return emulator_leave(error);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    cudaError_t error = emulator_enter(__func__);
    let_go(exec->graph);
    free(exec);
    emulator_alive(-1);
    return emulator_leave(error);
}
