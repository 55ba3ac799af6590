"""hostward: a host configuration agent for KVM hosts."""

__version__ = "0.1.0"
