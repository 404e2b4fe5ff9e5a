"""Has firewalld load what it has below a folder, as its daemon does when it starts, without the daemon and its bus.

firewalld.py UNPACKED FOLDER: UNPACKED is what its packages hold.
"""

import os
import sys

unpacked, folder = sys.argv[1:]
sys.path.insert(0, os.path.join(unpacked, "usr/lib/python3/dist-packages"))

from firewall import config  # noqa: E402

config.set_system_config_paths(folder)
config.set_default_config_paths(os.path.join(unpacked, "usr/lib/firewalld"))

from firewall.core.fw import Firewall  # noqa: E402

# Files that are wrong make it fall back to its own, and then raise what was wrong.
Firewall().start()
