"""Show, without the plugin, that pluggy keeps every call of a historic hook (seen in pluggy 1.7.0).

``pytest_plugin_registered`` is one: a fixture that takes a plugin out and registers it again adds a call.
"""

import gc
import sys
from importlib.metadata import version

import pluggy


class Specifications:
    @pluggy.HookspecMarker("found")(historic=True)
    def plugin_registered(self, plugin: object) -> None:
        """Tell of a plugin, also those that come later."""


manager = pluggy.PluginManager("found")
manager.add_hookspecs(Specifications)
for total in (100, 200, 300):
    for _ in range(100):
        plugin = object()
        manager.register(plugin)
        manager.hook.plugin_registered.call_historic(kwargs={"plugin": plugin})
        manager.unregister(plugin)
    gc.collect()
    print(f"pluggy {version('pluggy')}: {sys.getallocatedblocks()} blocks after {total} registrations")
