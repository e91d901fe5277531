#!/bin/sh
# Install the wheels that requirements.txt names, each by URL and sha256, and nothing else.
#
# Runs in an image build, once, with `python` as the environment's own interpreter. pip comes from
# pip/ beside this script, else from the wheel that the interpreter itself brings.
set -eu
cd "$(dirname "$0")"

# No index, no configuration of the base, no bytecode, no cache. Each file is named and hashed.
export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_BREAK_SYSTEM_PACKAGES=1
export PYTHONDONTWRITEBYTECODE=1

for pip in pip/*.whl; do break; done
if [ ! -e "$pip" ]; then
    pip=$(python -c '
import ensurepip, glob, os
print(glob.glob(os.path.join(os.path.dirname(ensurepip.__file__), "_bundled", "pip-*.whl"))[0])')
fi
# PYTHONPATH, so that this pip installs into the environment, whether or not that has one.
PYTHONPATH=$pip python -m pip install --no-deps --require-hashes --ignore-installed \
    --no-compile --no-cache-dir --only-binary :all: --no-warn-script-location --requirement requirements.txt
