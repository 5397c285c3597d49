"""Before the long download: is this Python new enough, is there space, does the index answer?

    python3 scripts/check_install.py               # with the Python that is to hold .venv
    .venv/bin/python scripts/check_install.py --network

Run by `make install`. It must start on an old Python too, and say that it is old. Prints one clear
line and exits with 1 where something is missing.
"""

import shutil
import subprocess
import sys
import tempfile

NEEDED_GIB = 8.0 if sys.platform == "linux" else 3.0  # Linux gets torch with CUDA


def refuse(message):
    """Ends the installation before it starts."""
    print("error: " + message, file=sys.stderr)
    sys.exit(1)


def check_machine():
    """Python, its venv module, and the disk."""
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
    free = shutil.disk_usage(".").free / 2**30
    if free < NEEDED_GIB:
        refuse("%.1f GiB are free here, %.0f GiB are needed" % (free, NEEDED_GIB))


def check_network():
    """Whether pip reaches its package index: fetches one small package."""
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        options = ["--disable-pip-version-check", "--retries", "1", "--timeout", "15", "omegaconf"]
        answer = subprocess.run(download + options, stderr=subprocess.PIPE)
    if answer.returncode:
        refuse(
            "pip cannot reach its package index (behind a proxy, set HTTPS_PROXY; for a mirror, "
            "PIP_INDEX_URL):\n" + answer.stderr.decode(errors="replace").strip()[-400:]
        )
    size = "about 3 GB to download, 6 GB on disk" if sys.platform == "linux" else "about 1 GB"
    print("installing into .venv: %s; a few minutes" % size)


if "--network" in sys.argv:
    check_network()
else:
    check_machine()
