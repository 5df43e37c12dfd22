"""The command that opens the dashboard, as a user types it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_dashboard_answers_on_this_machine(tmp_path: Path):
    port = _free_port()
    code = "from crpnet_bench.cli import main; main()"
    command = [sys.executable, "-c", code, "dashboard", "--port", str(port), "--home", "here"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        answer = b""
        while not answer and time.monotonic() < deadline:
            try:
                address = f"http://127.0.0.1:{port}/_stcore/health"
                with urllib.request.urlopen(address, timeout=2) as page:  # noqa: S310 our server
                    answer = page.read()
            except OSError:
                time.sleep(0.2)
        assert answer == b"ok"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        told = process.communicate(timeout=30)[1].decode()
    assert f"http://127.0.0.1:{port}" in told
    assert str(tmp_path / "here") in told
