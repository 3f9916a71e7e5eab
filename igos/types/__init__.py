"""The shared vocabulary: what flows from a picture to an explanation.

file -> Adapter.read -> Image -> Adapter.detect -> [Target] -> Adapter.scorer -> Problem
     -> method(problem) -> [Explanation] -> metrics -> results
"""

from igos.base.errors import ConfigError, IgosError, ImageError, NetworkError, WeightsError
from igos.base.geometry import Geometry
from igos.base.names import CLASS_THRESHOLD, DETECTION_THRESHOLD, MARGIN, PARTS, PRECISIONS, SCORES
from igos.types.candidates import Candidates, logits_of, odds_of, one_hot
from igos.types.explanation import STATUSES, Explanation, Score
from igos.types.image import Image
from igos.types.locks import lock_of, locked
from igos.types.model import Adapter, Detections, Target, classes_of, passing, plain_of, summary
from igos.types.problem import Problem, Statistics
from igos.types.scorer import DTYPES, Scorer, out_of_memory, pulled
from igos.types.split import Split, find

__all__ = [
    "CLASS_THRESHOLD", "DETECTION_THRESHOLD", "DTYPES", "MARGIN", "PARTS", "PRECISIONS", "SCORES", "STATUSES",
    "Adapter", "Candidates", "ConfigError", "Detections", "Explanation", "Geometry", "IgosError", "Image", "ImageError",
    "NetworkError", "Problem", "Score", "Scorer", "Split", "Statistics", "Target", "WeightsError", "classes_of", "find",
    "lock_of", "locked", "logits_of", "odds_of", "one_hot", "out_of_memory", "passing", "plain_of", "pulled", "summary",
]  # fmt: skip
