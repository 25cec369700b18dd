"""Mesh files: each module reads or writes one family of formats, in NumPy arrays."""
