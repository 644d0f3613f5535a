"""Replay Share: shares recorded runs of AI agents and replays them, in time, to whoever has the link."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .access import AccessPolicy, XAgentWebSocketConnectError
    from .application import create_app
    from .client import ReplayClient, ReplayError
    from .endpoint import ReplayServer
    from .recorder import Recorder
    from .routing import create_tables, routes
    from .settings import SettingsError, XAgentServerEnv

_MODULES = {
    "AccessPolicy": "access",
    "Recorder": "recorder",
    "ReplayClient": "client",
    "ReplayError": "client",
    "ReplayServer": "endpoint",
    "SettingsError": "settings",
    "XAgentServerEnv": "settings",
    "XAgentWebSocketConnectError": "access",
    "create_app": "application",
    "create_tables": "routing",
    "routes": "routing",
}

__all__ = [
    "AccessPolicy",
    "Recorder",
    "ReplayClient",
    "ReplayError",
    "ReplayServer",
    "SettingsError",
    "XAgentServerEnv",
    "XAgentWebSocketConnectError",
    "create_app",
    "create_tables",
    "routes",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: a program that only watches needs the client, and the client only `websockets`.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value
