"""The live page: one server, one process that runs the network, one run's folder. `igos/cli/serve.py` starts it."""
