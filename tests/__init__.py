"""The tests. No process that imports them waits for the disk: their files need not outlive the machine."""

import os

os.fsync = lambda fd: None
