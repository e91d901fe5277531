"""What differences may do to results: the table of real pairs, and what holds of all rules."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.diff import judge as judging
from envfreeze.diff.compare import LAYERS, Change, Difference
from envfreeze.diff.judge import LEVELS, RulesError, judge, ours, parse

A, M, U, H = LEVELS

PAIRS = [
    # Python distributions: versions that were released.
    ("packages", "numpy", "1.26.4", "2.0.2", A, "numpy-2-promotion"),
    ("packages", "numpy", "1.16.6", "1.17.0", A, "numpy-1.17-random"),
    ("packages", "numpy", "2.1.3", "2.2.0", A, "numpy-minor"),
    ("packages", "numpy", "2.2.5", "2.2.6", M, "numpy-patch"),
    ("packages", "torch", "2.5.1", "2.6.0", A, "torch-minor"),
    ("packages", "torch", "2.7.0", "2.7.1", M, "torch"),
    ("packages", "torch", "2.13.0+cpu", "2.13.0+cu130", A, "torch-local"),
    ("packages", "torchvision", "0.20.1", "0.21.0", M, "torch"),
    ("packages", "tensorflow", "2.18.0", "2.19.0", A, "tensorflow-minor"),
    ("packages", "tensorflow", "2.19.0", "2.19.1", M, "tensorflow"),
    ("packages", "jax", "0.4.38", "0.5.0", A, "jax-partitionable"),
    ("packages", "jax", "0.5.0", "0.5.1", M, "jax"),
    ("packages", "jaxlib", "0.4.36", "0.4.38", M, "jax"),
    ("packages", "scikit-learn", "1.3.2", "1.4.0", A, "scikit-learn-minor"),
    ("packages", "scikit-learn", "1.4.1.post1", "1.4.2", M, "scikit-learn"),
    ("packages", "scipy", "1.13.1", "1.14.0", M, "numeric-libraries"),
    ("packages", "pandas", "1.5.3", "2.0.0", A, "pandas-major"),
    ("packages", "pandas", "2.1.4", "2.2.0", M, "numeric-libraries"),
    ("packages", "xgboost", "1.7.6", "2.0.0", A, "xgboost-2-hist"),
    ("packages", "xgboost", "2.0.0", "2.0.3", M, "numeric-libraries"),
    ("packages", "keras", "2.15.0", "3.0.0", A, "keras-3"),
    ("packages", "keras", "3.0.0", "3.0.5", M, "numeric-libraries"),
    ("packages", "librosa", "0.9.2", "0.10.0", A, "librosa-0.10-resampling"),
    ("packages", "librosa", "0.10.1", "0.10.2", M, "image-and-sound"),
    ("packages", "pillow", "6.2.2", "7.0.0", A, "pillow-7-resize"),
    ("packages", "astropy", "3.2.3", "4.0", A, "astropy-4-constants"),
    ("packages", "astropy", "6.0.0", "6.1.0", M, "numeric-libraries"),
    ("packages", "xarray", "2024.1.0", "2024.2.0", M, "numeric-libraries"),
    ("packages", "transformers", "4.46.3", "4.47.0", M, "numeric-libraries"),
    ("packages", "opencv-python-headless", "4.10.0.84", "4.11.0.86", M, "image-and-sound"),
    ("packages", "pillow", "10.4.0", "11.0.0", M, "image-and-sound"),
    ("packages", "nvidia-cudnn-cu12", "8.9.2.26", "9.1.0.70", A, "cudnn-major"),
    ("packages", "nvidia-cudnn-cu12", "9.5.1.17", "9.10.2.21", M, "cudnn"),
    ("packages", "nvidia-cublas-cu12", "12.4.5.8", "12.6.4.1", M, "cuda-libraries"),
    ("packages", "nvidia-nccl-cu12", "2.21.5", "2.26.2", M, "collectives"),
    ("packages", "nvidia-nvtx-cu12", "12.4.127", "12.6.77", H, "cuda-tools"),
    ("packages", "pip", "24.0", "25.0", H, "packaging-tools"),
    ("packages", "setuptools", "65.5.0", "80.9.0", H, "packaging-tools"),
    ("packages", "types-requests", "2.31.0.6", "2.32.0.20240914", H, "type-stubs"),
    ("packages", "pandas-stubs", "2.1.4.231227", "2.2.2.240807", H, "type-stubs"),
    ("packages", "sphinx", "7.4.7", "8.0.2", H, "documentation-tools"),
    ("packages", "sphinx-rtd-theme", "2.0.0", "3.0.0", H, "documentation-tools"),
    ("packages", "pytest-xdist", "3.5.0", "3.6.1", H, "checkers"),
    ("packages", "tqdm", "4.66.5", "4.67.0", H, "screens"),
    ("packages", "ipython", "8.26.0", "8.27.0", H, "notebook-parts"),
    ("packages", "traitlets", "5.14.2", "5.14.3", H, "notebook-parts"),
    ("packages", "jedi", "0.19.0", "0.19.1", H, "editors"),
    ("packages", "pyinstrument", "4.6.2", "4.7.2", H, "profilers"),
    ("packages", "loguru", "0.7.1", "0.7.2", H, "logs"),
    ("packages", "hypothesis", "6.111.0", "6.112.0", H, "checkers"),
    ("packages", "jupyter-book", "0.15.1", "1.0.0", H, "documentation-tools"),
    ("packages", "certifi", "2024.8.30", "2025.1.31", H, "certificates"),
    ("packages", "pytz", "2024.1", "2025.2", M, "time-zones"),
    ("packages", "left-pad-of-somebody", "1.0", "2.0", U, ""),
    # Interpreters.
    ("interpreter", "version", "3.11.9", "3.12.4", A, "python-3.12-sum"),
    ("interpreter", "version", "3.10.14", "3.11.9", M, "python-feature-release"),
    ("interpreter", "version", "3.11.7", "3.11.9", M, "python-version"),
    ("interpreter", "version", "2.7.18", "3.6.15", A, "python-2-3"),
    ("interpreter", "platform", "linux-x86_64", "linux-aarch64", A, "python-platform"),
    (
        "interpreter",
        "soabi",
        "cpython-311-x86_64-linux-gnu",
        "cpython-311-x86_64-linux-musl",
        A,
        "python-libc",
    ),
    (
        "interpreter",
        "soabi",
        "cpython-310-x86_64-linux-gnu",
        "cpython-311-x86_64-linux-gnu",
        H,
        "python-soabi",
    ),
    ("interpreter", "free-threaded", "False", "True", M, "free-threading"),
    # Debian's and conda's packages.
    ("system", "libc6:amd64", "2.27-3ubuntu1.6", "2.31-13+deb11u11", A, "glibc-2.28-math"),
    ("system", "libc6:amd64", "2.36-9+deb12u9", "2.41-12", M, "libc"),
    ("system", "libc6:amd64", "2.36-9+deb12u9", "2.36-9+deb12u10", H, "libc-revision"),
    ("system", "libopenblas0-pthread:amd64", "0.3.21+ds-4", "0.3.29+ds-3", M, "system-numeric"),
    ("system", "libgomp1:amd64", "12.2.0-14", "14.2.0-19", M, "system-numeric"),
    ("system", "tzdata:all", "2025a-0+deb12u1", "2025b-0+deb12u1", M, "time-zones"),
    ("system", "ca-certificates:all", "20230311", "20250419", H, "certificates"),
    ("system", "libjpeg62-turbo:amd64", "1:2.1.5-2", "1:2.1.5-4", M, "image-libraries"),
    (
        "conda",
        "libblas",
        "3.9.0 25_linux64_mkl",
        "3.9.0 25_linux64_openblas",
        A,
        "conda-blas-vendor",
    ),
    ("conda", "libopenblas", "0.3.25 pthreads_0", "0.3.28 pthreads_1", M, "numeric-libraries"),
    ("conda", "numpy", "1.26.4 py311h64a7726_0", "2.0.2 py311h71ddf71_0", A, "numpy-2-promotion"),
    ("conda", "pytorch", "2.4.1 cpu_0", "2.5.1 cpu_0", A, "torch-minor"),
    ("conda", "cudnn", "8.9.7.29 h092f7fd_3", "9.10.1.4 h7646684_0", A, "cudnn-major"),
    ("conda", "cuda-version", "11.8 h70ddcb2_3", "12.6 h7480c83_3", A, "cuda-libraries-major"),
    # Machines: drivers and toolkits of the compatibility tables.
    ("accelerator", "driver.version", "550.54.14", "580.65.06", M, "nvidia-driver-major"),
    ("accelerator", "driver.version", "535.54.03", "535.104.05", M, "nvidia-driver"),
    ("accelerator", "driver.open", "no", "yes", H, "nvidia-driver-kind"),
    ("accelerator", "driver.state", "none", "ok", A, "gpu-there-or-not"),
    (
        "accelerator",
        "libraries cudart",
        "soname libcudart.so.12, version 12.6.77",
        "soname libcudart.so.13, version 13.0.96",
        M,
        "cuda-runtime",
    ),
    (
        "accelerator",
        "libraries cudnn",
        "soname libcudnn.so.8, version 8.9.2.26",
        "soname libcudnn.so.9, version 9.1.0.70",
        A,
        "cudnn-major",
    ),
    (
        "accelerator",
        "libraries cublas",
        "soname libcublas.so.12, version 12.4.5.8",
        "soname libcublas.so.13, version 13.0.0.19",
        A,
        "cuda-libraries-major",
    ),
    ("numerics", "switches.numpy.blas", "scipy-openblas 0.3.29", "mkl 2024.2", A, "blas-vendor"),
    (
        "numerics",
        "switches.numpy.blas",
        "scipy-openblas 0.3.29",
        "scipy-openblas 0.3.30",
        M,
        "other-switches",
    ),
    ("numerics", "variables.OPENBLAS_CORETYPE", "Haswell", "SkylakeX", A, None),
    ("numerics", "variables.OMP_NUM_THREADS", "1", "2", A, None),
    ("numerics", "variables.NVIDIA_TF32_OVERRIDE", "0", "1", A, None),
    ("numerics", "variables.MKL_CBWR", "AVX2", "COMPATIBLE", A, None),
    ("numerics", "hash-randomization", "no", "yes", M, "hash-randomization"),
    ("platform", "cpu.level", "x86-64-v3", "x86-64-v4", A, "cpu-level"),
    ("platform", "cpu.vendor", "GenuineIntel", "AuthenticAMD", A, "cpu-vendor"),
    ("platform", "limits.allowed", "2", "16", M, "processors"),
    ("platform", "libc", "glibc 2.27", "glibc 2.36", A, "glibc-2.28-math"),
    ("platform", "libc", "glibc 2.36", "musl 1.2.5", A, "libc-vendor"),
    ("platform", "kernel-release", "6.1.0-18-amd64", "6.12.5", H, "kernel"),
    ("platform", "locale.LANG", "C.UTF-8", "de_DE.UTF-8", M, "locale"),
    ("platform", "limits.memory", "8000000000", "16000000000", H, "memory"),
]
"""Layer, name, before, after, and the level that the sources of the rule give it."""


def changed(layer: Any, name: str, before: str, after: str, kind: Any = "changed") -> Change:
    return Change(layer=layer, kind=kind, name=name, before=before, after=after)


def of(*changes: Change) -> Difference:
    return Difference(before="a.lock", after="b.lock", changes=list(changes))


@pytest.mark.parametrize(("layer", "name", "before", "after", "level", "rule"), PAIRS)
def test_a_real_pair_is_judged_as_its_sources_say(
    layer: str, name: str, before: str, after: str, level: str, rule: str | None
) -> None:
    for one, two in ((before, after), (after, before)):
        judged = judge(of(changed(layer, name, one, two))).judged[0]
        assert (judged.level, judged.rule if rule is not None else None) == (level, rule)
        assert judged.reason
        assert judged.source or judged.level == "unknown"


@pytest.mark.parametrize(
    ("change", "level", "rule"),
    [
        (
            Change(layer="accelerator", kind="added", name="gpus NVIDIA H100", after="there"),
            A,
            "gpu",
        ),
        (
            Change(layer="packages", kind="proof", name="numpy", before="proved", after="packed"),
            H,
            "proof",
        ),
        (
            Change(
                layer="packages",
                kind="installer",
                name="installer of 12 packages",
                before="pip",
                after="uv",
            ),
            H,
            "installer",
        ),
        (
            Change(
                layer="packages", kind="content", name="requests", files=["site/requests/api.py"]
            ),
            M,
            "edited",
        ),
        (
            Change(
                layer="packages",
                kind="content",
                name="x",
                files=["site/x/a.pyi", "site/x/README.md"],
            ),
            H,
            "documentation-files",
        ),
        (Change(layer="packages", kind="content", name="x"), M, "edited"),
        # What a tool does as it was released says nothing of one that was edited.
        (Change(layer="packages", kind="content", name="ipython"), M, "edited"),
        (
            Change(layer="packages", kind="content", name="pip", files=["site/pip/a.py"]),
            M,
            "edited",
        ),
        (
            Change(layer="packages", kind="added", name="numexpr", after="2.14.2"),
            M,
            "optional-libraries",
        ),
        (Change(layer="packages", kind="added", name="somebodys", after="1"), U, ""),
        (
            Change(layer="system", kind="removed", name="libblas3:amd64", before="1"),
            M,
            "debian-blas-vendor",
        ),
        (Change(layer="packages", kind="unknown", name="x"), U, ""),
    ],
)
def test_what_is_no_pair_of_versions(change: Change, level: str, rule: str) -> None:
    judged = judge(of(change)).judged[0]
    assert (judged.level, judged.rule) == (level, rule)


def test_there_are_enough_real_pairs_of_each_level() -> None:
    assert len(PAIRS) >= 40
    assert {level for *_, level, _ in PAIRS} == set(LEVELS)


def test_each_rule_has_its_own_name_a_reason_and_a_source() -> None:
    rules = ours()
    assert len({rule.id for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.reason.strip(), rule
        assert rule.source.strip(), rule
        assert set(rule.layers) <= set(LAYERS)


def test_the_worst_comes_first_and_opens_the_verdict() -> None:
    found = judge(
        of(
            changed("packages", "pip", "24.0", "25.0"),
            changed("packages", "scipy", "1.13.1", "1.14.0"),
            changed("packages", "numpy", "1.26.4", "2.0.2"),
            changed("system", "x:all", "1", "2"),
        )
    )
    assert [one.change.name for one in found.judged] == ["numpy", "scipy", "x:all", "pip"]
    assert found.worst == "changes"
    assert found.verdict == (
        "Changes results: numpy 1.26.4 -> 2.0.2 (its rules of type promotion changed in 2.0: "
        "float32 with a Python float stays float32); 1 more may, 1 more are of unknown effect."
    )


def test_what_is_not_compared_comes_after_what_differs() -> None:
    unread = Change(layer="packages", kind="unknown", name="a")
    found = judge(of(unread, changed("packages", "zz", "1", "2")))
    assert [one.change.name for one in found.judged] == ["zz", "a"]
    assert found.worst == "unknown"
    assert judge(of(unread)).worst is None


def test_a_variable_explains_more_than_versions_do() -> None:
    found = judge(
        of(
            changed("packages", "numpy", "1.26.4", "2.0.2"),
            Change(
                layer="numerics", kind="added", name="variables.OPENBLAS_CORETYPE", after="Haswell"
            ),
        )
    )
    assert found.verdict.startswith(
        "Changes results: OPENBLAS_CORETYPE Haswell only on the right ("
    )


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ([], "Nothing differs."),
        (
            [changed("packages", "pip", "1", "2")],
            "Nothing that changes results: 1 difference that no result follows.",
        ),
        (
            [changed("packages", "zz", "1", "2")],
            "Nothing known to change results, but no rule knows: zz 1 -> 2.",
        ),
    ],
)
def test_a_verdict_claims_no_more_than_is_known(changes: list[Change], verdict: str) -> None:
    assert judge(of(*changes)).verdict == verdict


def test_a_users_rule_comes_before_ours() -> None:
    mine = parse(
        [
            {
                "id": "we-tested-it",
                "names": ["numpy"],
                "older": "==1.26.4",
                "newer": "==2.0.2",
                "level": "harmless",
                "reason": "our suite gives the same bits",
                "source": "run 1234",
            }
        ]
    )
    one, other = (
        judge(of(changed("packages", "numpy", before, "2.0.2")), mine).judged[0]
        for before in ("1.26.4", "1.26.3")
    )
    assert (one.level, one.rule) == ("harmless", "we-tested-it")
    assert one.reason == "our suite gives the same bits"
    assert other.rule == "numpy-2-promotion"


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": "dreadful"},
        {"levle": "harmless"},
        {"layers": ["kitchen"]},
        {"values": "("},
        {"older": "one"},
        {"reason": 3},
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"id": "x", "level": "harmless", "reason": "r", "source": "s"}
    assert parse([good])
    with pytest.raises(RulesError):
        parse([good | wrong])


words = st.none() | st.text(max_size=12) | st.sampled_from(["1.0", "2.0.1", "1:2-3", "glibc 2.3"])
changes = st.builds(
    Change,
    layer=st.sampled_from(LAYERS),
    kind=st.sampled_from(
        ["added", "removed", "changed", "content", "proof", "installer", "unknown"]
    ),
    name=st.text(max_size=12)
    | st.sampled_from(["numpy", "libc6:amd64", "variables.OMP_NUM_THREADS"]),
    before=words,
    after=words,
    files=st.lists(st.text(max_size=8), max_size=2),
)


@given(st.lists(changes, max_size=6))
def test_each_change_is_judged_once_and_either_way_round_alike(found: list[Change]) -> None:
    there = judge(of(*found))
    turned = [msgspec.structs.replace(c, before=c.after, after=c.before) for c in found]
    back = judge(of(*turned))
    assert sorted(map(repr, (one.change for one in there.judged))) == sorted(map(repr, found))
    levels = [LEVELS.index(one.level) for one in there.judged]
    assert levels == sorted(levels)
    assert [one.rule for one in there.judged] == [one.rule for one in back.judged]
    assert "\n" not in there.verdict
    assert judging.WORDS.keys() == set(LEVELS)
