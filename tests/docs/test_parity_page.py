"""The page of facts and equations: each has a test, and the test is run."""

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def holds() -> ModuleType:
    """docs/_ext/holds.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "_ext")
        return importlib.import_module("holds")


@pytest.fixture(scope="module")
def equations(holds):
    return list(holds.equations(holds.Package(ROOT / "labml_sd")))


@pytest.fixture(scope="module")
def facts(holds):
    return [holds.FACT + name for name in holds.facts(ROOT / "docs" / "facts.toml")]


@pytest.fixture(scope="module")
def holding(holds):
    return [test for test in holds.tests(ROOT / "tests") if test.holds]


@pytest.fixture(scope="module")
def held(holding):
    return {name for test in holding for name in test.holds}


def test_every_displayed_equation_has_a_test(equations, held):
    assert len(equations) >= 50
    assert [each.marker for each in equations if each.marker not in held] == []


def test_every_fact_has_a_test(facts, held):
    assert len(facts) >= 12
    assert [name for name in facts if name not in held] == []


def test_every_marker_names_an_equation_or_a_fact(equations, facts, held):
    assert held - {each.marker for each in equations} - set(facts) == set()


def test_two_dollars_in_code_begin_no_equation(holds):
    text = "`{2$$a|b}` $$ x = y $$ and `$$`"
    assert holds.without_code(text) == " $$ x = y $$ and "


def test_every_double_dollar_of_the_package_belongs_to_an_equation(equations, holds):
    texts = [
        holds.without_code(path.read_text("utf-8"))
        for path in (ROOT / "labml_sd").rglob("*.py")
    ]
    assert sum(text.count("$$") for text in texts) == 2 * len(equations)


def test_no_test_with_a_marker_is_skipped_or_deselected(holding):
    options = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"][
        "ini_options"
    ]
    deselected = set(re.findall(r"not (\w+)", " ".join(options["addopts"])))
    assert {"gpu", "full_size"} <= deselected
    not_run = deselected | {"skip", "skipif", "xfail"}
    assert [test.name for test in holding if test.marks & not_run] == []


EXAMPLE = """
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.holds("fact: everywhere")]


def assert_near(a, b, tolerance=1e-6):
    assert abs(a - b) < tolerance


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.holds("pkg.f", "pkg.g")
def test_two_things(n):
    assert_near(n, n)


class TestOthers:
    pass


@pytest.mark.gpu
@pytest.mark.holds("fact: in a class")
class TestMore:
    def test_one(self):
        assert abs(0.1) < 1e-12
"""


@pytest.fixture
def example(holds, tmp_path):
    path = tmp_path / "test_example.py"
    path.write_text(EXAMPLE, encoding="utf-8")
    return list(holds.tests_of(path))


def test_the_markers_of_a_function_of_its_class_and_of_its_file_count(example):
    assert [(test.name, test.holds) for test in example] == [
        ("test_two_things", ("fact: everywhere", "pkg.f", "pkg.g")),
        ("TestMore.test_one", ("fact: everywhere", "fact: in a class")),
    ]
    assert [test.marks for test in example] == [
        {"slow", "holds", "parametrize"},
        {"slow", "holds", "gpu"},
    ]


def test_a_test_starts_at_its_first_decorator_and_has_a_name_in_words(example):
    assert [(test.line, test.sentence) for test in example] == [(11, "two things"), (24, "one")]


def test_a_tolerance_is_that_of_the_test_or_of_the_check_that_it_calls(example):
    assert [test.tolerances for test in example] == [("1e-6",), ("1e-12",)]


def test_a_file_that_can_skip_at_run_time_counts_as_skipped(holds, tmp_path):
    path = tmp_path / "test_example.py"
    path.write_text(
        f"{EXAMPLE}\ntorchsde = pytest.importorskip('torchsde')\n", encoding="utf-8"
    )
    assert all("skip" in test.marks for test in holds.tests_of(path))


def test_an_equation_belongs_to_the_innermost_definition(holds, tmp_path):
    (tmp_path / "pkg").mkdir()
    source = 'class A:\n    """$$ a $$"""\n'
    source += "    def f(self):\n        # $$ b\n        # + c $$\n        pass\n"
    (tmp_path / "pkg" / "__init__.py").write_text(
        f'"""It.\n\n$$ x $$\n"""\n{source}', encoding="utf-8"
    )
    found = [
        (each.marker, each.formula) for each in holds.equations(holds.Package(tmp_path / "pkg"))
    ]
    assert found == [("pkg", "x"), ("pkg.A", "a"), ("pkg.A.f", "b + c")]
