"""The real nginx, with docs/deploy/nginx.conf: addresses, paths and, where a test can't wait, times are replaced."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.server import CHECKOUT, PATIENCE_SECONDS
from tests.tools import check, require

CONFIGURATION = CHECKOUT / "docs" / "deploy" / "nginx.conf"


class Balancer:
    """An nginx in front of servers: where it is, and what it has written down."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, interaction_id: str, query: str = "") -> str:
        return f"ws://127.0.0.1:{self.port}/ws/share/{interaction_id}{query}"

    @property
    def access_log(self) -> str:
        return (self.folder / "access.log").read_text("utf-8")

    @property
    def error_log(self) -> str:
        return (self.folder / "error.log").read_text("utf-8")

    def wait_for_log(self, text: str, times: int = 1) -> str:
        """The access log, when `text` stands in it so many times."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.access_log.count(text) < times:
            assert time.monotonic() < deadline, f"not {times} times in the log: {text!r}\n{self.access_log}"
            time.sleep(0.02)
        return self.access_log


def write_configuration(
    folder: Path, port: int, upstreams: tuple[int, int], replaced: Mapping[str, str] | None = None
) -> Path:
    """The configuration, with this test's ports and folder in it, and what else is `replaced`."""
    changes = {
        **(replaced or {}),
        "server app1:8090": f"server 127.0.0.1:{upstreams[0]}",
        "server app2:8090": f"server 127.0.0.1:{upstreams[1]}",
        "listen 80 default_server;": f"listen 127.0.0.1:{port} default_server;",
        "error_log /var/log/nginx/error.log": f"error_log {folder}/error.log",
        "access_log /var/log/nginx/access.log": f"access_log {folder}/access.log",
    }
    text = CONFIGURATION.read_text("utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, f"once in {CONFIGURATION}: {old!r}"
        text = text.replace(old, new)
    # Folders of the system's nginx, in which only an administrator may write.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    text = text.replace("http {", "http {" + "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds), 1)
    path = folder / "nginx.conf"
    path.write_text(text)
    return path


def use_tls(folder: Path, port: int) -> dict[str, str]:
    """The configuration's example for TLS, with a certificate that nobody vouches for."""
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    about = ["-subj", "/CN=replays.example.org", "-days", "1", "-nodes", "-newkey", "rsa:2048"]
    check(require("openssl", "openssl"), "req", "-x509", *about, "-keyout", key, "-out", certificate)
    return {
        "# listen 443 ssl default_server;": f"listen 127.0.0.1:{port} ssl;",
        "# ssl_certificate /etc/nginx/tls/fullchain.pem;": f"ssl_certificate {certificate};",
        "# ssl_certificate_key /etc/nginx/tls/privkey.pem;": f"ssl_certificate_key {key};",
    }


def nginx_command(path: Path) -> list[str]:
    user = "user root; " if os.geteuid() == 0 else ""  # else the workers may not enter a test's folder
    options = f"{user}daemon off; pid {path.parent}/nginx.pid;"
    return [require("nginx", "nginx-light"), "-c", str(path), "-e", f"{path.parent}/error.log", "-g", options]


@contextlib.contextmanager
def start_balancer(
    folder: Path, upstreams: tuple[int, int], replaced: Mapping[str, str] | None = None
) -> Iterator[Balancer]:
    """An nginx on a free port in front of servers on these ports, with its logs in a folder inside `folder`."""
    port = free_port()
    own = folder / f"nginx-{port}"
    own.mkdir()
    command = nginx_command(write_configuration(own, port, upstreams, replaced))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        _wait_until_listening(process, port)
        yield Balancer(own, port)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"nginx has ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("nginx doesn't listen")
