"""The words that flags need, without torch: what may be named, and what holds where nothing is named."""

from __future__ import annotations

DEFAULT_METRICS = ("deletion", "insertion", "pointing", "evidence_share", "evidence_pointing")
PER = ("neuron", "channel")
ARRAYS_FILE = "explanation.npz"  # the arrays of one explanation, in its folder
PARTS = ("class", "box", "class_box", "mask")
SCORES = ("prob", "logit")
DETECTION_THRESHOLD, CLASS_THRESHOLD = 0.4, 0.05  # least scores that are shown unless the user says otherwise
