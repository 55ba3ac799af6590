"""Kernel modules as bytes: ELF, exports, symbol CRCs, the load verdict."""
