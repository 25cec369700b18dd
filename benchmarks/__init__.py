"""Benchmarks: `python -m benchmarks [TASK ...]` times jaxrender and its peers on the same scenes.

A task is a module with `contests(quick, peers)`, which yields a `Contest` for each thing to time;
`harness` runs one, `__main__` prints the table and writes the file.
"""
