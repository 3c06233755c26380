"""Whole Debian hosts with systemd on one machine (docs/testing.md)."""

from tests.real.debian.host import DebianHost
from tests.real.debian.image import base_image
from tests.real.debian.lan import DebianLan
from tests.real.debian.layout import DEBIAN, RPM, Layout

__all__ = ["DEBIAN", "RPM", "DebianHost", "DebianLan", "Layout", "base_image"]
