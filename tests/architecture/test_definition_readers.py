"""Services read definitions by one function."""

import ast

from tests.architecture.sources import python_files


def test_services_read_definitions_by_the_one_function() -> None:
    """A reader of its own would be one whose refusals `check` does not know."""
    allowed = {
        "read_texts",
        "Definitions",
        "Defined",
        "DefinitionError",
        "Problem",
        "plain_mapping",
        "canonical",
        "Part",
        "wrong",
        "MAX_PATH",
    }
    readers = {"shared.definitions.files", "shared.definitions.folder", "shared.definitions.yaml_text", "shared.definitions.models"}
    found = [
        f"{path.name}: {name.name}"
        for path, tree in python_files("services")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in readers and path.name != "endpoints.py"  # a file of settings
        for name in node.names
        if name.name not in allowed
    ]
    assert found == []
