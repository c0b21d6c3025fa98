"""Every class that reads the environment, found in the sources and not in a list."""

import ast
from importlib import import_module

from pydantic_settings import BaseSettings

from deploy.local.settings import PROJECT
from tests.architecture.sources import python_files


def settings_found() -> list[type[BaseSettings]]:
    """The subclasses of BaseSettings in services, shared and deploy."""
    found: dict[str, type[BaseSettings]] = {}
    for root in ("services", "shared", "deploy"):
        for path, tree in python_files(root):
            named = [
                node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.bases and node.name.endswith("Settings")
            ]
            if named:
                module = import_module(".".join((PROJECT / path).relative_to(PROJECT).with_suffix("").parts))
                classes = [getattr(module, name) for name in named]
                found |= {f"{module.__name__}.{one.__name__}": one for one in classes if issubclass(one, BaseSettings)}
    return list(found.values())
