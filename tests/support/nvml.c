/* A stand-in for NVIDIA's management library: it answers from a recorded text file.
 *
 * NVML_RECORD names the file. A line is "KEY VALUE"; "gpu" begins a device, "instance NAME" adds
 * an instance to it ("instance" alone: an empty slot). A value "!15" is the error 15; "abort" ends
 * the process and "hang" never returns. What a device has no line for it does not support (3).
 * Signatures as in nvml.h of the CUDA toolkit; with -DOLD some functions are not there at all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15 };

#define LINES 64
#define DEVICES 32
#define SLOTS 16

struct device {
    char key[LINES][32], value[LINES][128];
    int lines, slots;
    struct device *slot[SLOTS];
};
typedef struct device *device_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char address[32];
} pci_t;

static struct device machine, *devices[DEVICES];
static unsigned count;

static device_t add(device_t to, const char *key, const char *value)
{
    if (to->lines < LINES) {
        snprintf(to->key[to->lines], 32, "%s", key);
        snprintf(to->value[to->lines++], 128, "%s", value);
    }
    return to;
}

__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("NVML_RECORD");
    FILE *file = path ? fopen(path, "r") : NULL;
    device_t now = &machine;
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *value = strchr(line, ' ');
        if (value)
            *value++ = 0;
        if (!strcmp(line, "gpu") && count < DEVICES)
            now = devices[count++] = calloc(1, sizeof *now);
        else if (!strcmp(line, "instance") && now->slots < SLOTS)
            now->slot[now->slots++] = value ? add(calloc(1, sizeof *now), "name", value) : NULL;
        else if (line[0])
            add(now, line, value ? value : "");
    }
    if (file)
        fclose(file);
    puts("noise that a library may print");
    fflush(stdout);
}

/* What the record says, or an error. */
static int say(device_t device, const char *key, const char **value)
{
    for (int i = 0; i < device->lines; i++) {
        if (strcmp(device->key[i], key))
            continue;
        *value = device->value[i];
        if (!strcmp(*value, "abort"))
            abort();
        while (!strcmp(*value, "hang"))
            pause();
        return **value == '!' ? atoi(*value + 1) : OK;
    }
    return NOT_SUPPORTED;
}

static int say_text(device_t device, const char *key, char *buffer, unsigned size)
{
    const char *value;
    int code = say(device, key, &value);
    if (code)
        return code;
    if (strlen(value) + 1 > size)
        return INSUFFICIENT_SIZE;
    strcpy(buffer, value);
    return OK;
}

static int say_numbers(device_t device, const char *key, unsigned *first, unsigned *second)
{
    const char *value;
    char *rest;
    int code = say(device, key, &value);
    if (code)
        return code;
    *first = strtoul(value, &rest, 10);
    if (second)
        *second = strtoul(rest, NULL, 10);
    return OK;
}

static int init(void)
{
    const char *value;
    int code = say(&machine, "init", &value);
    return code == NOT_SUPPORTED ? OK : code;
}

int nvmlInit_v2(void) { return init(); }
int nvmlInitWithFlags(unsigned flags) { return flags ? INVALID : init(); }
int nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(int code)
{
    switch (code) {
    case 4: return "Insufficient Permissions";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *b, unsigned n) { return say_text(&machine, "driver", b, n); }
int nvmlSystemGetNVMLVersion(char *b, unsigned n) { return say_text(&machine, "nvml", b, n); }
int nvmlDeviceGetCount_v2(unsigned *n) { return *n = count, OK; }
int nvmlDeviceGetName(device_t d, char *b, unsigned n) { return say_text(d, "name", b, n); }
int nvmlDeviceGetUUID(device_t d, char *b, unsigned n) { return say_text(d, "uuid", b, n); }
int nvmlDeviceGetVbiosVersion(device_t d, char *b, unsigned n) { return say_text(d, "vbios", b, n); }
int nvmlDeviceGetEccMode(device_t d, unsigned *a, unsigned *b) { return say_numbers(d, "ecc", a, b); }
int nvmlDeviceGetPersistenceMode(device_t d, unsigned *a)
{
    return say_numbers(d, "persistence", a, NULL);
}
int nvmlDeviceGetPowerManagementLimit(device_t d, unsigned *a)
{
    return say_numbers(d, "power", a, NULL);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device)
{
    const char *value;
    if (index >= count)
        return INVALID;
    *device = devices[index];
    int code = say(*device, "handle", &value);
    return code == NOT_SUPPORTED ? OK : code;
}

int nvmlDeviceGetMemoryInfo(device_t device, memory_t *memory)
{
    const char *value;
    int code = say(device, "memory", &value);
    if (code == OK)
        *memory = (memory_t){strtoull(value, NULL, 10), 1, 2};
    return code;
}

int nvmlDeviceGetPciInfo_v3(device_t device, pci_t *pci)
{
    return say_text(device, "bus", pci->address, sizeof pci->address);
}

#ifndef OLD
int nvmlSystemGetCudaDriverVersion_v2(unsigned *n)
{
    return say_numbers(&machine, "cuda", n, NULL);
}
int nvmlDeviceGetCudaComputeCapability(device_t d, unsigned *a, unsigned *b)
{
    return say_numbers(d, "capability", a, b);
}
int nvmlDeviceGetMigMode(device_t d, unsigned *a, unsigned *b) { return say_numbers(d, "mig", a, b); }
int nvmlDeviceGetMaxMigDeviceCount(device_t d, unsigned *n)
{
    return *n = d->slots, d->slots ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetMigDeviceHandleByIndex(device_t d, unsigned index, device_t *instance)
{
    if (index >= (unsigned)d->slots || !d->slot[index])
        return NOT_FOUND;
    *instance = d->slot[index];
    return OK;
}
#endif
