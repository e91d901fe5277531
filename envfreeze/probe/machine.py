"""What a probe may look at: a root directory, an environment, and a place for findings."""

import json
import os
import re
import stat

# Variables that change results, how numbers are come by, or what is loaded, and that mean the same
# on every machine: a rebuilt environment is given them, too. Nothing of the environment is recorded
# that is neither here nor in RECORDED; envfreeze/data/numerics.toml says what each of them does.
ALLOWED = frozenset(
    """
    OMP_CANCELLATION OMP_DYNAMIC OMP_MAX_ACTIVE_LEVELS OMP_NESTED OMP_NUM_TEAMS OMP_NUM_THREADS
    OMP_SCHEDULE OMP_STACKSIZE OMP_TARGET_OFFLOAD OMP_TEAMS_THREAD_LIMIT OMP_THREAD_LIMIT
    OMP_WAIT_POLICY GOMP_SPINCOUNT GOMP_STACKSIZE
    KMP_ALL_THREADS KMP_BLOCKTIME KMP_DETERMINISTIC_REDUCTION KMP_DUPLICATE_LIB_OK
    KMP_DYNAMIC_MODE KMP_FORCE_REDUCTION KMP_INIT_AT_FORK KMP_LIBRARY KMP_SCHEDULE KMP_STACKSIZE
    KMP_TEAMS_THREAD_LIMIT
    MKL_CBWR MKL_DEBUG_CPU_TYPE MKL_DISABLE_FAST_MM MKL_DOMAIN_NUM_THREADS MKL_DYNAMIC
    MKL_ENABLE_INSTRUCTIONS MKL_INTERFACE_LAYER MKL_NUM_STRIPES MKL_NUM_THREADS
    MKL_SERVICE_FORCE_INTEL MKL_THREADING_LAYER
    OPENBLAS_BLOCK_FACTOR OPENBLAS_CORETYPE OPENBLAS_DEFAULT_NUM_THREADS OPENBLAS_MAIN_FREE
    OPENBLAS_NUM_THREADS OPENBLAS_THREAD_TIMEOUT GOTO_NUM_THREADS
    BLIS_ARCH_TYPE BLIS_IC_NT BLIS_IR_NT BLIS_JC_NT BLIS_JR_NT BLIS_NUM_THREADS BLIS_PACK_A
    BLIS_PACK_B BLIS_PC_NT BLIS_THREAD_IMPL
    VECLIB_MAXIMUM_THREADS
    NUMEXPR_MAX_THREADS NUMEXPR_NUM_THREADS
    NUMBA_CPU_FEATURES NUMBA_CPU_NAME NUMBA_DISABLE_INTEL_SVML NUMBA_DISABLE_JIT NUMBA_ENABLE_AVX
    NUMBA_LOOP_VECTORIZE NUMBA_NUM_THREADS NUMBA_OPT NUMBA_SLP_VECTORIZE NUMBA_THREADING_LAYER
    NPY_DISABLE_CPU_FEATURES NPY_ENABLE_CPU_FEATURES NPY_PROMOTION_STATE NUMPY_MADVISE_HUGEPAGE
    SCIPY_ARRAY_API SKLEARN_ASSUME_FINITE SKLEARN_PAIRWISE_DIST_CHUNK_SIZE SKLEARN_WORKING_MEMORY
    LOKY_MAX_CPU_COUNT POLARS_MAX_THREADS RAYON_NUM_THREADS
    ONEDNN_CPU_ISA_HINTS ONEDNN_DEFAULT_FPMATH_MODE ONEDNN_MAX_CPU_ISA
    DNNL_CPU_ISA_HINTS DNNL_DEFAULT_FPMATH_MODE DNNL_MAX_CPU_ISA
    CUBLAS_WORKSPACE_CONFIG CUBLASLT_WORKSPACE_SIZE CUDA_DEVICE_MAX_CONNECTIONS CUDA_DEVICE_ORDER
    CUDA_DISABLE_PTX_JIT CUDA_FORCE_PTX_JIT CUDA_LAUNCH_BLOCKING CUDA_MODULE_LOADING
    NVIDIA_TF32_OVERRIDE HSA_OVERRIDE_GFX_VERSION
    ATEN_CPU_CAPABILITY PYTORCH_ALLOC_CONF PYTORCH_CUDA_ALLOC_CONF PYTORCH_ENABLE_MPS_FALLBACK
    PYTORCH_JIT PYTORCH_MPS_FAST_MATH PYTORCH_MPS_PREFER_METAL PYTORCH_NO_CUDA_MEMORY_CACHING
    PYTORCH_TUNABLEOP_ENABLED TORCH_ALLOW_TF32_CUBLAS_OVERRIDE TORCH_BLAS_PREFER_CUBLASLT
    TORCH_COMPILE_DISABLE TORCH_CUDNN_USE_HEURISTIC_MODE_B TORCH_CUDNN_V8_API_DISABLED
    TORCH_LINALG_PREFER_CUSOLVER TORCH_MKLDNN_MATMUL_MIN_DIM TORCH_MKLDNN_MATMUL_MIN_SIZE
    TORCHDYNAMO_DISABLE TORCHINDUCTOR_MAX_AUTOTUNE FLASH_ATTENTION_DETERMINISTIC
    TF_CUDNN_DETERMINISTIC TF_CUDNN_USE_AUTOTUNE TF_DETERMINISTIC_OPS TF_ENABLE_ONEDNN_OPTS
    TF_FORCE_GPU_ALLOW_GROWTH TF_GPU_ALLOCATOR TF_GPU_THREAD_MODE TF_NUM_INTEROP_THREADS
    TF_NUM_INTRAOP_THREADS TF_USE_LEGACY_KERAS TF_XLA_FLAGS KERAS_BACKEND
    XLA_FLAGS XLA_PYTHON_CLIENT_ALLOCATOR XLA_PYTHON_CLIENT_MEM_FRACTION
    XLA_PYTHON_CLIENT_PREALLOCATE
    JAX_DEBUG_NANS JAX_DEFAULT_MATMUL_PRECISION JAX_DEFAULT_PRNG_IMPL JAX_DISABLE_JIT
    JAX_ENABLE_CUSTOM_PRNG JAX_ENABLE_X64 JAX_LEGACY_PRNG_KEY JAX_NUMPY_DTYPE_PROMOTION
    JAX_NUMPY_RANK_PROMOTION JAX_PLATFORMS JAX_PLATFORM_NAME JAX_RANDOM_SEED_OFFSET
    JAX_SOFTMAX_CUSTOM_JVP JAX_THREEFRY_PARTITIONABLE
    NCCL_ALGO NCCL_COLLNET_ENABLE NCCL_MAX_NCHANNELS NCCL_MIN_NCHANNELS NCCL_NTHREADS
    NCCL_NVLS_ENABLE NCCL_P2P_DISABLE NCCL_PROTO NCCL_SHM_DISABLE
    PL_GLOBAL_SEED PL_SEED_WORKERS
    PYTHONCOERCECLOCALE PYTHONHASHSEED PYTHONINTMAXSTRDIGITS PYTHONMALLOC PYTHONNOUSERSITE
    PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONUTF8 PYTHON_GIL
    GLIBC_TUNABLES MALLOC_ARENA_MAX MALLOC_MMAP_THRESHOLD_ MALLOC_PERTURB_ MALLOC_TRIM_THRESHOLD_
    LANG LANGUAGE LC_ALL LC_COLLATE LC_CTYPE LC_MESSAGES LC_MONETARY LC_NUMERIC LC_TIME TZ
    """.split()
)
# Those that name devices, processors or places of one machine: recorded, never carried to another.
RECORDED = frozenset(
    """
    CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES NVIDIA_DRIVER_CAPABILITIES HIP_VISIBLE_DEVICES
    ROCR_VISIBLE_DEVICES ZE_AFFINITY_MASK
    GOMP_CPU_AFFINITY KMP_AFFINITY KMP_HW_SUBSET OMP_DEFAULT_DEVICE OMP_PLACES OMP_PROC_BIND
    FLEXIBLAS KERAS_HOME LD_LIBRARY_PATH LD_PRELOAD
    """.split()
)
LONGEST = 4096  # Characters of a value.

_SECRET = re.compile(
    r"://[^/\s]*@"  # A URL with a login.
    r"|(?:pass(?:wor)?d|passwd|token|secret|credential|api[_-]?key)\w{0,40}\s{0,8}[=:]|\bbearer\s"
    # What the tokens of well-known services begin with.
    r"|\b(?:gh[opsur]_|github_pat_|glpat-|hf_|sk-|xox[abps]-|pypi-|AKIA|eyJ)[A-Za-z0-9_-]{10}",
    re.IGNORECASE,
)
_PLACE = re.compile(r"(?:^|[=:,;\s])[/~]")


# What to do about a finding, where the place of finding has nothing better to say.
ADVICE = {
    "not-utf8": "rename it",
    "outside-row": "reinstall it, if those files are still needed",
    "unreadable": "capture as a user who may read it",
}


class Machine(object):
    """The machine as a probe sees it; a recorded one has another root and environment."""

    def __init__(self, root="/", environ=None, known=None, rehash=False):
        self.root = root
        self.environ = dict(os.environ if environ is None else environ)
        self._known = known or {}
        self.rehash = rehash
        self.findings = []

    @property
    def known(self):
        """Results of earlier runs by fingerprint: they spare hashing what has not changed.

        They come as JSON, which is large, and is read only where something has changed.
        """
        if isinstance(self._known, bytes):
            self._known = _memory(self._known)
        return self._known

    def allowed(self):
        """The variables of :data:`ALLOWED` that are set, where they can go to another machine.

        Those values that hold a path are of this machine alone.
        """
        return {
            name: value
            for name, value in self.variables().items()
            if name in ALLOWED and not _PLACE.search(value)
        }

    def variables(self):
        """All allow-listed variables that are set, where :func:`unfit` has nothing to say."""
        return {
            name: self.environ[name]
            for name in sorted(ALLOWED | RECORDED)
            if name in self.environ and unfit(self.environ[name]) is None
        }

    def path(self, path):
        """*path* below this machine's root."""
        if self.root == "/":
            return path
        return os.path.join(self.root, path.lstrip("/"))

    def read(self, path, limit=1 << 26):
        """Bytes of a regular file, or None when it cannot be read or is larger than *limit*."""
        try:
            with self.open(path) as file:
                # Asked for a size, read() would set so much memory aside for every small file.
                large = os.fstat(file.fileno()).st_size > limit
                return None if large else file.read()
        except (OSError, ValueError):
            return None

    def open(self, path):
        """A regular file, opened to be read as bytes. Raises OSError or ValueError."""
        return open(self.path(path), "rb", opener=_open)

    def text(self, path, limit=1 << 26):
        """Text of a file as UTF-8, undecodable bytes replaced, or None."""
        data = self.read(path, limit)
        return None if data is None else data.decode("utf-8", "replace")

    def find(self, kind, place, detail="it could not be read", advice=""):
        """Record something that a person should know."""
        finding = {"kind": kind, "place": utf8(place), "detail": utf8(detail)}
        finding["advice"] = advice or ADVICE[kind]
        self.findings.append(finding)


def _open(path, flags):
    """Refuse what is not a regular file, without hanging at a FIFO."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("not a regular file")
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def unfit(value):
    """Why a variable's value is not recorded: ``secret``, ``unprintable``, ``long``; or None."""
    if len(value) > LONGEST:
        return "long"
    if not value.isprintable():
        return "unprintable"
    return "secret" if _SECRET.search(value) else None


def _memory(data):
    """``{fingerprint: {index: digest or None}}``; what is damaged is no memory."""
    try:
        found = json.loads(data.decode("utf-8"))
        texts = [value for each in found.values() for value in each.values()]
    except (ValueError, AttributeError, RecursionError):
        return {}
    return found if all(each is None or isinstance(each, str) for each in texts) else {}


def utf8(text):
    """*text* with what UTF-8 cannot hold (lone surrogates) shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_utf8(text):
    try:
        text.encode("utf-8")
    except UnicodeError:
        return False
    return True
