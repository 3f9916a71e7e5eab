"""The words that flags need, without torch: what may be named, and what holds where nothing is named."""

from __future__ import annotations

VERSION = "0.2.0.dev0"

DEFAULT_METRICS = ("deletion", "insertion", "pointing")
EVIDENCE_METRICS = ("evidence_share", "evidence_pointing")  # by default too, where the annotations tell of evidence
ASK_METRICS = {"why-not": ("raised",), "versus": ("flips", "pointing"), "versus-row": ("pointing",)}
PER = ("neuron", "channel")
ARRAYS_FILE = "explanation.npz"  # the arrays of one explanation, in its folder
FACTS_FILE = "facts.jsonl"  # what `igos diagnose` saw, a line per picture
EDGES = ("left", "top", "right", "bottom")
BOXES = ("class", "box", "class_box", *EDGES)  # the parts of what has a class and a box
PARTS = (*BOXES, "mask")
EVERY_EDGE = "edges"  # each of EDGES, one after another
PRECISIONS = ("float32", "bfloat16")
SCORES = ("prob", "logit", "logodds")
MARGIN = "margin"  # the score of which two classes of one row are the difference: log p (softmax) or logit (sigmoid)
REASONS = (  # why an expected object is no detection; found: it is one
    "found", "shared", "suppressed", "classification", "localization", "below-threshold", "no-proposal", "no-candidate",
)  # fmt: skip
ACTIVATIONS = ("softmax", "sigmoid", "none")  # what makes probabilities of a classifier's answers
DETECTION_THRESHOLD, CLASS_THRESHOLD = 0.4, 0.05  # least scores that are shown unless the user says otherwise
EXPORT_FORMATS = ("coco", "png", "fiftyone")
EMPTY = {  # the statuses of a map that shows nothing, and why it does not
    "no-effect": "the score does not move",
    "saturated": "nearly everything is marked",
    "stalled": "no step was accepted",
    "not-finite": "a score is not a number",
}
RETRIED = {"errors": ("error", "unreadable")}  # --retry WORD -> the statuses that are explained again
