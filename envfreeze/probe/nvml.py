"""What NVIDIA's management library says. Runs in a child of its own: the library may end it.

Of this module nothing is run in the probe itself; :mod:`.nvidia` hands its functions and constants
to the child. So everything is imported where it is used, and no default values are given.
Functions, struct layouts and buffer sizes as in nvml.h (nvidia-nvml-dev 13.5).
"""

FUNCTION_NOT_FOUND = 13
LIBRARY_NOT_FOUND = 12
BUFFER = 256  # Bytes; what is asked for has at most 96.
ALONE = 60  # Seconds after which it ends, should nobody wait for it any more.
MOST = 1024  # Devices; more instances than that have none.

# nvmlReturn_t in nvml.h; nvidia-smi ends with the same numbers.
WORDS = {
    3: "not supported",
    4: "this user may not ask it",
    6: "there is no such device",
    8: "a device has not enough power",
    9: "its kernel module is not loaded",
    10: "the driver did not answer in time",
    12: "its library libnvidia-ml.so.1 could not be loaded",
    13: "its library is older than what asks it",
    14: "a device's infoROM is corrupted",
    15: "a device has fallen off the bus",
    16: "a device must be reset",
    17: "the operating system blocks it",
    18: "its library is not of the kernel module's version: the driver was updated, "
    "and the old module is still loaded",
    999: "unknown error",
}


def worded(code):
    return WORDS.get(code, "error %d" % code)


def main(candidates):
    """Print what the library says as JSON, whatever it may print itself; then end."""
    import json
    import os
    import signal

    signal.alarm(ALONE)
    stream = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    no_core()
    answer = ask(candidates)
    os.write(stream, json.dumps(answer).encode("ascii"))
    os._exit(0)  # The library's own handlers at exit are not needed.


def no_core():
    """A library that aborts leaves no core file, nor anything for a core handler: core(5)."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        # One byte is too little for a file, and tells the kernel not to start a handler.
        soft = 0 if hard == 0 else 1
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    except (ImportError, ValueError, OSError):
        pass


def ask(candidates):
    """A dict: ``driver``, ``cuda``, ``nvml``, ``path`` and ``gpus``, or ``problem`` and ``error``.

    *candidates*: paths or sonames, the first that can be loaded is asked.
    """
    try:
        import ctypes
    except ImportError:
        return {"problem": "this Python has no ctypes"}
    problem, library = "", None
    for candidate in candidates:
        try:
            library = ctypes.CDLL(candidate)
            break
        except OSError as error:
            problem = str(error)
    if library is None:
        return {"error": LIBRARY_NOT_FOUND, "problem": problem}
    answer = {"path": loaded_path(), "nvml": text(library, "nvmlSystemGetNVMLVersion", ())}
    code = call(library, "nvmlInit_v2", ())
    if code:
        answer.update(error=code, problem=said(library, code))
        return answer
    answer["driver"] = text(library, "nvmlSystemGetDriverVersion", ())
    answer["cuda"] = number(library, "nvmlSystemGetCudaDriverVersion_v2", ())
    answer["gpus"] = gpus(library)
    call(library, "nvmlShutdown", ())
    return answer


def loaded_path():
    """The file that the loader chose."""
    try:
        with open("/proc/self/maps", "rb") as file:
            for line in file:
                if b"/libnvidia-ml.so" in line:
                    path = line[line.index(b"/") :].rstrip(b"\n")
                    return path.decode("utf-8", "replace")
    except OSError:
        pass
    return None


def call(library, name, arguments):
    """What the function returns: 0, or an error; also where an older library lacks it."""
    try:
        function = getattr(library, name)
    except AttributeError:
        return FUNCTION_NOT_FOUND
    return function(*arguments)


def said(library, code):
    """The library's own words for an error."""
    import ctypes

    try:
        function = library.nvmlErrorString
    except AttributeError:
        return ""
    function.restype = ctypes.c_char_p
    return (function(code) or b"").decode("utf-8", "replace")


def text(library, name, before):
    """The text that a function writes; None: it has no answer."""
    import ctypes

    buffer = ctypes.create_string_buffer(BUFFER)
    size = 96 if name.endswith("Name") else 80 if name.startswith("nvmlSystem") else 32
    if name.endswith("UUID"):
        size = 96
    if call(library, name, (*before, buffer, ctypes.c_uint(size))):
        return None
    return buffer.value.decode("utf-8", "replace")


def number(library, name, before):
    import ctypes

    value = ctypes.c_uint()
    if call(library, name, (*before, ctypes.byref(value))):
        return None
    return value.value


def pair(library, name, before):
    """The two numbers that a function writes: major and minor, or the current and next state."""
    import ctypes

    first, second = ctypes.c_uint(), ctypes.c_uint()
    if call(library, name, (*before, ctypes.byref(first), ctypes.byref(second))):
        return None
    return [first.value, second.value]


def gpus(library):
    """One dict a device; ``error`` and ``problem`` alone for one that does not answer."""
    import ctypes

    found = []
    for index in range(min(number(library, "nvmlDeviceGetCount_v2", ()) or 0, MOST)):
        handle = ctypes.c_void_p()
        arguments = (ctypes.c_uint(index), ctypes.byref(handle))
        code = call(library, "nvmlDeviceGetHandleByIndex_v2", arguments)
        if code:
            found.append({"error": code, "problem": said(library, code)})
        else:
            found.append(gpu(library, handle))
    return found


def gpu(library, handle):
    """A value is None where the device does not support it, or the library does not know it."""
    device = (handle,)
    return {
        "name": text(library, "nvmlDeviceGetName", device),
        "uuid": text(library, "nvmlDeviceGetUUID", device),
        "vbios": text(library, "nvmlDeviceGetVbiosVersion", device),
        "capability": pair(library, "nvmlDeviceGetCudaComputeCapability", device),
        "memory": memory(library, handle),
        "ecc": pair(library, "nvmlDeviceGetEccMode", device),
        "mig": pair(library, "nvmlDeviceGetMigMode", device),
        "instances": instances(library, handle),
        "persistence": number(library, "nvmlDeviceGetPersistenceMode", device),
        "power": number(library, "nvmlDeviceGetPowerManagementLimit", device),
        "bus": bus(library, handle),
    }


def memory(library, handle):
    """Bytes in all. ``nvmlMemory_t``: total, free, used."""
    import ctypes

    values = (ctypes.c_ulonglong * 3)()
    if call(library, "nvmlDeviceGetMemoryInfo", (handle, ctypes.byref(values))):
        return None
    return values[0]


def bus(library, handle):
    """The PCI address. ``nvmlPciInfo_t``: 16 bytes, five unsigned, then 32 bytes of it."""
    import ctypes

    buffer = ctypes.create_string_buffer(BUFFER)
    if call(library, "nvmlDeviceGetPciInfo_v3", (handle, buffer)):
        return None
    return buffer.raw[36:68].split(b"\0")[0].decode("utf-8", "replace")


def instances(library, handle):
    """The names of the instances that the device is split into; its slots may be empty."""
    import ctypes

    found = []
    for index in range(
        min(number(library, "nvmlDeviceGetMaxMigDeviceCount", (handle,)) or 0, MOST)
    ):
        instance = ctypes.c_void_p()
        arguments = (handle, ctypes.c_uint(index), ctypes.byref(instance))
        if call(library, "nvmlDeviceGetMigDeviceHandleByIndex", arguments) == 0:
            found.append(text(library, "nvmlDeviceGetName", (instance,)))
    return found
