"""No code chooses by comparing a task with one member of `Task`: an unknown task would fall into the other branch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from distill.tasks import Task

PACKAGE = Path(__file__).resolve().parents[1] / "distill"
PER_TASK_FOLDERS = ("students/tasks", "teachers/tasks", "metrics")
"""Folders with one module per task; each may compare with its own task."""
ALLOWED = {"tasks.py"}
NAMES = {str(task) for task in Task}


def switches(source: str) -> Iterator[tuple[int, str]]:
    """(line, code) of every comparison of a value with a `Task` member, a tuple of members or a task's name."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Compare)
            and not _is_property(node.left)
            and any(_is_choice(operator, operand) for operator, operand in zip(node.ops, node.comparators, strict=True))
        ):
            yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.match_case) and any(_is_member(part) for part in ast.walk(node.pattern)):
            yield node.pattern.lineno, ast.unparse(node.pattern)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "isinstance"
            and ast.unparse(node.args[1]).endswith(("Head", "Scorer", "TeacherTask"))
        ):
            yield node.lineno, ast.unparse(node)


def _is_choice(operator: ast.cmpop, operand: ast.expr) -> bool:
    if isinstance(operator, ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
        return _is_member(operand) or (isinstance(operand, ast.Constant) and operand.value in NAMES)
    if isinstance(operator, ast.In | ast.NotIn) and isinstance(operand, ast.Tuple | ast.List | ast.Set):
        return any(_is_member(element) for element in operand.elts)
    return False


def _is_property(node: ast.expr) -> bool:
    """Properties whose values happen to be names of tasks."""
    return isinstance(node, ast.Attribute) and node.attr in ("class_list", "storage", "drawing", "_space")


def _is_member(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Task"


def found_in_package() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE).as_posix()
        own = relative.startswith(PER_TASK_FOLDERS) and path.stem in NAMES
        if not own and relative not in ALLOWED:
            found += [f"{relative}:{line}: {code}" for line, code in switches(path.read_text())]
    return found


def test_no_code_chooses_by_comparing_tasks() -> None:
    assert found_in_package() == []


def test_the_walk_finds_each_kind_of_switch() -> None:
    source = """
if task is Task.DEPTH: pass
x = 1 if label.task == Task.NORMALS else 2
y = task in (Task.SEMANTIC, Task.REFERRING)
z = name == "instance"
match task:
    case Task.DEPTH: pass
isinstance(head, DepthHead)
fine = Task.DEPTH in outputs
"""
    assert len(list(switches(source))) == 6
