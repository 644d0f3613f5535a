from __future__ import annotations

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import share

ROOT = Path(__file__).parent.parent

# What a module may import of ours; a name without a dot is one of the same package. As docs/architecture.md has it.
ALLOWED = {
    "storage": "database errors",
    "storage.models": "",
    "storage.errors": "",
    "storage.database": "errors",
    "storage.locks": "errors",
    "storage.gateway": "database errors locks",
    "storage.patience": "database errors gateway",
    "storage.notifications": "database gateway",
    "storage.workspace": "models",
    "storage.archive": "",
    "storage.schema": "",
    "storage.indexes": "",
    "storage.migrations": "database errors gateway indexes schema",
    "storage.shares": "gateway models schema",
    "storage.links": "errors gateway models schema shares",
    "storage.statement": "",
    "storage.cards": "models schema",
    "storage.search": "cards models schema",
    "storage.gallery": "cards gateway models schema search shares",
    "storage.rows": "models",
    "storage.kept_files": "",
    "storage.interactions": "gateway models schema shares statement",
    "storage.users": "errors gateway models schema",
    "storage.recordings": "database errors gateway interactions models notifications rows schema shares",
    "share.settings": "",
    "share.store": "settings storage.database storage.errors storage.gateway storage.migrations storage.patience",
    "share.clock": "",
    "share.content": "",
    "share.logs": "",
    "share.timeline": "",
    "share.metrics": "settings storage.gateway",
    "share.scrape": "metrics settings",
    "share.visit": "clock metrics",
    "share.within": "",
    "share.channel": "within",
    "share.rows": "",
    "share.frames": "",
    "share.watched": "frames storage.models",
    "share.client": "",
    "share.json_text": "",
    "share.wire": "storage.models",
    "share.wire_v1": "storage.models content json_text rows timeline wire",
    "share.swe_agent": "",
    "share.json_split": "",
    "share.json_exact": "",
    "share.recording_json": "json_exact json_text storage.kept_files storage.models storage.rows",
    "share.recording_rows": "json_exact json_split recording_json storage.rows",
    "share.recording_parts": "json_exact json_split recording_json recording_rows storage.models storage.rows",
    "share.formats": "json_exact recording_json recording_parts recording_rows storage.models swe_agent",
    "share.importing": "storage.archive storage.models storage.recordings storage.workspace",
    "share.recorder": "storage.gateway storage.interactions storage.models storage.recordings storage.workspace wire",
    "share.json_lines": "recorder wire",
    "share.access": "settings storage.gateway storage.interactions storage.links storage.models storage.users"
    " storage.workspace",
    "share.revocation": "storage.interactions storage.links access",
    "share.recording": "storage.models storage.workspace content logs wire",
    "share.classic_feed": "frames recording rows storage.interactions storage.models storage.workspace watched",
    "share.playback": "classic_feed clock rows visit",
    "share.outline": "storage.interactions storage.models timeline",
    "share.feed": "frames outline rows storage.interactions storage.models storage.notifications watched wire wire_v1",
    "share.feeds": "feed frames rows storage.interactions storage.models storage.notifications watched",
    "share.steering": "feed timeline wire_v1",
    "share.replay": "clock feed steering timeline visit wire_v1",
    "share.endpoint": "access channel classic_feed clock feeds logs metrics playback revocation rows settings"
    " storage.errors storage.interactions storage.links storage.models storage.workspace visit wire",
    "share.endpoint_v1": "access channel endpoint feed replay wire wire_v1",
    "share.body": "",
    "share.problems": "",
    "share.media": "wire",
    "share.openapi": "",
    "share.uploads": "storage.archive storage.kept_files storage.links storage.models storage.rows json_split"
    " recording_json recording_parts recording_rows settings",
    "share.services": "access settings storage.gallery storage.gateway storage.interactions storage.links"
    " storage.models storage.recordings storage.shares storage.users storage.workspace uploads",
    "share.export": "storage.interactions storage.models storage.workspace access json_exact json_text recording_json"
    " services wire",
    "share.api": "access body media problems services storage.archive storage.errors storage.models storage.workspace"
    " uploads",
    "share.api_content": "storage.workspace access api export feeds media problems services wire_v1",
    "share.api_outline": "api feeds services wire_v1",
    "share.api_links": "storage.models api media problems services",
    "share.api_recordings": "storage.cards storage.interactions storage.models storage.search api api_links"
    " body importing media problems services timeline uploads wire",
    "share.xagent_form": "storage.models storage.users storage.workspace media services",
    "share.xagent_files": "storage.workspace media wire xagent_form",
    "share.xagent": "body importing services storage.archive storage.cards storage.errors storage.models"
    " storage.users uploads wire xagent_files xagent_form",
    "share.static_files": "",
    "share.page": "media static_files",
    "share.summary": "storage.cards storage.interactions storage.models timeline",
    "share.card_picture": "summary",
    "share.glance": "storage.links access services summary",
    "share.pages": "access card_picture glance media openapi page services storage.errors summary",
    "share.embedding": "access card_picture feeds glance media problems services storage.errors summary",
    "share.routing": "access api api_content api_links api_outline api_recordings classic_feed clock embedding endpoint"
    " endpoint_v1 feeds frames metrics pages revocation scrape services settings static_files"
    " storage.gateway storage.interactions storage.migrations storage.notifications storage.patience wire_v1 xagent",
    "share.application": "clock logs metrics page routing settings storage.errors storage.gateway"
    " storage.interactions storage.users store",
    "share.direct_protocol": "channel",
    "share.memory": "",
    "share.serving": "application direct_protocol logs memory settings wire",
    "share.render": "logs",
    "share.watch": "client logs render",
    "share.cli_store": "formats importing logs recording_json settings storage.errors storage.gateway"
    " storage.interactions storage.models storage.recordings storage.shares storage.workspace store",
    "share.cli_live": "access cli_store json_lines recorder serving settings storage.recordings storage.workspace"
    " store watch",
    "share.cli_users": "cli_store logs settings storage.users store",
    "share.cli_db": "cli_store settings storage.migrations store",
    "share.bundle": "",
    "share.html_export": "storage.interactions storage.models storage.workspace bundle feed feeds frames media"
    " static_files summary wire_v1",
    "share.cli_export": "cli_store html_export logs settings storage.interactions storage.workspace store",
    "share.cli": "cli_db cli_export cli_live cli_store cli_users settings",
    "share": "access application client endpoint recorder routing settings",
    "share.__main__": "cli",
    "app": "share share.logs",
}

SPEAK_JSON = {"wire", "wire_v1", "json_text", "json_exact", "formats", "recording_parts", "swe_agent", "render"}
SPEAK_JSON |= {"logs", "watch", "client", "api", "xagent_files", "storage.cards", "storage.search"}
PURE = ("share.wire", "share.wire_v1", "share.json_text", "share.content", "share.timeline", "share.render")
PURE += ("share.formats", "share.swe_agent", "share.json_split", "share.recording_json", "share.recording_parts")
PURE += (
    "share.rows",
    "share.json_exact",
    "share.recording_rows",
    "share.bundle",
    "share.summary",
    "share.card_picture",
)
PURE += ("storage.models",)
NOT_PURE = {"asyncio", "time", "threading", "concurrent", "starlette", "databases", "sqlalchemy", "sqlite3", "socket"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in [*ROOT.glob("storage/**/*.py"), *ROOT.glob("share/**/*.py"), ROOT / "app.py"]}


def imports(module: str) -> set[str]:
    """Every module that is imported anywhere in `module`, also where only a name of it is."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inside = {f"{base}.{alias.name}" for alias in node.names} & FILES.keys()
            found |= inside or {base}
    return found


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name.split(".")[0] in ("storage", "share", "app")}


def allowed(module: str) -> set[str]:
    package = module.split(".")[0]
    return {
        name if "." in name or (name in FILES and name != package) else f"{package}.{name}"
        for name in ALLOWED[module].split()
    }


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    assert module in ALLOWED, "a new module: say above, and in docs/architecture.md, what it may import"
    assert ours(module) <= allowed(module)


def test_what_may_be_imported_has_no_circles() -> None:
    order = list(TopologicalSorter({module: allowed(module) for module in ALLOWED}).static_order())
    assert order.index("storage.models") < order.index("share.wire") < order.index("app")


def test_what_is_imported_has_no_circles() -> None:
    assert list(TopologicalSorter({module: ours(module) for module in FILES}).static_order())


def test_the_table_has_no_module_that_is_gone() -> None:
    assert set(ALLOWED) == set(FILES)


@pytest.mark.parametrize("module", sorted(name for name in FILES if name.startswith("storage")))
def test_storage_knows_only_databases(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(module)}
    assert roots <= {"storage", "databases", "sqlalchemy", *sys.stdlib_module_names}


@pytest.mark.parametrize("module", sorted(name for name in FILES if name.startswith("share")))
def test_queries_are_written_in_storage(module: str) -> None:
    assert "sqlalchemy" not in {name.split(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", sorted(FILES))
def test_json_is_spoken_where_it_belongs(module: str) -> None:
    if module.removeprefix("share.") not in SPEAK_JSON:
        assert not {"json", "orjson", "simplejson", "ujson"} & imports(module)


@pytest.mark.parametrize("module", PURE)
def test_what_is_pure_knows_no_clock_no_loop_and_no_database(module: str) -> None:
    assert not NOT_PURE & {name.split(".")[0] for name in imports(module)}


def test_the_environment_is_read_in_the_settings_only() -> None:
    reading = re.compile(r"\b(?:environb?|getenv)\b")
    assert {name for name, path in FILES.items() if reading.search(path.read_text("utf-8"))} == {"share.settings"}


def test_nothing_is_imported_behind_the_tests_back() -> None:
    for module, path in FILES.items():
        assert "__import__" not in path.read_text(encoding="utf-8"), module
        assert "importlib" not in imports(module) or module == "share", module


def test_what_share_offers_is_there_and_is_what_its_imports_for_the_type_checker_say() -> None:
    assert set(share.__all__) == share._MODULES.keys()
    assert {f"share.{module}" for module in share._MODULES.values()} == ours("share")
    assert all(getattr(share, name).__module__.startswith("share.") for name in share.__all__)
