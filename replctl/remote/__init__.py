"""Ports to hosts and servers, and their adapters."""

import sys
from types import ModuleType
from typing import cast

# Paramiko imports invoke where it is there, for `Match exec` in configuration files, which are OpenSSH's to read here
# (`ssh -G`). That takes as long as all the rest of Paramiko. None stands for a module that is not there.
sys.modules.setdefault("invoke", cast("ModuleType", None))
