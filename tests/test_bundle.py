from __future__ import annotations

import re

import pytest

from share.bundle import BundleError, bundle
from share.static_files import FOLDER, modules


def bundled(**texts: str) -> str:
    return bundle("main.js", lambda path: texts[path.removesuffix(".js").replace("/", "_")])


def test_what_is_imported_comes_before_what_imports_it_and_once() -> None:
    script = bundled(
        main='import { a, b as c } from "./one.js";\nimport d from "./lib/two.js";\nrun(a, c, d);',
        one='import d from "./lib/two.js";\nexport function a() {}\nexport const b = 1;',
        lib_two="const hidden = 7;\nexport { hidden as default };",
    )

    assert re.findall(r"^const (module_\w+) =", script, re.MULTILINE) == [
        "module_lib_two_js",
        "module_one_js",
        "module_main_js",
    ]
    assert "const { a, b: c } = module_one_js;" in script
    assert script.count("const { default: d } = module_lib_two_js;") == 2
    assert "return { a: a, b: b };" in script
    assert "return { default: hidden };" in script


@pytest.mark.parametrize(
    "line",
    ["export default 1;", 'import "./x.js";', 'import * as x from "./x.js";', 'export * from "./x.js";'],
)
def test_a_form_that_is_not_known_is_an_error_that_names_it(line: str) -> None:
    with pytest.raises(BundleError, match=re.escape(line)):
        bundled(main=line, x="")


def test_modules_in_a_circle_are_an_error() -> None:
    with pytest.raises(BundleError, match=r"main.js: imports itself by way of other.js"):
        bundled(main='import { a } from "./other.js";', other='import { b } from "./main.js";\nexport const a = 1;')


def test_nothing_in_it_ends_the_element_in_which_it_stands() -> None:
    script = bundled(main='const a = "</script><SCRIPT><!--";')

    assert r'"\x3c/script>\x3cSCRIPT>\x3c!--"' in script


def test_the_player_is_bundled_whole() -> None:
    script = bundle("player.js", lambda path: (FOLDER / path).read_text("utf-8"))

    for path in ("player.js", *modules("player.js")):
        assert f"const module_{re.sub('[^A-Za-z0-9_]', '_', path)} =" in script
    assert not re.search("<(!--|/?script)", script, re.IGNORECASE)
