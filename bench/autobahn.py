"""What Autobahn's test suite says of uvicorn's own WebSocket protocol and of ours; there must be no difference.

    .venv/bin/python -m bench.autobahn [--wstest PATH] [--cases 1.* 2.*]

Prints how many cases ended how, and where the servers differ; the exit code is 1 if they do. Takes about two minutes,
and gives up where a run takes five. `wstest` comes with `autobahntestsuite`, which runs on Python 2.7 alone:

    python3 -m venv old && old/bin/pip install 'virtualenv<20.22'
    old/bin/virtualenv --python python2.7 autobahn && autobahn/bin/pip install autobahntestsuite==25.10.1
    .venv/bin/python -m bench.autobahn --wstest autobahn/bin/wstest
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from share.direct_protocol import DirectProtocol

PATIENCE_SECONDS = 300
ROUNDS = 10
Found = dict[str, dict[str, set[str]]]
"""For each server and case, the ways in which it ended."""
# Ours twice: once it sends the texts as everybody does, once ready, as only it can.
SERVERS = {"uvicorn": "websockets-sansio", "ours": DirectProtocol, "ours, texts": DirectProtocol}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send(message | {"type": "websocket.send"})


async def echo_texts(scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes, texts as bytes."""

    async def send_ready(message: Any) -> None:
        text = message.get("text")
        await send(message if text is None else {"type": "websocket.send", "texts": [text.encode()]})

    await echo(scope, receive, send_ready)


class Server(uvicorn.Server):
    """Says on which port it listens."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


def serve(name: str) -> None:
    """Serve the echo by the server of this name, until a signal comes."""
    app = echo_texts if "texts" in name else echo
    options: dict[str, Any] = {"ws": SERVERS[name], "ws_per_message_deflate": False, "lifespan": "off"}
    Server(uvicorn.Config(app, port=0, log_config=None, **options)).run()


@contextmanager
def started(name: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, "-m", "bench.autobahn", "--serve", name]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}  # it logs what is invalid
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            yield f"ws://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def run(wstest: str, cases: Sequence[str]) -> Found:
    """Run these cases once."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = [{"agent": name, "url": stack.enter_context(started(name))} for name in SERVERS]
        spec = {"outdir": folder, "servers": servers, "cases": list(cases), "exclude-cases": []}
        path = Path(folder, "spec.json")
        path.write_text(json.dumps(spec))
        command = [wstest, "--mode", "fuzzingclient", "--spec", str(path)]
        subprocess.run(command, check=True, timeout=PATIENCE_SECONDS, stdout=subprocess.DEVNULL)
        reports = json.loads(Path(folder, "index.json").read_text())
    return {name: {case: {_outcome(report)} for case, report in reports[name].items()} for name in SERVERS}


def _outcome(report: dict[str, Any]) -> str:
    closed = f"{report['behaviorClose'].lower()} with {report['remoteCloseCode']}"
    return f"{report['behavior'].lower()}, closed {closed}"


def examine(wstest: str, cases: Sequence[str]) -> Found:
    """Run these cases, and again those that end otherwise: some end by chance, one way or the other, on any server."""
    found = run(wstest, cases)
    for _ in range(ROUNDS):
        if not (differing := differences(found)):
            break
        for name, again in run(wstest, differing).items():
            for case, outcomes in again.items():
                found[name][case] |= outcomes
    return found


def differences(found: Found) -> list[str]:
    """The cases that haven't ended in the same ways on all servers."""
    expected, *others = found.values()
    return [case for case, outcomes in expected.items() if any(cases.get(case) != outcomes for cases in others)]


def describe(found: Found) -> None:
    """Print how the cases ended on uvicorn's own, and which ended otherwise on ours."""
    cases = found["uvicorn"]
    print(f"{len(cases)} cases on {', '.join(found)}; on the first:")
    for outcome, count in Counter(" or ".join(sorted(outcomes)) for outcomes in cases.values()).most_common():
        print(f"{count:7} {outcome}")
    for case in differences(found):
        print(case, {name: sorted(cases[case]) for name, cases in found.items()})
    print(len(differences(found)), "differences")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Compare uvicorn's WebSocket protocol and ours by Autobahn's suite.")
    parser.add_argument("--wstest", default="wstest", help="the suite's program")
    parser.add_argument("--cases", nargs="+", default=["*"], help="such as 7.* 9.1.1")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    else:
        found = examine(options.wstest, options.cases)
        describe(found)
        sys.exit(1 if differences(found) else 0)


if __name__ == "__main__":
    main()
