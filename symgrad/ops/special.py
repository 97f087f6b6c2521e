"""Special functions under SciPy's names, as ``sg.special``."""

from symgrad.ops.elementwise import erf, erfc, logaddexp
from symgrad.ops.elementwise import sigmoid as expit
from symgrad.ops.reduce import log_softmax, logsumexp, softmax

__all__ = ["erf", "erfc", "expit", "log_softmax", "logaddexp", "logsumexp", "softmax"]
