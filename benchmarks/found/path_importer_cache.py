"""Show, without the plugin, that importlib keeps a finder for every folder that was ever on sys.path."""

import gc
import importlib.util
import sys
import tempfile

for total in (100, 200, 300):
    for _ in range(100):
        with tempfile.TemporaryDirectory() as folder:
            sys.path.insert(0, folder)
            importlib.util.find_spec("no_module_of_this_name")
            sys.path.remove(folder)
    importlib.invalidate_caches()
    gc.collect()
    kept = len(sys.path_importer_cache)
    print(f"Python {sys.version.split()[0]}: {sys.getallocatedblocks()} blocks, {kept} finders after {total}")
