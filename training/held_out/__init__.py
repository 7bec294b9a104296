"""An adapter judged on detectors that it never saw, and the calibrator that makes it usable.

`questions` reads the sides of a data set that were held out, `choosers` asks the model, `judge`
fits calibrators and works out the figures. Plain Python, but for
`through_map`, which asks as the service does.
"""
