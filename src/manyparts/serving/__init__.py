"""Agents behind a socket: a server that robots and benchmarks of other projects can talk to."""
