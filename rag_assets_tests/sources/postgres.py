"""A PostgreSQL server for tests, where its programs are installed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, None where there is none."""
    folders = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        Path(shutil.which("initdb") or "x").parent,
    ]
    return next((folder for folder in sorted(folders) if (folder / "initdb").exists()), None)


def available() -> bool:
    """Whether a server can be started: it refuses to run as root, so root needs its user."""
    may_run = os.getuid() != 0 or _has_user("postgres")
    return programs() is not None and may_run and find_spec("pg8000") is not None


@contextmanager
def serving(folder: Path, options: str = "") -> Iterator[str]:
    """A fresh server that listens on a socket in `folder` only; the SQLAlchemy address of it.

    options: further settings, as `-c name=value`.
    """
    found = programs()
    assert found is not None
    folder.mkdir(mode=0o755, exist_ok=True)
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        for outer in folder.parents:
            if outer.stat().st_uid == 0 and outer.stat().st_mode & 0o7777 == 0o700:
                outer.chmod(0o711)
    data = folder / "data"
    _run(found / "initdb", "-D", data, "-U", "app", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -k {folder} -c fsync=off {options}"
    _run(found / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start")
    try:
        yield f"postgresql+pg8000://app@/postgres?unix_sock={folder}/.s.PGSQL.5432"
    finally:
        _stop(data)


def _run(program: Path, *arguments: object) -> None:
    command = [str(program), *map(str, arguments)]
    if os.getuid() == 0:
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


def _stop(data: Path) -> None:
    """End the server at once. Not by pg_ctl: another run of tests may have closed the folders above
    to the account that it would run as."""
    told = data / "postmaster.pid"
    with suppress(ProcessLookupError):
        os.kill(int(told.read_text().split()[0]), signal.SIGQUIT)
    for _ in range(500):
        if not told.exists():
            return
        time.sleep(0.02)


def _has_user(name: str) -> bool:
    import pwd

    return any(user.pw_name == name for user in pwd.getpwall()) and bool(shutil.which("setpriv"))
