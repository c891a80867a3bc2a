/* What the compiled targets share: an interpreter that is started once, the C functions that the modules export, and
   blocks of exact size. The parsers are then called without Python, some 10^5 to 10^6 times a second.

   run.py gives MODULES, the directory of the instrumented modules, and PYTHON, the interpreter they belong to. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

/* As in _address.pxd. */
struct address {
    uint64_t high, low;
};

typedef void (*any_function)(void);

/* The interpreter never gives all of its memory back. A long quarantine costs the cache, and nothing here keeps a
   block for longer than a call. */
const char *__asan_default_options(void)
{
    return "detect_leaks=0:quarantine_size_mb=1:malloc_context_size=8";
}

#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

static void start_python(void)
{
    PyConfig config;
    PyStatus status;
    PyConfig_InitIsolatedConfig(&config);
    status = PyConfig_SetBytesString(&config, &config.program_name, PYTHON);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    REQUIRE(PyRun_SimpleString("import sys; sys.path.insert(0, '" MODULES "')") == 0);
}

/* Cython writes a type of a module as __pyx_t_..._Name: the name is enough here. */
static void shorten(const char *signature, char *target, size_t room)
{
    size_t used = 0;
    while (*signature && used + 1 < room) {
        if (strncmp(signature, "__pyx_", 6) == 0) {
            size_t length = strspn(signature, "_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
            while (length && signature[length - 1] != '_')
                length--;
            signature += length;
        }
        target[used++] = *signature++;
    }
    target[used] = 0;
}

/* A function that a module exports to other Cython modules, held against the signature that the caller knows. */
static any_function exported(const char *module, const char *name, const char *signature)
{
    PyObject *imported = PyImport_ImportModule(module), *functions, *capsule;
    any_function function;
    char found[512];
    void *pointer;
    if (!imported)
        PyErr_Print();
    REQUIRE(imported);
    functions = PyObject_GetAttrString(imported, "__pyx_capi__");
    REQUIRE(functions);
    capsule = PyDict_GetItemString(functions, name);
    REQUIRE(capsule);
    shorten(PyCapsule_GetName(capsule), found, sizeof(found));
    if (strcmp(found, signature) != 0) {
        fprintf(stderr, "%s.%s is %s, not %s\n", module, name, found, signature);
        abort();
    }
    pointer = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
    memcpy(&function, &pointer, sizeof(function));
    Py_DECREF(functions);
    Py_DECREF(imported);
    return function;
}

/* In a block of exactly this size, whose surroundings AddressSanitizer guards. */
static uint8_t *copied(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);
    REQUIRE(copy);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

/* Whether [inner, inner + inner_size) lies in [outer, outer + size). */
static int lies_inside(const uint8_t *inner, size_t inner_size, const uint8_t *outer, size_t size)
{
    return inner >= outer && inner <= outer + size && inner_size <= size - (size_t) (inner - outer);
}
