"""Before the long download: is this Python new enough, is there space, does the index answer?

Run by `make install` with the Python that is to hold the environment, so it must start, and say
so, on an old one too. Prints one clear line and exits with 1 where something is missing.
"""

import os
import shutil
import subprocess
import sys
import tempfile

NEEDED_GIB = {"linux": 8.0}  # the CUDA build of torch and what comes with it, unpacked and packed
OTHERWISE_GIB = 3.0


def refuse(message):
    """Ends the installation before it starts."""
    print("error: " + message, file=sys.stderr)
    sys.exit(1)


def main():
    """Checks what can be checked in seconds."""
    if sys.version_info < (3, 11):
        refuse(
            "Python %d.%d at %s is too old: 3.11 or newer is needed; "
            "give make PYTHON=python3.12, say"
            % (sys.version_info[0], sys.version_info[1], sys.executable)
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        refuse("Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv")
    needed = NEEDED_GIB.get(sys.platform, OTHERWISE_GIB)
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    if free < needed:
        refuse("%.1f GiB are free here, %.0f GiB are needed" % (free, needed))
    with tempfile.TemporaryDirectory() as folder:
        small = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        options = ["--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
        answer = subprocess.run(small + options + ["omegaconf"], stderr=subprocess.PIPE)
    if answer.returncode:
        refuse(
            "pip cannot reach its package index (behind a proxy, set HTTPS_PROXY; for a mirror, "
            "PIP_INDEX_URL):\n" + answer.stderr.decode(errors="replace").strip()[-400:]
        )
    print("installing into .venv: on Linux about 3 GB to download, 6 GB on disk; a few minutes")


main()
