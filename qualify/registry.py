"""Finds plug-ins: a folder is scanned, each module in it defines one of a kind."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any


class PluginError(Exception):
    """A module in a plug-in folder breaks the folder's rule."""


def load(package: ModuleType, attribute: str) -> dict[str, Any]:
    """Return {plug-in name: plug-in} for the modules directly in `package`, in the order of their names.

    Raises:
        PluginError: a module lacks `attribute`, or two plug-ins share a name.
    """
    found: dict[str, Any] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__, f"{package.__name__}."), key=lambda m: m.name):
        plugin = getattr(importlib.import_module(module.name), attribute, None)
        if plugin is None or plugin.name in found:
            raise PluginError(f"{module.name} must define one {attribute} with a name of its own")
        found[plugin.name] = plugin
    return found
