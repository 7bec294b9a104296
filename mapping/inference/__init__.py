"""The client of the inference worker: asks a language model for the letter of an option.

Plain Python: no Django, no settings of its own. `HttpChooser` implements the resolver's `Chooser`
over HTTP; what differs between servers is in `backends`.
"""

from mapping.inference.chooser import HttpChooser
from mapping.inference.observer import Observer
from mapping.inference.options import InferenceOptions

__all__ = ["HttpChooser", "InferenceOptions", "Observer"]
