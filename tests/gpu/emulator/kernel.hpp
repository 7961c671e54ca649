// Makes a kernel known to the emulated card: EMULATED_KERNEL(name) once in some file. Kernels take one argument.
#ifndef LENSD_EMULATOR_KERNEL_HPP
#define LENSD_EMULATOR_KERNEL_HPP

#include "emulator.h"

template <class A, void (*kernel)(A)> static void emulator_invoke(const void *argument)
{
    kernel(*(const A *)argument);
}

#define EMULATED_KERNEL(kernel, type)                                                                                  \
    __attribute__((constructor)) static void register_##kernel(void)                                                   \
    {                                                                                                                  \
        static emulator_kernel known = {(const void *)kernel, #kernel, emulator_invoke<type, kernel>, sizeof(type),    \
                                        nullptr};                                                                      \
        emulator_register(&known);                                                                                     \
    }

#endif
