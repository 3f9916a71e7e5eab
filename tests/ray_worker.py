"""The program of a Ray worker in the process that runs this file, where Ray's setup_worker.py starts an interpreter a
second time: with the words and the variables that Ray gives it.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys

from ray._private.workers import default_worker

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--serialized-runtime-env-context", default="{}")
    parser.add_argument("--language")
    known, sys.argv[1:] = parser.parse_known_args(sys.argv[1:])
    os.environ.update(json.loads(known.serialized_runtime_env_context).get("env_vars") or {})
    runpy.run_path(default_worker.__file__, run_name="__main__")
